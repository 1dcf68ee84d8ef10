"""
Command lines made from the table of settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted.python.usage import Options, UsageError

from eventsvc.settings import InvalidSettings, read, rows

T = TypeVar("T")


class RoleOptions(Options):
    """
    The flags of a role, one for each of its settings.

    @cvar settings: the classes of settings the role reads.
    """

    settings: ClassVar[Sequence[type]] = ()
    optParameters: ClassVar[list[Any]] = []

    def __init_subclass__(cls) -> None:
        cls.optParameters = [
            [row.flag, None, None, f"{row.help} [{row.name}, default {row.show_default()}]"]
            for _, row in rows(*cls.settings)
        ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line; end the process with 2 if it is wrong."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            self.fail(str(error))

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            self.fail(f"unexpected argument: {arguments[0]!r}")

    def postOptions(self) -> None:
        """Read all settings once, so that a wrong one is told now."""
        for cls in self.settings:
            self.read(cls)
        _leave_no_pid_file(self)

    def read(self, cls: type[T]) -> T:
        """The settings of a class, from flags and environment."""
        try:
            return read(cls, os.environ, self)
        except InvalidSettings as problem:
            self.fail(str(problem))

    def fail(self, problem: str) -> NoReturn:
        """End the process with 2 and say why."""
        sys.stderr.write(f"eventsvc: {problem}\nTry --help for the settings.\n")
        raise SystemExit(2)


def _leave_no_pid_file(options: Options) -> None:
    """
    Keep C{twistd -n} from writing twistd.pid, unless it was asked for one.

    Two services in one directory would collide on it, and a read-only
    directory would end the process.
    """
    top: Options = options
    while top.parent is not None:
        top = top.parent
    if top is not options and top.get("nodaemon") and top.get("pidfile") == "twistd.pid":
        top["pidfile"] = ""
