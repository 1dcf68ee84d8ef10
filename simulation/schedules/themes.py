"""
What worlds are about.

In many of them anything may happen.  The others bring together what chance alone rarely does: two or three faults
that follow each other, in a world where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulation.schedules.kinds import KINDS
from simulation.schedules.theme import Part, Theme, narrow

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
                    narrow("hang", 2, seconds=(6.0, 14.0)),
                    narrow("slow", 2, seconds=(6.0, 15.0), amount=(4.0, 9.0)),
                ]
            )
        ),
        Part(
            kinds=dict(
                [
                    narrow("leave", 3),
                    narrow("pause", 1, "consumer", seconds=(3.0, 10.0)),
                    narrow("stop", 1, "consumer"),
                    narrow("kill", 1, "consumer"),
                ]
            ),
            steps={"consumer": ("handler:begin",)},
            after=(0.2, 2.0),
            share=0.8,
        ),
        Part(
            kinds=dict([narrow("leave", 4), narrow("pause", 1, "consumer"), narrow("kill", 1, "consumer")]),
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
                    narrow("revoke", 6, whats=("xadd", "xadd", "xadd", "xack", "xpending")),
                    narrow("fill", 1),
                    narrow("need-replicas", 1),
                    narrow("cut", 1, "consumer link"),
                    narrow("swallow", 1, "consumer link"),
                    narrow("kill", 1, "consumer", "redis"),
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
    parts=[Part(kinds=dict([narrow("slow", 1, amount=(0.2, 3.0))]))],
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
                [narrow("slow", 3, seconds=(5.0, 14.0), amount=(3.0, 9.0)), narrow("hang", 1, seconds=(3.0, 10.0))]
            ),
            share=0.8,
        ),
        Part(
            kinds=dict(
                [
                    narrow("swallow", 2, "producer link", "consumer link"),
                    narrow("half", 1, "producer link", "consumer link"),
                    narrow("cut", 1, "producer link", "consumer link"),
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
            kinds=dict([narrow("promote", 6), narrow("switch", 1), narrow("both", 1), narrow("power", 1)]),
            after=(0.0, 1.0),
        ),
        Part(
            kinds=dict([narrow("cut", 1, "consumer link"), narrow("swallow", 1, "consumer link")]),
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
                    narrow("swallow", 2, "producer link"),
                    narrow("half", 1, "producer link"),
                    narrow("cut", 1, "producer link"),
                    narrow("refuse", 3, "producer link", seconds=(0.4, 2.0)),
                    narrow("silence", 1, "producer link"),
                ]
            ),
            steps={"producer": ("request:append", "reply:append")},
        ),
        Part(
            kinds=dict(
                [
                    narrow("revoke", 2, seconds=(0.6, 4.0), whats=("get", "get", "set", "evalsha")),
                    narrow("need-replicas", 1, seconds=(0.6, 4.0)),
                    narrow("fill", 1),
                    narrow("refuse", 1, "producer link"),
                    narrow("swallow", 3, "producer link"),
                    narrow("cut", 1, "producer link"),
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
            kinds=dict([narrow("both", 4), narrow("switch", 2), narrow("promote", 1), narrow("power", 1)]),
        ),
        Part(
            kinds=dict([narrow("stop", 3, "producer"), narrow("kill", 1, "producer")]),
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
        Part(kinds=dict([narrow("kill", 2, "redis", seconds=(0.5, 3.0)), narrow("power", 2, seconds=(0.5, 3.0))])),
        Part(
            kinds=dict(
                [
                    narrow("refuse", 3, "consumer link", seconds=(0.5, 4.0)),
                    narrow("silence", 1, "consumer link"),
                    narrow("stop", 1, "consumer"),
                    narrow("kill", 1, "consumer"),
                ]
            ),
            after=(0.0, 0.3),
            share=0.8,
        ),
        Part(kinds=dict([narrow("stop", 1, "producer", seconds=(0.1, 2.0))]), after=(0.0, 0.3), share=0.6),
    ],
)

#: Seconds for which a fault lasts, if it lasts for long.
_LONG: Final = (30.0, 600.0)
#: Seconds by which a clock jumps, if it jumps far: Redis keeps keys for longer.
_FAR: Final = (-80_000.0, 80_000.0)

#: A fault lasts for minutes, and a clock jumps by hours.
_OUTAGES: Final = Theme(
    weight=1,
    setup={"rate": {0.02: 1, 0.05: 1}},
    seconds=(60.0, 700.0),
    parts=[
        Part(kinds=dict(narrow(name, kind.weight, seconds=_LONG) for name, kind in KINDS.items() if kind.seconds)),
        Part(kinds=dict([narrow("step", 1, amount=_FAR)]), after=(0.0, 30.0), share=0.5),
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
    "outages": _OUTAGES,
}
