"""
Command lines made from the table of settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from twisted.application.service import IService
from twisted.copyright import version
from twisted.python.reflect import namedModule
from twisted.python.usage import Options, UsageError

from eventsvc import __version__
from eventsvc.settings.reading import InvalidSettings, Setting, read, rows

T = TypeVar("T")

#: What to do instead of going into the background.
_NO_LOG: Final = (
    "without -n twistd goes into the background, where the log of eventsvc is lost: it goes to standard output. "
    "Run `twistd -n ...` and let systemd, a container or a shell keep it there; or name a log observer with --logger"
)


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

    def opt_version(self) -> NoReturn:
        """Print the versions of eventsvc and Twisted and exit."""
        print(f"eventsvc {__version__}, Twisted {version}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(f"unexpected argument {arguments[0]!r}")

    def postOptions(self) -> None:
        """Check all settings, so that a wrong one is told now; end the process with 2 if one is."""
        try:
            self.check()
        except InvalidSettings as problems:
            self.fail(str(problems))
        twistd = _top(self)
        if twistd is not None:
            if _loses_the_log(twistd):
                self.fail(_NO_LOG)
            _leave_no_pid_file(twistd)

    def check(self) -> None:
        """
        Read all settings once.

        @raise InvalidSettings: some are wrong; the text says all that is.
        """
        problems = []
        for cls in self.settings:
            try:
                read(cls, os.environ, self)
            except InvalidSettings as problem:
                problems.append(str(problem))
        if problems:
            raise InvalidSettings("\n".join(problems))

    def read(self, cls: type[T]) -> T:
        """The settings of a class, from flags and environment."""
        return read(cls, os.environ, self)

    def fail(self, problem: str) -> NoReturn:
        """End the process with 2 and say why."""
        for line in problem.splitlines():
            sys.stderr.write(f"eventsvc: {line}\n")
        raise SystemExit(2)


def make_later(module: str) -> Callable[[RoleOptions], IService]:
    """
    Return a C{makeService} that imports the parts of a role only when it is called.

    They import the reactor, which the options of a role may choose until then.
    It ends the process with 2, and says why, if settings cannot be followed.
    """

    def make_service(options: RoleOptions) -> IService:
        try:
            service: IService = namedModule(module).make_process(options)
        except InvalidSettings as problem:
            options.fail(str(problem))
        return service

    return make_service


def name_settings(cls: type, *fields: str) -> str:
    """The flags and variables that fill some fields of a class of settings."""
    found = dict(rows(cls))
    return " or ".join([f"--{found[field].flag} ({found[field].name})" for field in fields])


def _describe(row: Setting) -> str:
    """What C{--help} says of a setting."""
    default = row.show_default()
    return f"{row.help} [{row.name}]" if default == "-" else f"{row.help} [{row.name}, default {default}]"


def _top(options: Options) -> Options | None:
    """The options of C{twistd} itself; C{None} where there is no C{twistd}."""
    top: Options = options
    while top.parent is not None:
        top = top.parent
    return top if "nodaemon" in top else None


def _loses_the_log(twistd: Options) -> bool:
    """Whether the process would go into the background, where standard output leads nowhere."""
    return not (twistd["nodaemon"] or twistd.get("debug") or twistd.get("logger"))


def _leave_no_pid_file(twistd: Options) -> None:
    """
    Keep C{twistd -n} from writing twistd.pid, unless it was asked for one.

    Two services in one directory would collide on it, and a read-only
    directory would end the process.
    """
    if twistd["nodaemon"] and twistd.get("pidfile") == "twistd.pid":
        twistd["pidfile"] = ""
