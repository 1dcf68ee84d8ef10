"""
Gives back to the log what it has forgotten of the batches that it confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.interfaces import IEventLog, KeyConflict, Refused, Unknown
from eventsvc.producer.backlog import Limits
from eventsvc.producer.counts import ProducerCounts
from eventsvc.producer.pauses import pause
from eventsvc.producer.retained import Part, Retained
from eventsvc.producer.sequence import find_result
from eventsvc.submission import AppendReply, BatchOutcome, Kept, Renewal, Submission


@attrs.define(eq=False)
class Repair:
    """
    Sends retained batches again, in order and before anything new.

    # Note [Renewal]

    A producer asks every two seconds whether the log still knows its last
    sequence.  The check must not write.  An empty batch with the last sequence
    would also be a check, but it would store that sequence if the log has
    returned to the one before::

        us:     batch 7 ->            empty batch 7 ->             batch 8 ->
        Redis:       7, reply ->                      7, reply ->            8, APPENDED
                     goes back to 6                   cut here

    Batch 7 was confirmed and is gone, but no reply shows it.  A check that is
    lost or refused is repeated after short pauses, unless a batch waits: the
    batch goes first, because its sequence is the same check.

    # Note [Repair]

    After a failover to a replica that lags, a power loss or a restored backup,
    Redis has kept an older sequence than the one that it confirmed.  Batches are
    sent again under their own numbers, because it may be the other server that
    answers next::

        us:           7, 8 ->      7, 8 as 1, 2 of a new producer id ->     9 ->
        old primary:  7, 8         paused                                   wakes: it has 7 and 8 twice
        promoted:            6     1, 2

    Several batches travel in one call, which names the sequence that Redis must
    have kept, and the one that it keeps from then on.  If either is not so, the
    call has no effect, and Redis says what it has kept.  The same call passes
    over batches that are no longer retained.

    # Note [Forgotten sequence]

    Somebody may delete the key that keeps the sequence, or Redis may evict it, and
    leave the events: they would be stored twice.  So if Redis has kept nothing, but
    has the last entry, only the sequence is given back.  A batch in doubt may be
    among the events, so it stays in doubt, and its sequence is used up.
    """

    event_log: IEventLog
    clock: IReactorTime
    limits: Limits
    counts: ProducerCounts
    retained: Retained
    _log = Logger()

    async def check(self, producer_id: bytes, gives_way: Callable[[], bool]) -> Renewal | None:
        """
        Ask whether the log knows the last sequence, and repair it if not; see the Note [Renewal].

        @param gives_way: whether something waits that is the same check.
        @return: what the log has answered; C{None} if it gave way.
        """
        failures = 0
        while True:
            asked = self.clock.seconds()
            try:
                renewal = await self.event_log.renew(producer_id, self.retained.sequence)
            except CancelledError:
                raise
            except Exception as error:
                if not isinstance(error, Refused | Unknown):
                    self._log.failure("unexpected error while checking the last sequence; trying again")
            else:
                if renewal.known:
                    self.retained.confirm(asked)
                else:
                    await self.run(producer_id, renewal.kept, in_doubt=False)
                return renewal
            if gives_way():
                return None
            failures += 1
            await pause(self.event_log, self.clock, failures)

    async def run(self, producer_id: bytes, kept: Kept, in_doubt: bool) -> bool:
        """
        Repair the log.

        @param kept: what the log has kept.
        @param in_doubt: whether the batch after the last confirmed one may have been applied.
        @return: whether that batch stays in doubt; then its sequence is used up.
        """
        retained, failures, restored = self.retained, 0, 0
        while kept.sequence < retained.sequence:
            try:
                forgotten = kept.sequence == 0 and await self._holds_last_entry()
                if forgotten:
                    part = Part(retained.sequence + in_doubt, (), 0, retained.total, 0, 0)
                else:
                    part = retained.after(kept, self.limits.batch_events, self.limits.batch_bytes)
                reply = await self.event_log.append(
                    producer_id, part.sequence, part.submissions, part.total, kept.sequence
                )
            except CancelledError:
                raise
            except Exception as error:
                if not isinstance(error, Refused | Unknown):
                    self._log.failure("unexpected error while sending batches again; trying again")
                failures += 1
                await pause(self.event_log, self.clock, failures)
                continue
            if reply.outcome is BatchOutcome.LOST:
                kept = reply.kept
                continue
            if forgotten:
                self._log.warn("Redis had lost the sequence of this producer, but not its events")
                retained.skip(part.sequence)
                return in_doubt
            if part.lost:
                self._alarm_lost(part.lost, kept.sequence + 1, part.lost_to, "they are older than what it retains")
            if kept_out := _count_kept_out(part.submissions, reply):
                self._alarm_lost(kept_out, kept.sequence + 1, part.sequence, "their keys are in use with other bodies")
            retained.mark_last(part.submissions, reply)
            restored += part.events - kept_out
            kept = Kept(part.sequence, part.total)
        if restored:
            self.counts.restored += restored
            self._log.warn(
                "Redis had lost {count} events that it had confirmed: they are stored again",
                count=restored,
                details={"alarm": "restored"},
            )
        if kept.sequence > retained.sequence + in_doubt:  # somebody else uses our producer id
            retained.skip(kept.sequence)
        return False

    async def _holds_last_entry(self) -> bool:
        return self.retained.mark is not None and await self.event_log.holds(*self.retained.mark)

    def _alarm_lost(self, events: int, first: int, last: int, why: str) -> None:
        self.counts.lost += 1
        self.counts.lost_events += events
        self._log.critical(
            "LOST: Redis has lost {count} events that it had confirmed, in batches {first} to {last} of this producer, "
            "which cannot give them back: {why}",
            count=events,
            first=first,
            last=last,
            why=why,
            details={"alarm": "lost"},
        )


def _count_kept_out(submissions: Sequence[Submission], reply: AppendReply) -> int:
    """
    Return how many events were not given back.

    # Note [Key in use with another body]

    Redis forgets a request and its key, and another process stores a request with
    the same key and another body before the first is given back.  It is not
    stored without its key, because a repeat of it may be retained too, here or in
    another process, and would store it twice.
    """
    if not reply.earlier:
        return 0
    return sum([len(each.entries) for each in submissions if isinstance(find_result(each, reply), KeyConflict)])
