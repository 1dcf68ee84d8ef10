"""Posts events to a producer at random times, measures the latency, and counts the outcomes."""

from __future__ import annotations

from eventsvc.settings import ROLES
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.tap.options import RoleOptions, describe_setting, make_later


class LoadOptions(RoleOptions):
    """Flags that are more than a name and a value: one may be given several times, one has no value."""

    def opt_threshold(self, condition: str) -> None:
        self["threshold"] = f"{self['threshold']},{condition}" if self.get("threshold") else condition

    def opt_follow(self) -> None:
        self["follow"] = "on"

    opt_threshold.__doc__ = describe_setting(SimulatorSettings, "thresholds") + " May be given several times."
    opt_follow.__doc__ = describe_setting(SimulatorSettings, "follow")


#: The settings whose flags L{LoadOptions} has.
LOAD_FLAGS = ("SIMULATOR_THRESHOLD", "SIMULATOR_FOLLOW")


class Options(LoadOptions):
    """C{twistd eventsvc simulator}, or C{twistd simulator}."""

    settings = ROLES["simulator"]
    fixed = LOAD_FLAGS


makeService = make_later("eventsvc.tap.parts.simulator")
