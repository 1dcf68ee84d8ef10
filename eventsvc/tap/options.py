"""
Command lines made from the table of settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted.python.usage import Options, UsageError

from eventsvc.settings import InvalidSettings, Setting, read, rows

T = TypeVar("T")


class RoleOptions(Options):
    """
    The flags of a role, one for each of its settings.

    @cvar settings: the classes of settings the role reads.
    @cvar fixed: settings of these classes that the role sets itself.
    @cvar hint: what to do about a command line that does not parse.
    """

    settings: ClassVar[Sequence[type]] = ()
    fixed: ClassVar[Collection[str]] = ()
    hint: ClassVar[str] = "see --help"
    optParameters: ClassVar[list[Any]] = []
    synopsis = "[options]"
    longdesc = (
        "Each setting may be given by the environment too, under the name in brackets; a flag beats it. "
        "Durations are in seconds. A secret is best given in a file: NAME_FILE is its path."
    )

    def __init_subclass__(cls) -> None:
        cls.optParameters = [
            [row.flag, None, None, _describe(row)] for _, row in rows(*cls.settings) if row.name not in cls.fixed
        ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line; end the process with 2 if it is wrong."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            self.fail(f"{error}; {self.hint}")

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(f"unexpected argument {arguments[0]!r}")

    def postOptions(self) -> None:
        """Read all settings once, so that a wrong one is told now."""
        problems = []
        for cls in self.settings:
            try:
                read(cls, os.environ, self)
            except InvalidSettings as problem:
                problems.append(str(problem))
        if problems:
            self.fail("\n".join(problems))
        _leave_no_pid_file(self)

    def read(self, cls: type[T]) -> T:
        """The settings of a class, from flags and environment."""
        return read(cls, os.environ, self)

    def fail(self, problem: str) -> NoReturn:
        """End the process with 2 and say why."""
        for line in problem.splitlines():
            sys.stderr.write(f"eventsvc: {line}\n")
        raise SystemExit(2)


def _describe(row: Setting) -> str:
    """What C{--help} says of a setting."""
    default = row.show_default()
    return f"{row.help} [{row.name}]" if default == "-" else f"{row.help} [{row.name}, default {default}]"


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
