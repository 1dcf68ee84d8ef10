"""
The plan of a deployment, as a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

PASSWORD: Final = "correct horse battery staple"


@attrs.frozen(kw_only=True)
class Plan:
    """
    The processes of a scenario.

    @ivar producers: number of producers.
    @ivar handlers: one handler for each consumer: C{log}, or a dotted name.
    @ivar settings: settings of all services.
    @ivar redis: options of the Redis server.
    @ivar recorded: whether entries are recorded, because the stream is trimmed.
    @ivar proxied: whether each link has a proxy.
    @ivar standby: whether a second server replicates the first, over the link
        C{standby-redis}.
    @ivar sentinels: whether there are a primary, two replicas and three Sentinels
        instead of one server.  The links of a service lead to the Sentinels, and
        are named C{producer-1-sentinel-1} and so on.
    @ivar disk: whether the data of the Redis server are in a directory that loses what
        was not fsynced when its power fails.
    @ivar each: more settings of some services, by name.
    @ivar database: whether there is a database for handlers, behind the link
        C{database}.
    @ivar receiver: whether there is a receiver of webhooks, behind the link
        C{receiver}.
    @ivar piped: services whose output goes through a pipe.
    @ivar files: limit of open files of a producer; default: that of the suite.
    @ivar clock: whether the services' wall clock can be stepped.
    @ivar tokens: whether only clients with a token may post.
    @ivar beside: a second stream of the producers, which nobody reads.
    """

    producers: int = 1
    handlers: Sequence[str] = ("log",)
    settings: Mapping[str, str] = attrs.field(factory=dict)
    redis: Sequence[str] = ("--appendonly", "yes", "--appendfsync", "everysec")
    recorded: bool = False
    proxied: bool = True
    standby: bool = False
    sentinels: bool = False
    disk: bool = False
    each: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    database: bool = False
    receiver: bool = False
    piped: Sequence[str] = ()
    files: int | None = None
    clock: bool = False
    tokens: bool = True
    beside: str = ""


#: Settings of the services, with short timeouts for short runs.
SETTINGS: Final = {
    "REDIS_HOST": "127.0.0.1",
    "REDIS_PASSWORD": PASSWORD,
    "REDIS_RETRY_PERIOD": "0.5",
    "REDIS_READ_TIMEOUT": "1",
    "REDIS_CLAIM_IDLE": "3",
    "REDIS_STREAM_MAX_LEN": "1000000",
}
