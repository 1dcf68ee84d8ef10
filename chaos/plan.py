"""
What a scenario is run on, as a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

PASSWORD: Final = "correct horse battery staple"


@attrs.frozen(kw_only=True)
class Plan:
    """
    What is deployed.

    @ivar handlers: one for each consumer: C{log}, or a dotted name.
    @ivar settings: of all services.
    @ivar redis: the server's own options.
    @ivar recorded: the stream is trimmed, so it is read along.
    @ivar proxied: there is a proxy on each link.
    @ivar standby: a second server replicates the first, over a link
        C{standby-redis}.
    @ivar piped: services whose output passes a pipe.
    @ivar files: how many files a producer may have open, if not as many as we.
    @ivar clock: the services' clock can be stepped.
    """

    producers: int = 1
    handlers: Sequence[str] = ("log",)
    settings: Mapping[str, str] = attrs.field(factory=dict)
    redis: Sequence[str] = ("--appendonly", "yes", "--appendfsync", "everysec")
    recorded: bool = False
    proxied: bool = True
    standby: bool = False
    piped: Sequence[str] = ()
    files: int | None = None
    clock: bool = False


#: Patience of the services, short so that a run is.
SETTINGS: Final = {
    "REDIS_HOST": "127.0.0.1",
    "REDIS_PASSWORD": PASSWORD,
    "REDIS_RETRY_PERIOD": "0.5",
    "REDIS_READ_TIMEOUT": "1",
    "REDIS_CLAIM_IDLE": "3",
    "REDIS_STREAM_MAX_LEN": "1000000",
}
