"""
A wall clock that can be stepped under running Python processes.

What they read from C{time.time} and C{time.time_ns} is off by a number of
nanoseconds in a file; C{time.monotonic} and Redis go on as they are.  The
processes load L{sitecustomize}, which is beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from struct import pack

import attrs


@attrs.define
class WallClock:
    """The wall clock of the processes that are started with its C{environment}."""

    file: Path

    def __attrs_post_init__(self) -> None:
        self.step(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables of such a process; prepend C{PYTHONPATH} to an existing one."""
        return {"PYTHONPATH": str(Path(__file__).parent), "CLOCK_OFFSET_FILE": str(self.file)}

    def step(self, seconds: float) -> None:
        """Set the clock C{seconds} ahead of the true time; negative values set it back."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(pack("=q", round(seconds * 1e9)))
