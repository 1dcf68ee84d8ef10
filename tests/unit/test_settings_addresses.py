"""
Tests for addresses in settings, and for where they say that Redis is.
"""

from __future__ import annotations

import pytest

from eventsvc.settings import RedisSettings
from eventsvc.settings.addresses import Address
from eventsvc.settings.reading import InvalidSettings, read


def test_each_wrong_address_is_named() -> None:
    """In a list of many it is hard to see."""
    with pytest.raises(InvalidSettings) as caught:
        read(RedisSettings, {"REDIS_SENTINELS": "a:1,b:x,[::1]:2,,::1:3"})
    assert str(caught.value).startswith(
        "REDIS_SENTINELS='a:1,b:x,[::1]:2,,::1:3' (wrong: 'b:x', '', '::1:3'): expected "
    )


def test_an_address_is_shown_as_it_is_written() -> None:
    assert [str(address) for address in (Address("a", 1), Address("::1", 2))] == ["a:1", "[::1]:2"]


def test_redis_is_where_its_address_or_its_sentinels_say() -> None:
    assert RedisSettings(host="a", port=1).place == "a:1"
    sentinels = (Address("a", 1), Address("b", 2))
    assert RedisSettings(sentinels=sentinels).place == "the address that the Sentinels a:1, b:2 name"
