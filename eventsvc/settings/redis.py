"""
The settings of the connection to Redis.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.addresses import Address
from eventsvc.settings.kinds import ADDRESSES, DATABASE, NAME, PORT, SECONDS, STREAM, SWITCH, TEXT
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class RedisSettings:
    """The address of Redis, or of the Sentinels that know it, and how to connect to it."""

    host: str = setting("REDIS_HOST", NAME, "127.0.0.1", "Host name or address of Redis.")
    port: int = setting("REDIS_PORT", PORT, 6379, "Port of Redis.")
    username: str = setting("REDIS_USERNAME", TEXT, "", "ACL user name.", secret=True)
    password: str = setting("REDIS_PASSWORD", TEXT, "", "Password.", secret=True)
    database: int = setting("REDIS_DB", DATABASE, 0, "Database number.")
    tls: bool = setting(
        "REDIS_TLS", SWITCH, False, "Use TLS and verify the certificate, of Redis and of the Sentinels."
    )
    tls_ca: str = setting("REDIS_TLS_CA", TEXT, "", "PEM file of the CA certificates to trust instead of the system's.")
    sentinels: tuple[Address, ...] = setting(
        "REDIS_SENTINELS",
        ADDRESSES,
        (),
        "Sentinels that are asked for the primary; REDIS_HOST and REDIS_PORT are then not used.",
    )
    sentinel_service: str = setting(
        "REDIS_SENTINEL_SERVICE", NAME, "mymaster", "Name under which the Sentinels watch the primary."
    )
    sentinel_username: str = setting(
        "REDIS_SENTINEL_USERNAME", TEXT, "", "ACL user name for the Sentinels.", secret=True
    )
    sentinel_password: str = setting(
        "REDIS_SENTINEL_PASSWORD",
        TEXT,
        "",
        "Password for the Sentinels. They are never given REDIS_PASSWORD.",
        secret=True,
    )
    stream: str = setting("REDIS_STREAM", STREAM, "NotificationStream", "Name of the stream.")
    retry_period: float = setting(
        "REDIS_RETRY_PERIOD", SECONDS, 2.0, "Longest pause between reconnection attempts; the first is 0.05."
    )

    @property
    def place(self) -> str:
        """Where Redis is, in words."""
        if not self.sentinels:
            return f"{self.host}:{self.port}"
        return f"the address that the Sentinels {', '.join(map(str, self.sentinels))} name"
