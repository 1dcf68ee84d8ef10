"""
Tests how the suites reach Redis from a pod, on real Sentinels.
"""

from __future__ import annotations

from cluster.access import redis_client
from eventsvc.settings import RedisSettings
from eventsvc.settings.addresses import Address
from tests.support.processes import Server
from tests.support.sentinels import running_deployment


def test_a_suite_finds_the_primary_by_the_sentinels() -> None:
    """Each with a password of its own."""
    with running_deployment() as deployment:
        for server, password in [
            (deployment.primary(), "of redis"),
            *[(each, "of it") for each in deployment.sentinels],
        ]:
            with server.client() as client:
                client.execute_command("ACL", "SETUSER", "suite", "on", f">{password}", "~*", "&*", "+@all")
        addresses = tuple(Address("127.0.0.1", each.port) for each in deployment.sentinels)
        at = RedisSettings(
            sentinels=addresses,
            username="suite",
            password="of redis",
            sentinel_username="suite",
            sentinel_password="of it",
        )
        with redis_client(at) as client:
            assert client.execute_command("ROLE")[0] == b"master"
            assert client.execute_command("ACL WHOAMI") == "suite"


def test_a_suite_reaches_a_server_by_its_address(server: Server) -> None:
    with redis_client(RedisSettings(host="127.0.0.1", port=server.port)) as client:
        assert client.ping()
