"""
Generates command lines from the settings.
"""

from __future__ import annotations

import gc
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

#: The error for a process that would go into the background.
_NO_LOG: Final = (
    "without -n twistd goes into the background, where the log on standard output is lost. "
    "Run `twistd -n ...` and let systemd, a container or a shell keep it there; or name a log observer with --logger"
)


class RoleOptions(Options):
    """
    The flags of a role, one for each of its settings.

    @cvar settings: the classes of settings the role reads.
    @cvar fixed: settings of these classes that the role sets itself.
    @cvar hint: the advice after an error in the command line.
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
        """Parse the command line; exit with 2 if it is invalid."""
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
        """Check all settings before anything starts; exit with 2 if one is invalid."""
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

        @raise InvalidSettings: the text names every invalid setting.
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
        """Return the settings of a class, read from flags and environment."""
        return read(cls, os.environ, self)

    def fail(self, problem: str) -> NoReturn:
        """Write the problem to standard error and exit with 2."""
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
            service: IService = _import_parts(module).make_process(options)
        except InvalidSettings as problem:
            options.fail(str(problem))
        return service

    return make_service


def _import_parts(module: str) -> Any:
    gc.disable()  # what is imported stays: to look for garbage in it takes a sixth of the time
    try:
        return namedModule(module)
    finally:
        gc.enable()


def name_settings(cls: type, *fields: str) -> str:
    """Return the flags and variables of some fields of a class of settings, for messages."""
    found = dict(rows(cls))
    return " or ".join([f"--{found[field].flag} ({found[field].name})" for field in fields])


def describe_setting(cls: type, field: str) -> str:
    """Return the C{--help} text of a setting, for a flag that is not generated."""
    return _describe(dict(rows(cls))[field])


def _describe(row: Setting) -> str:
    """Return the C{--help} text of a setting."""
    default = row.show_default()
    return f"{row.help} [{row.name}]" if default == "-" else f"{row.help} [{row.name}, default {default}]"


def _top(options: Options) -> Options | None:
    """Return the options of C{twistd} itself; C{None} without C{twistd}."""
    top: Options = options
    while top.parent is not None:
        top = top.parent
    return top if "nodaemon" in top else None


def _loses_the_log(twistd: Options) -> bool:
    """Return whether the process would go into the background, where standard output is lost."""
    return not (twistd["nodaemon"] or twistd.get("debug") or twistd.get("logger"))


def _leave_no_pid_file(twistd: Options) -> None:
    """
    Keep C{twistd -n} from writing twistd.pid, unless a name is given.

    Two services in one directory would collide on it, and a read-only
    directory would end the process.
    """
    if twistd["nodaemon"] and twistd.get("pidfile") == "twistd.pid":
        twistd["pidfile"] = ""
