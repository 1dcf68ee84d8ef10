"""
The records of a run: the answers that clients got, the contents of the
stream, and what the handlers did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Literal

import attrs

from eventsvc.event import Notification
from eventsvc.outcome import Outcome
from eventsvc.testing.history.content import Content

#: The kind of a finding and the event or service it is about; empty if it is about the whole run.
Finding = tuple[str, str]


@attrs.frozen
class Op:
    """
    One attempt to store one event.  Attempts with the same description are
    attempts to store the same event under one C{Idempotency-Key}, or the same
    CloudEvent; otherwise each description is used once.

    @ivar client: the client that posted it.
    @ivar number: its number among the attempts of the client.
    @ivar invoked: when it began, in seconds.
    @ivar ended: when its outcome was known; C{None} if it never was.
    @ivar outcome: C{ok} (answered 200), C{refused} (certainly not stored) or
        C{unknown}.
    @ivar id: the C{Event-Id} of an C{ok} answer.
    @ivar content: what was posted besides the description, as readers must see
        it; C{None} if it was not recorded.
    """

    client: str
    number: int
    description: str
    invoked: float
    ended: float | None
    outcome: Outcome
    id: int | None = None
    content: Content | None = None


@attrs.frozen
class Handling:
    """
    One call of a handler that ended.

    @ivar id: the id of the event.
    @ivar consumer: the consumer that called the handler.
    @ivar at: when it ended, in seconds on the clock of the attempts.
    @ivar failed: whether it raised an error, so that the event must be
        delivered again.
    @ivar content: what the handler was given; C{None} if it was not recorded.
    """

    id: int
    consumer: str = ""
    at: float = 0.0
    failed: bool = False
    content: Content | None = None


@attrs.frozen
class Cause:
    """
    A reason why events may be handled again.

    C{ended}: a consumer was killed, or stopped and handed its events over.
    The events that it had handled but not acknowledged are handled again.
    C{takeover}: a consumer was blocked for so long that another one claimed
    its events.  The same consumer never repeats one.
    C{anew}: the group was created again, or Redis returned to an earlier
    state.  Any event handled before may be handled again.

    @ivar begin: when it began, in seconds on the clock of the attempts.
    @ivar end: an event first handled after this time is not excused.
    @ivar consumer: the consumer affected; C{None} if all are.
    """

    kind: Literal["ended", "takeover", "anew"]
    begin: float
    end: float
    consumer: str | None = None

    def excuses(self, first: Handling, second: Handling, within: float) -> bool:
        """
        Return whether an event may have been handled twice for this reason.

        @param within: the most seconds between the end of a handler and the
            acknowledgement.
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
    All records of a run.

    An event is at rest while, after the end of all faults and with the
    consumers running, no consumer touches it and no handler ends.

    @ivar stream: the events in stream order.
    @ivar handled: the calls of handlers in the order they ended; C{None} if
        they were not recorded.
    @ivar causes: reasons why events may have been handled again.
    @ivar dead: ids of the events that were set aside.
    @ivar pending: ids delivered but not acknowledged, and the seconds that
        each has been at rest.
    @ivar waiting: ids not yet delivered, and the seconds that each has been at
        rest.
    @ivar drained: whether all faults were over, all attempts had ended and the
        consumers had nothing left to do when the stream was read.
    @ivar fault: begin and end of the fault, in seconds on the clock of the
        attempts.
    @ivar unfit: services that were still not ready although Redis answered on
        their link, and the seconds after the fault when they last said so.
    @ivar wiped: when Redis lost its data, if it did.  Events stored earlier
        may be gone then, but an alarm must have been raised.
    @ivar rolled_back: whether Redis returned to an earlier state, as a replica that
        lags does when it replaces the primary, and producers gave back what was
        missing.  Nothing may be gone then, but the events of different clients may
        be stored in another order.
    @ivar promotions: when a replica became the primary, in seconds on the clock of
        the attempts.
    @ivar alarms: number of alarms of lost data since the fault began.
    @ivar early_alarms: number of those before, when nothing could be lost.
    @ivar ended: sentences about processes that ended when they should not.
    @ivar doubts: sentences about other defects of the evidence, such as a
        fault without effect or a tool that failed.
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
    rolled_back: bool = False
    promotions: Sequence[float] = ()
    alarms: int = 0
    early_alarms: int = 0
    ended: Sequence[str] = ()
    doubts: Sequence[str] = ()

    @property
    def silence(self) -> float:
        """Return the longest time without a 200, from the first attempt to the end of the last, in seconds."""
        ended = sorted(op.ended for op in self.ops if op.ended is not None)
        stored = sorted(op.ended for op in self.ops if op.outcome is Outcome.OK and op.ended is not None)
        moments = [*(op.invoked for op in self.ops[:1]), *stored, *ended[-1:]]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    @property
    def recovery(self) -> float | None:
        """
        Return the seconds from the end of the fault to the first 200 after it;
        C{None} if there was none.
        """
        if self.fault is None:
            return None
        end = self.fault[1]
        after = [op.ended for op in self.ops if op.outcome is Outcome.OK and op.ended is not None and op.ended > end]
        return min(after) - end if after else None

    @property
    def takeovers(self) -> Sequence[float]:
        """
        Return the seconds from each promotion to the first 200 after it, of the client that waited longest.

        They are infinite for a client that had none.
        """
        stored: dict[str, list[float]] = {op.client: [] for op in self.ops}
        for op in self.ops:
            if op.outcome is Outcome.OK and op.ended is not None:
                stored[op.client].append(op.ended)
        return [
            max(
                (min((end - moment for end in ends if end > moment), default=inf) for ends in stored.values()),
                default=inf,
            )
            for moment in self.promotions
        ]

    @property
    def tried(self) -> float:
        """Return the seconds from the end of the fault to the last failure of an attempt that began after it."""
        if self.fault is None:
            return 0.0
        end = self.fault[1]
        failed = (op for op in self.ops if op.outcome is not Outcome.OK and op.invoked > end)
        return max((op.ended - end for op in failed if op.ended is not None), default=0.0)

    @property
    def handled_ids(self) -> Sequence[int]:
        """Return the ids of the handled events, once for each call of a handler without an error."""
        return [handling.id for handling in self.handled or () if not handling.failed]
