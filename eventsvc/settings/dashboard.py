"""
The settings of the dashboard.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import ACTION_TOKEN, ADDRESS, HOST_NAMES, OPTIONAL_PORT, STREAMS
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class DashboardSettings:
    """The settings of the dashboard alone."""

    host: str = setting(
        "DASHBOARD_HOST",
        ADDRESS,
        "127.0.0.1",
        "Address to listen on. Whoever can connect to it can read all events; 0.0.0.0 is all IPv4 addresses.",
    )
    port: int = setting("DASHBOARD_PORT", OPTIONAL_PORT, 8081, "Port for HTTP; 0 selects a free port.")
    names: frozenset[str] = setting(
        "DASHBOARD_NAMES",
        HOST_NAMES,
        frozenset(),
        "Host names in the URL of the dashboard, beside localhost; addresses are always answered. "
        "Others are refused, so that no web page can read events through the browser.",
    )
    token: str = setting(
        "DASHBOARD_TOKEN",
        ACTION_TOKEN,
        "",
        "What a person types in to replay or purge dead letters; default: nobody can, the dashboard is read-only.",
        secret=True,
    )


@attrs.frozen(kw_only=True)
class StreamListSettings:
    """The streams beside that of C{REDIS_STREAM}."""

    streams: tuple[str, ...] = setting(
        "REDIS_STREAMS",
        STREAMS,
        (),
        "More streams that events may be posted to, at /streams/NAME/event; and that the dashboard shows.",
    )
