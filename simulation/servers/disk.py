"""
How much of what a server has written survives its end.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from simulation.servers.history import History

#: Seconds between two syncs under C{appendfsync everysec}.
PERIOD: Final = 1.0
#: Seconds after which the kernel writes what nobody has synced.
KERNEL: Final = 30.0


@attrs.define(eq=False)
class Disk:
    """
    The append-only file of a server.

    @ivar policy: C{always}, C{everysec} or C{no}.
    @ivar phase: when the server began: it syncs at whole periods after that.
    @ivar has_room: whether the next write goes to the file.
    @ivar full: the offset of the last write that had room; C{None} while there is room.
    """

    policy: bytes
    phase: float
    has_room: bool = True
    full: int | None = None

    def synced_until(self, now: float) -> float:
        """Return the time up to which writes are on the disk."""
        if self.policy == b"always":
            return now
        if self.policy == b"everysec":
            return self.phase + math.floor((now - self.phase) / PERIOD) * PERIOD
        return now - KERNEL

    def synced(self, history: History, moment: float) -> int:
        """Return the offset up to which writes are on the disk if those until a moment are synced."""
        return self.written(history.at(moment))

    def written(self, offset: int) -> int:
        """Return the offset up to which writes survive the end of the process."""
        return offset if self.full is None else min(offset, self.full)

    def syncs_at(self, written: float) -> float | None:
        """Return when a write will be on the disk; C{None} if nothing tells."""
        if self.full is not None or self.policy == b"no":
            return None
        if self.policy == b"always":
            return written
        return self.phase + math.ceil((written - self.phase) / PERIOD) * PERIOD
