"""
Tells an outage of what handlers need from events that cannot be handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: So many different events in a row have to fail.
DIFFERENT: Final = 3
#: Seconds before a probe, first and longest.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
#: Seconds for which only the head of the line is probed.
_HEAD_ALONE: Final = 60.0


@attrs.define(eq=False)
class Breaker:
    """
    Trips when several different events fail in a row, until one succeeds.

    One event that fails is a fault of that event: it is retried and set aside.
    When L{DIFFERENT} events fail and none succeeds in between, it is something
    that they all need.  Then no deliveries are spent, and one event at a time
    is tried, with backoff.

    # Note [Suspects]

    An event that fails before another succeeds is suspect: when it fails again,
    that says nothing about the others.  Otherwise events that can never be
    handled would trip the breaker once they occupy all slots, because nothing
    succeeds in between::

        slot 1:  bad 1 fails              bad 1 fails
        slot 2:  2 succeeds  bad 3 fails        bad 3 fails
        slot 3:  4 succeeds  5 succeeds   bad 6 fails   <- only 6 is not suspect

    # Note [Probing]

    With a concurrency of 1 the entry that failed is the head of the line, and
    is probed, so that the order is kept.  But if it can never be handled, and
    those before it could not either, nothing would ever move again.  So after
    L{_HEAD_ALONE} seconds each failed probe of the head is followed at once by
    one of another entry, each time the next in the line.  If an outage ends
    just between these two, two events change places; in every other case only
    events that the head would block for good overtake it::

        line:    bad 3   bad 4   5        (bad 1 and bad 2 were set aside)
        probes:  3 fails, 4 fails;  3 fails, 5 succeeds: the breaker closes

    # Note [Calls that began before]

    A call that began before an outage may succeed in it: it has what it needs.
    If that closed the breaker, each such call would make two more dead letters::

        slot 1:  slow 1                                  succeeds
        slot 2:  slow 2                                               succeeds
        slot 3:      a, b: dead  c fails: open           d, e: dead   f ...

    So once the breaker is open, only a call that has begun since then closes it.

    @ivar probe: begins an entry in the line, if there is one, after it has
        called its first argument with the entry's id.  Its second argument is
        0 for the head of the line, else how many to go behind it.
    @ivar trips: how often it has tripped.
    """

    clock: IReactorTime
    jitter: Callable[[], float]
    probe: Callable[[Callable[[str], None], int], None]
    is_open: bool = attrs.field(default=False, init=False)
    trips: int = attrs.field(default=0, init=False)
    #: those that have failed in a row, and whether they are still tried
    _failing: dict[str, bool] = attrs.field(factory=dict, init=False)
    _suspects: set[str] = attrs.field(factory=set, init=False)
    _since: float = attrs.field(default=0.0, init=False)
    _pause: float = attrs.field(default=_FIRST_PAUSE, init=False)
    _least: float = attrs.field(default=0.0, init=False)
    _others: int = attrs.field(default=0, init=False)
    _is_other: bool = attrs.field(default=False, init=False)
    _probed: str | None = attrs.field(default=None, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def succeeded(self, began: float = inf) -> None:
        """
        Note that the handler has done with an event.

        @param began: clock time when the call began; default: just now.
        """
        if self.is_open:
            if began <= self._since:
                return  # see the Note [Calls that began before]
            self.is_open, self._probed = False, None
            self._pause, self._least = _FIRST_PAUSE, 0.0
            self._others, self._is_other = 0, False
            self._cancel_timer()
            seconds = self.clock.seconds() - self._since
            self._log.info("the handler succeeds again: the consumer goes on after {seconds:.1f} s", seconds=seconds)
        elif self._failing:
            self._suspects.update(id for id, is_tried in self._failing.items() if is_tried)
        self._failing.clear()

    def suspect(self, ids: Iterable[str]) -> None:
        """Note that entries failed while others succeeded: that says nothing about the others."""
        self._suspects.update(ids)

    def failed(self, id: str) -> bool:
        """Note that the delivery of an entry failed; return whether that counts against the entry."""
        if self.is_open:
            if id == self._probed:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False
        if id in self._suspects:
            return True
        self._failing[id] = True
        if len(self._failing) < DIFFERENT:
            return True
        self._trip()
        return False

    def _trip(self) -> None:
        self.is_open = True
        self.trips += 1
        self._since = self.clock.seconds()
        self._log.critical(
            "{count} different events failed in a row: the consumer pauses, and tries one event at a time until one "
            "succeeds. Look for what the handler needs and cannot reach. If these events can never be handled, let "
            "the handler raise Reject",
            count=DIFFERENT,
            details={"alarm": "handler_failing"},
        )
        self._schedule()

    def forget(self, id: str) -> None:
        """Note that an entry is not tried any more."""
        self._suspects.discard(id)
        if id in self._failing:
            self._failing[id] = False

    def postpone(self, id: str, seconds: float) -> None:
        """Note that the handler asked for a pause."""
        if id == self._probed:
            self._least = seconds

    def release(self, id: str) -> None:
        """Note that an entry is not with the handler any more; if it was the probe, another will be."""
        if id == self._probed:
            self._probed = None
            self._schedule()

    def stop(self) -> None:
        """Probe no more."""
        self._stopped = True
        self._cancel_timer()

    def _schedule(self) -> None:
        if self.is_open and not self._stopped:
            pause = max(self._least, self._pause * (0.5 + 0.5 * self.jitter()))
            is_next_other = not self._is_other and self.clock.seconds() - self._since > _HEAD_ALONE
            self._timer = self.clock.callLater(self._least if is_next_other else pause, self._try_next)
            self._least = 0.0

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _try_next(self) -> None:
        self._timer = None
        self._is_other = not self._is_other and self.clock.seconds() - self._since > _HEAD_ALONE
        self._others += self._is_other
        self.probe(self._note_probed, self._others if self._is_other else 0)
        if self._probed is None and self._timer is None:
            self._schedule()

    def _note_probed(self, id: str) -> None:
        self._probed = id
