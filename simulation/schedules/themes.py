"""
What worlds are about.

In many of them anything may happen.  The others bring together what chance alone rarely does: two or three faults
that follow each other, in a world where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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


def _kind(
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


#: Anything may happen.
ANYTHING: Final = Theme(weight=10, seconds=(45.0, 65.0), counts={1: 2, 2: 3, 3: 3, 4: 2, 6: 1, 9: 1})

#: Consumers take over from each other.
_CLAIMS: Final = Theme(
    weight=3,
    setup={"replicas": {0: 1}, "consumers": {2: 1, 3: 4}},
    settings={"REDIS_CLAIM_IDLE": ("4",), "CONSUMER_HANDLER_TIMEOUT": ("30",)},
    seconds=(22.0, 28.0),
    parts=[
        Part(
            kinds=dict(
                [
                    _kind("hang", 2, seconds=(6.0, 14.0)),
                    _kind("slow", 2, seconds=(6.0, 15.0), amount=(4.0, 9.0)),
                ]
            )
        ),
        Part(
            kinds=dict(
                [
                    _kind("leave", 3),
                    _kind("pause", 1, "consumer", seconds=(3.0, 10.0)),
                    _kind("stop", 1, "consumer"),
                    _kind("kill", 1, "consumer"),
                ]
            ),
            steps={"consumer": ("handler:begin",)},
            after=(0.2, 2.0),
            share=0.8,
        ),
        Part(
            kinds=dict([_kind("leave", 4), _kind("pause", 1, "consumer"), _kind("kill", 1, "consumer")]),
            after=(4.5, 7.0),
            share=0.8,
            same=0.8,
        ),
    ],
)

#: Events are set aside while Redis refuses that.
_LETTERS: Final = Theme(
    weight=1.5,
    setup={"replicas": {0: 1}, "clients": {1: 1}, "mixed": {0.0: 1}, "poison": {0.5: 1}},
    settings={"CONSUMER_MAX_DELIVERIES": ("2", "3")},
    parts=[
        Part(
            kinds=dict(
                [
                    _kind("revoke", 6, whats=("xadd", "xadd", "xadd", "xack", "xpending")),
                    _kind("fill", 1),
                    _kind("need-replicas", 1),
                    _kind("cut", 1, "consumer link"),
                    _kind("swallow", 1, "consumer link"),
                    _kind("kill", 1, "consumer", "redis"),
                ]
            ),
            steps={
                "redis": ("applied:update_pending", "applied:set_aside"),
                "consumer": ("request:set_aside", "reply:set_aside", "reply:update_pending"),
            },
        )
    ],
)

#: Many events of few keys are handled at once, some of them slowly.
_KEYS: Final = Theme(
    weight=1,
    setup={
        "replicas": {0: 1},
        "consumers": {1: 1},
        "concurrency": {4: 1},
        "batched": {0.0: 1},
        "mixed": {1.0: 1},
        "rate": {0.4: 1},
    },
    parts=[Part(kinds=dict([_kind("slow", 1, amount=(0.2, 3.0))]))],
)

#: Redis goes back while something is under way, and gives ids again that other events had.
_BACK: Final = Theme(
    weight=3.5,
    setup={
        "replicas": {1: 3, 2: 1},
        "lag": {1.5: 1},
        "durability": {"memory": 1},
        "producers": {1: 1, 2: 2},
        "consumers": {1: 1},
        "rate": {0.4: 1},
    },
    back=0.7,
    parts=[
        Part(
            kinds=dict(
                [_kind("slow", 3, seconds=(5.0, 14.0), amount=(3.0, 9.0)), _kind("hang", 1, seconds=(3.0, 10.0))]
            ),
            share=0.8,
        ),
        Part(
            kinds=dict(
                [
                    _kind("swallow", 2, "producer link", "consumer link"),
                    _kind("half", 1, "producer link", "consumer link"),
                    _kind("cut", 1, "producer link", "consumer link"),
                ]
            ),
            steps={
                "producer": ("request:append", "reply:append"),
                "consumer": ("request:XACK", "reply:XACK", "reply:XREADGROUP"),
            },
            after=(0.0, 1.0),
            share=0.7,
        ),
        Part(
            kinds=dict([_kind("promote", 6), _kind("switch", 1), _kind("both", 1), _kind("power", 1)]),
            after=(0.0, 1.0),
        ),
        Part(
            kinds=dict([_kind("cut", 1, "consumer link"), _kind("swallow", 1, "consumer link")]),
            after=(1.6, 3.0),
            share=0.8,
        ),
    ],
)

#: An attempt to append is in doubt, and the next ones fail too.
_DOUBT: Final = Theme(
    weight=2,
    setup={"replicas": {0: 1}, "keyed": {0.0: 1, 0.3: 1}, "consumers": {1: 1}},
    settings={"REDIS_WRITE_TIMEOUT": ("0.5", "1")},
    parts=[
        Part(
            kinds=dict(
                [
                    _kind("swallow", 2, "producer link"),
                    _kind("half", 1, "producer link"),
                    _kind("cut", 1, "producer link"),
                    _kind("refuse", 3, "producer link", seconds=(0.4, 2.0)),
                    _kind("silence", 1, "producer link"),
                ]
            ),
            steps={"producer": ("request:append", "reply:append")},
        ),
        Part(
            kinds=dict(
                [
                    _kind("revoke", 2, seconds=(0.6, 4.0), whats=("get", "get", "set", "evalsha")),
                    _kind("need-replicas", 1, seconds=(0.6, 4.0)),
                    _kind("fill", 1),
                    _kind("refuse", 1, "producer link"),
                    _kind("swallow", 3, "producer link"),
                    _kind("cut", 1, "producer link"),
                ]
            ),
            steps={"producer": ("request:renew", "reply:renew"), "redis": ("applied:append",)},
            after=(0.0, 0.3),
        ),
    ],
)

#: A producer ends when Redis loses something.
_ENDS: Final = Theme(
    weight=1.5,
    setup={
        "replicas": {1: 2, 2: 1},
        "durability": {"memory": 1, "replicas": 2},
        "lag": {0.3: 1},
        "consumers": {1: 1},
        "rate": {0.4: 1},
    },
    settings={"REDIS_WRITE_TIMEOUT": ("2", "5")},
    parts=[
        Part(
            kinds=dict([_kind("both", 4), _kind("switch", 2), _kind("promote", 1), _kind("power", 1)]),
        ),
        Part(
            kinds=dict([_kind("stop", 3, "producer"), _kind("kill", 1, "producer")]),
            after=(0.0, 0.6),
            share=0.6,
        ),
    ],
)

#: Redis starts again with nothing, or with less, while a service is away.
_EMPTY: Final = Theme(
    weight=1.5,
    setup={
        "replicas": {0: 1},
        "fsync": {"no": 2, "everysec": 1},
        "durability": {"memory": 1},
        "consumers": {1: 1},
        "rate": {0.15: 1},
    },
    settings={"REDIS_WRITE_TIMEOUT": ("2", "5")},
    parts=[
        Part(kinds=dict([_kind("kill", 2, "redis", seconds=(0.5, 3.0)), _kind("power", 2, seconds=(0.5, 3.0))])),
        Part(
            kinds=dict(
                [
                    _kind("refuse", 3, "consumer link", seconds=(0.5, 4.0)),
                    _kind("silence", 1, "consumer link"),
                    _kind("stop", 1, "consumer"),
                    _kind("kill", 1, "consumer"),
                ]
            ),
            after=(0.0, 0.3),
            share=0.8,
        ),
        Part(kinds=dict([_kind("stop", 1, "producer", seconds=(0.1, 2.0))]), after=(0.0, 0.3), share=0.6),
    ],
)

THEMES: Final[Mapping[str, Theme]] = {
    "anything": ANYTHING,
    "claims": _CLAIMS,
    "letters": _LETTERS,
    "keys": _KEYS,
    "back": _BACK,
    "doubt": _DOUBT,
    "ends": _ENDS,
    "empty": _EMPTY,
}
