"""
What is seen of a run: what clients were told, and what the stream and the
handlers got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import attrs

from eventsvc.event import Notification

Outcome = Literal["ok", "refused", "unknown"]


@attrs.frozen
class Op:
    """
    One attempt to store one event.  Attempts of one description are attempts
    to store the same event, under one C{Idempotency-Key}; else a description
    is used once.

    @ivar client: who posted it.
    @ivar number: counts the attempts of a client.
    @ivar invoked: when it began, in seconds.
    @ivar ended: when its outcome was known; C{None}: it never was.
    @ivar outcome: C{ok} (answered 200), C{refused} (surely not stored) or
        C{unknown}.
    @ivar id: the C{Event-Id} of an C{ok} answer.
    """

    client: str
    number: int
    description: str
    invoked: float
    ended: float | None
    outcome: Outcome
    id: int | None = None


@attrs.frozen
class History:
    """
    Everything that was seen of a run.

    An event is at rest for as long as no consumer has touched it and no
    handler has ended, though all was mended and the consumers were running.

    @ivar stream: the events in the stream, in its order.
    @ivar handled: ids as the handlers got them, in that order; C{None}: nobody
        looked.
    @ivar dead: ids set aside.
    @ivar pending: ids delivered but not acknowledged, and the seconds each has
        been at rest.
    @ivar waiting: ids that were not delivered yet, and the same.
    @ivar drained: all faults were over, all attempts had ended and the
        consumers had nothing left to do when the stream was read.
    @ivar fault: from when to when something was broken, in the seconds of the
        attempts.
    @ivar unfit: services that still said they were not ready, and how many
        seconds after the fault they did, while Redis answered on their link.
    @ivar wiped: when Redis lost its data, if it did.  What was stored before
        may be gone then, but the loss must have been alarmed.
    @ivar alarms: how many alarms of lost data were raised.
    @ivar ended: processes that ended in a way they should not, in words.
    @ivar doubts: what else speaks against the evidence, in words: the fault
        was not felt, a tool failed.
    """

    ops: Sequence[Op]
    stream: Sequence[Notification]
    handled: Sequence[int] | None = None
    dead: Sequence[int] = ()
    pending: Mapping[int, float] = attrs.field(factory=dict)
    waiting: Mapping[int, float] = attrs.field(factory=dict)
    drained: bool = True
    fault: tuple[float, float] | None = None
    unfit: Mapping[str, float] = attrs.field(factory=dict)
    wiped: float | None = None
    alarms: int = 0
    ended: Sequence[str] = ()
    doubts: Sequence[str] = ()

    @property
    def silence(self) -> float:
        """The longest time without a 200, from the first attempt to the end of the last, in seconds."""
        ended = sorted(op.ended for op in self.ops if op.ended is not None)
        stored = sorted(op.ended for op in self.ops if op.outcome == "ok" and op.ended is not None)
        moments = [*(op.invoked for op in self.ops[:1]), *stored, *ended[-1:]]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    @property
    def recovery(self) -> float | None:
        """
        Seconds from the end of the fault to the first 200 of an attempt that
        ended after it; C{None} if there was none.
        """
        if self.fault is None:
            return None
        end = self.fault[1]
        after = [op.ended for op in self.ops if op.outcome == "ok" and op.ended is not None and op.ended > end]
        return min(after) - end if after else None

    @property
    def tried(self) -> float:
        """Seconds from the end of the fault to the last failure of an attempt that began after it."""
        if self.fault is None:
            return 0.0
        end = self.fault[1]
        failed = (op for op in self.ops if op.outcome != "ok" and op.invoked > end)
        return max((op.ended - end for op in failed if op.ended is not None), default=0.0)
