"""
Finds programs written in Go that the tests need, or builds them once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import attrs

#: The most seconds for building a program.
_BUILDING: Final = 600.0


class NotFound(Exception):
    """The program was not found and cannot be built; the text says how to get it."""


def cache_directory() -> Path:
    """Return the directory of programs that were built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventsvc"


@attrs.frozen
class Program:
    """
    A program that is on the PATH or that Go can build.

    @ivar package: its import path.
    @ivar remedy: other ways to get it.
    """

    name: str
    package: str
    version: str
    remedy: str

    def find(self) -> str:
        """
        Return the path of the program: on the PATH, built before, or built now.

        @raise NotFound: it was not found and cannot be built.
        """
        path = shutil.which(self.name)
        if path is not None:
            return path
        directory = cache_directory() / f"{self.name}-{self.version}"
        built = directory / self.package.rpartition("/")[2]
        if not built.exists():
            self._build(directory, built)
        return str(built)

    def _build(self, directory: Path, built: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise NotFound(self.remedy)
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if built.exists():
                return  # by another process, meanwhile
            try:
                subprocess.run(
                    [go, "install", f"{self.package}@{self.version}"],
                    env={**os.environ, "GOBIN": str(directory)},
                    capture_output=True,
                    text=True,
                    timeout=_BUILDING,
                    check=True,
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise NotFound(f"{error}\n{str(error.stderr or '')[-1000:]}\n{self.remedy}") from None
