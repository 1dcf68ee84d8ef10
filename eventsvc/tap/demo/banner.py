"""
What a demo says at its start.
"""

from __future__ import annotations

import attrs

from eventsvc import __version__


@attrs.frozen(kw_only=True)
class Places:
    """
    Where the parts of a demo are.

    @ivar redis: the address of the server.
    @ivar data_dir: where it keeps its data; empty if it does not.
    @ivar command: what to type for the command C{eventsvc}.
    """

    producer: str
    dashboard: str
    redis: str
    stream: str
    data_dir: str
    command: str

    def describe(self) -> str:
        """Return the addresses, and what to type."""
        data = f"data in {self.data_dir}" if self.data_dir else "data in memory (--data-dir DIR keeps it)"
        return f"""
eventsvc {__version__} dev: to try it out, with no access control
  Producer   {self.producer}
  Dashboard  {self.dashboard}
  Redis      redis://{self.redis}, stream {self.stream}
             {data}
Post an event yourself:
  curl -i --data '{{"description": "hello world"}}' {self.producer}
Post a CloudEvent, which is stored once, however often it is posted:
  curl -i --data '{{"hello": "world"}}' -H 'Content-Type: application/json' \\
    -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me' \\
    -H 'ce-type: greeting' {self.producer}
See how it is:
  {self.command} status --redis-port {self.redis.rpartition(":")[2]}
  (or tail, find TEXT, groups, dead list, doctor)
Ctrl-C stops everything.
"""
