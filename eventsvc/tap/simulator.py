"""Posts events to a producer at random times, measures the latency, and counts the outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from eventsvc.settings import ROLES
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.tap.options import RoleOptions, describe_setting, make_later

_Method = TypeVar("_Method", bound=Callable[..., None])


def _described(name: str, more: str = "") -> Callable[[_Method], _Method]:
    """Give a method the help of a setting as its docstring, which is the help of its flag."""

    def describe(method: _Method) -> _Method:
        method.__doc__ = describe_setting(SimulatorSettings, name) + more
        return method

    return describe


class LoadOptions(RoleOptions):
    """Flags that are more than a name and a value: one may be given several times, one has no value."""

    @_described("thresholds", " May be given several times.")
    def opt_threshold(self, condition: str) -> None:
        self["threshold"] = f"{self['threshold']},{condition}" if self.get("threshold") else condition

    @_described("follow")
    def opt_follow(self) -> None:
        self["follow"] = "on"


#: The settings whose flags L{LoadOptions} has.
LOAD_FLAGS = ("SIMULATOR_THRESHOLD", "SIMULATOR_FOLLOW")


class Options(LoadOptions):
    """C{twistd eventsvc simulator}, or C{twistd simulator}."""

    settings = ROLES["simulator"]
    fixed = LOAD_FLAGS


makeService = make_later("eventsvc.tap.parts.simulator")
