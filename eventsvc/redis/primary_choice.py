"""
Reads what Sentinels say, and decides which address to connect to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from eventsvc.settings.addresses import Address

#: Seconds for which some Sentinels may still name the primary from before a failover.
PROPAGATION: Final = 3.0


@attrs.frozen
class Named:
    """
    What one Sentinel names as the primary.

    @ivar epoch: the config-epoch of that choice, which grows with each failover; 0 if the Sentinel
        may not be asked for it.
    """

    address: Address
    epoch: int = 0


@attrs.frozen
class Candidate:
    """An address that at least one Sentinel names, with the highest epoch of those who do."""

    address: Address
    epoch: int
    votes: int


def rank(answers: Iterable[Named]) -> list[Candidate]:
    """
    Return all addresses that are named, the best first.

    The highest epoch wins: during a failover one Sentinel knows the promoted replica first, while
    all others still name the primary from before. Then the most votes win.
    """
    votes: Counter[Address] = Counter()
    epochs: dict[Address, int] = {}
    for answer in answers:
        votes[answer.address] += 1
        epochs[answer.address] = max(answer.epoch, epochs.get(answer.address, 0))
    candidates = [Candidate(address, epoch, votes[address]) for address, epoch in epochs.items()]
    return sorted(candidates, key=lambda each: (-each.epoch, -each.votes, str(each.address)))


def choose(candidates: Sequence[Candidate], failing: Mapping[Address, float]) -> Candidate | None:
    """
    Return the best candidate that has not failed; C{None} if all have.

    One that fails is passed over at once for another of the same epoch. For one of a lower epoch it is
    passed over only after L{PROPAGATION}: until then that is no second opinion, but an old one, and
    the old primary may still accept events that will be lost.

    @param candidates: the best first.
    @param failing: for how many seconds the attempts at an address have failed.
    """
    for candidate, following in zip(candidates, [*candidates[1:], None]):
        has_peer = following is None or following.epoch == candidate.epoch
        patience = 0.0 if has_peer else PROPAGATION
        if candidate.address not in failing or failing[candidate.address] < patience:
            return candidate
    return None


def read_named(address: Any, facts: Any) -> Named | None:
    """
    Return what the replies of a Sentinel say; C{None} if it does not know the service.

    @param address: the reply to C{SENTINEL GET-MASTER-ADDR-BY-NAME}: host and port.
    @param facts: the reply to C{SENTINEL MASTER}: names and values; C{None} without the right to it.
    @raise ValueError: that is no reply of a Sentinel.
    """
    match address:
        case None:
            return None
        case [bytes() as host, bytes() as port] if host and port.isdigit() and 1 <= int(port) <= 65_535:
            return Named(Address(host.decode(), int(port)), _read_epoch(facts))
        case _:
            raise ValueError


def _read_epoch(facts: Any) -> int:
    for name, value in zip(facts[::2], facts[1::2]) if isinstance(facts, list) else ():
        if name == b"config-epoch" and isinstance(value, bytes) and value.isdigit():
            return int(value)
    return 0


def read_announcement(channel: bytes, text: bytes, service: str) -> Address | None:
    """
    Return the primary, present or next, that a message of a Sentinel names; C{None} if it is about another service.

    Source: C{+switch-master NAME OLD-HOST OLD-PORT HOST PORT}, and C{+promoted-slave} and
    C{+failover-state-wait-promotion} with C{slave HOST:PORT HOST PORT @ NAME OLD-HOST OLD-PORT}, of Sentinel.
    """
    match channel, text.decode("utf-8", "replace").split(" "):
        case b"+switch-master", [name, _, _, host, port] if name == service:
            pass
        case b"+promoted-slave" | b"+failover-state-wait-promotion", ["slave", _, host, port, "@", name, _, _] if (
            name == service
        ):
            pass
        case _:
            return None
    return Address(host, int(port)) if host and re.fullmatch("[0-9]{1,5}", port) else None
