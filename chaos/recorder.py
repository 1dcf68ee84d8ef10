"""
Records the entries of the stream where it is trimmed.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from chaos import STREAM

#: A group of the suite.
RECORDER: Final = "recorder"


@attrs.define(eq=False)
class Recorder:
    """
    Reads the stream as a group of its own, so that nothing is trimmed before.

    @ivar entries: the entries that it has read, by id.
    """

    entries: dict[bytes, dict[bytes, bytes]] = attrs.field(factory=dict)

    def begin(self, client: Any) -> None:
        """Create the group."""
        client.xgroup_create(STREAM, RECORDER, "0", mkstream=True)

    def record(self, client: Any) -> None:
        """Read the new entries."""
        while reply := client.xreadgroup(RECORDER, "chaos", {STREAM: ">"}, count=1000, noack=True):
            self.entries.update(reply[0][1])
