"""
Power failures of Redis: its data are in a directory that loses what was not fsynced.

The directory is mounted in a mount namespace of its own.  The system ends the
mount with the last process in the namespace, however the suite ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from chaos.disk import MOUNTED, POWER
from chaos.process import EndedByItself, Process
from chaos.suites import wait_until

_DEVICE: Final = "/dev/fuse"


class NotRun(Exception):
    """The scenario cannot be run on this machine; the text says why."""


def check_disk() -> None:
    """
    Check that directories can be mounted.

    @raise NotRun: they cannot.
    """
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise NotRun(f"{_DEVICE} is not there, or only root may use it")
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            raise NotRun(f"{program} (util-linux) is not on the PATH")
    found = subprocess.run([sys.executable, "-c", "import mfusepy"], capture_output=True, text=True)
    if found.returncode:
        why = found.stderr.strip().splitlines()[-1]
        raise NotRun(f"mfusepy cannot be imported: {why}; run `pip install mfusepy` and install libfuse 3 (`fuse3`)")


@attrs.define(eq=False)
class Power:
    """
    The directory of a server whose power may fail.

    @ivar directory: where it is, in the namespace of C{process}.
    @ivar process: serves the directory.
    """

    directory: Path
    process: Process

    def start(self) -> None:
        """
        Mount the directory.

        @raise NotRun: it cannot be mounted.
        """
        check_disk()
        self.directory.mkdir()
        self.process.start()
        try:
            wait_until(lambda: self.process.says(MOUNTED), "the disk is mounted")
        except EndedByItself as problem:
            self.process.kill()
            raise NotRun(f"a directory cannot be mounted: {problem}") from None

    def enter(self, command: Sequence[str]) -> Sequence[str]:
        """Return a command that runs in the namespace of the directory."""
        return ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "--", *command]

    def fail(self) -> str:
        """Lose what was not fsynced, and return what the disk says; all servers that use it must have been killed."""
        inside = Path(f"/proc/{self.process.pid}/root") / self.directory.relative_to("/")
        (inside / POWER).touch()
        return self.process.out.read_text().splitlines()[-1]


def make_power(name: str, directory: Path, environment: Mapping[str, str]) -> Power:
    """
    Return a directory whose power may fail, not yet mounted.

    @param directory: where it, and the output of its process, will be.
    """
    where = directory / name
    command = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-m", "chaos.disk", str(where)]
    return Power(where, Process(f"{name}-disk", command, directory, environment))
