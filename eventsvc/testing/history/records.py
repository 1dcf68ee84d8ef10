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
from eventsvc.outcome import Outcome


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
class Handling:
    """
    One time that a handler finished with an event.

    @ivar id: of the event.
    @ivar consumer: whose handler it was.
    @ivar at: when it finished, in the seconds of the attempts.
    @ivar failed: it raised an error, so the event has to be delivered again.
    """

    id: int
    consumer: str = ""
    at: float = 0.0
    failed: bool = False


@attrs.frozen
class Cause:
    """
    Something that excuses the repetition of events.

    C{ended}: a consumer was killed, or stopped and handed its events over;
    those that it had handled but not acknowledged are handled again.
    C{takeover}: a consumer was held up for so long that another one claimed
    its events; the same consumer never repeats one.
    C{anew}: the group was created anew or Redis went back in time; anything
    handled before may be handled again.

    @ivar begin: when it began, in the seconds of the attempts.
    @ivar end: from when on it explains no repetition of what is handled then.
    @ivar consumer: the one it happened to; C{None} if it happened to all.
    """

    kind: Literal["ended", "takeover", "anew"]
    begin: float
    end: float
    consumer: str | None = None

    def excuses(self, first: Handling, second: Handling, within: float) -> bool:
        """
        Return whether an event may have been handled twice because of this.

        @param within: seconds that an event may have been handled without
            being acknowledged.
        """
        if first.at > self.end or second.at < self.begin:
            return False
        if self.kind == "anew":
            return True
        if first.at < self.begin - within:
            return False
        if self.kind == "ended":
            return self.consumer in (None, first.consumer)
        return first.consumer != second.consumer and self.consumer in (None, first.consumer, second.consumer)


@attrs.frozen
class History:
    """
    Everything that was seen of a run.

    An event is at rest for as long as no consumer has touched it and no
    handler has ended, though all was mended and the consumers were running.

    @ivar stream: the events in the stream, in its order.
    @ivar handled: what the handlers finished, in that order; C{None}: nobody
        looked.
    @ivar causes: what may have made events be handled again.
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
    handled: Sequence[Handling] | None = None
    causes: Sequence[Cause] = ()
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
        stored = sorted(op.ended for op in self.ops if op.outcome is Outcome.OK and op.ended is not None)
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
        after = [op.ended for op in self.ops if op.outcome is Outcome.OK and op.ended is not None and op.ended > end]
        return min(after) - end if after else None

    @property
    def tried(self) -> float:
        """Seconds from the end of the fault to the last failure of an attempt that began after it."""
        if self.fault is None:
            return 0.0
        end = self.fault[1]
        failed = (op for op in self.ops if op.outcome is not Outcome.OK and op.invoked > end)
        return max((op.ended - end for op in failed if op.ended is not None), default=0.0)

    @property
    def handled_ids(self) -> Sequence[int]:
        """The ids of the events that a handler finished without an error, once for each time."""
        return [handling.id for handling in self.handled or () if not handling.failed]
