"""
How much memory a Redis server uses.
"""

from __future__ import annotations

import attrs

#: The share of the server's memory, and of the hard limit of a stream, that
#: history may fill.  Acknowledged entries past it give way to new events.
HISTORY_SHARE = 0.75


@attrs.frozen
class Memory:
    """
    The memory of a server, in bytes.

    @ivar used: as far as it counts against the limit.
    @ivar limit: at which it refuses writes; 0 if there is none, or it is not known.
    """

    used: int = 0
    limit: int = 0

    @property
    def share(self) -> float:
        """The share of the limit in use; 0 without a limit."""
        return self.used / self.limit if self.limit else 0.0
