"""
What a theme of worlds is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.schedules.kinds import KINDS, Kind, Role


@attrs.frozen(kw_only=True)
class Part:
    """
    A fault of a theme.

    @ivar kinds: what it may be.
    @ivar steps: at which it begins, of the role of its target; at once, if there are none.
    @ivar after: seconds after the one before, at least and at most.
    @ivar share: how often a schedule has it.
    @ivar same: how often its target is that of the first part, if it may be.
    """

    kinds: Mapping[str, Kind]
    steps: Mapping[str, Sequence[str]] = {}
    after: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0
    same: float = 0.0


@attrs.frozen(kw_only=True)
class Theme:
    """
    A theme.

    @ivar weight: how often it is chosen, against the others.
    @ivar setup: parts of the world, each with the values to choose from, by how often; others as in any world.
    @ivar settings: of the services, in addition to those of any world, each with the values to choose from.
    @ivar seconds: for how long clients post, at least and at most.
    @ivar back: how often the wall clocks of all servers jump back at the beginning: then they give ids by counting, and
        one that has lost some gives them again.
    @ivar parts: the faults that follow each other.
    @ivar counts: how many faults of any kind there are beside them, by how often.
    """

    weight: float
    setup: Mapping[str, Mapping[Any, float]] = {}
    settings: Mapping[str, Sequence[str]] = {}
    seconds: tuple[float, float] = (18.0, 24.0)
    back: float = 0.0
    parts: Sequence[Part] = ()
    counts: Mapping[int, float] = {0: 4, 1: 2, 2: 1}


def narrow(
    name: str,
    weight: float,
    *roles: Role,
    seconds: tuple[float, float] | None = None,
    amount: tuple[float, float] | None = None,
    whats: Sequence[str] = (),
) -> tuple[str, Kind]:
    """Return a kind of the table under its name, narrowed."""
    kind = KINDS[name]
    return name, attrs.evolve(
        kind,
        weight=weight,
        roles=roles or kind.roles,
        seconds=seconds or kind.seconds,
        amount=amount or kind.amount,
        whats=tuple(whats) or kind.whats,
    )
