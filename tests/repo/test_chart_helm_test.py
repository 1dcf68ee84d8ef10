"""
Tests for what C{helm test} leaves behind, and where.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import render, settings, the

OTHER = {"redis.enabled": False, "externalRedis.host": "redis.example.org"}


@pytest.mark.parametrize(
    ("values", "streams", "options"),
    [
        ({}, "HelmTest", ["STREAM:HelmTest", "OWN_STREAM:HelmTest", "handled"]),
        ({"tests.stream": ""}, None, ["stores", "handled"]),
        ({"tests.stream": "NotificationStream"}, None, []),
        ({"tests.stream": "Orders", "settings": {"REDIS_STREAM": "Orders"}}, None, []),
        (OTHER, None, ["stores", "handled"]),
        ({**OTHER, "tests.stream": "NotificationStream"}, None, []),
        (
            {**OTHER, "producer.streams": ["HelmTest"]},
            "HelmTest",
            ["STREAM:HelmTest", "OWN_STREAM:HelmTest", "handled"],
        ),
        (
            {"consumer.enabled": False},
            "HelmTest",
            ["STREAM:HelmTest", "OWN_STREAM:HelmTest", "consumer", "handled"],
        ),
    ],
)
def test_it_stores_nothing_in_a_stream_of_others_unless_told(
    values: Any, streams: str | None, options: list[str]
) -> None:
    """And it makes no stream in a Redis whose user may lack the right to it."""
    objects = render(values)
    assert settings(objects, "event-producer").get("REDIS_STREAMS") == streams
    (container,) = the(objects, "Pod", "event-test")["spec"]["containers"]
    given = [each.partition("=")[2] for each in container["args"] if each.startswith("--")]
    assert [each for each in given if each.partition(":")[0] not in ("TARGET", "PREFIX")] == options


def test_no_stream_is_made_for_a_test_that_cannot_be() -> None:
    """The suite has no certificate."""
    tls = {"existingSecret": "certificate", "clientCASecret": "clients"}
    assert "REDIS_STREAMS" not in settings(render({"producer.tls": tls}), "event-producer")
