"""
Tests for L{eventsvc.testing.history}: repeated and missing handlings.
"""

from __future__ import annotations

import attrs
import msgspec
import pytest

from eventsvc.testing.history import Cause, Expectations, Handling, check
from tests.support.histories import GOOD, A, B, E, handle, notes, op

#: What must hold if nothing else is said.
USUAL = Expectations()


def repeated(first: str, second: str, *causes: Cause, expect: Expectations = USUAL) -> bool:
    """Return whether handling "b" at 11 by one consumer and at 13 by another is an error."""
    handled = handle("abeb", "one", first, "one", second)
    verdict = check(attrs.evolve(GOOD, handled=handled, causes=causes), expect)
    if verdict.held:
        return False
    assert verdict.broken == ("handled again without a cause: 'b'",)
    return True


class TestRepeats:
    """An event may be handled again only with a cause."""

    @pytest.mark.parametrize("consumer", ["one", "two"])
    def test_without_a_cause_it_is_wrong(self, consumer: str) -> None:
        assert repeated("one", consumer)

    def test_each_time_needs_a_cause(self) -> None:
        """A cause excuses only one repetition."""
        kill = Cause("ended", 12.0, 12.0, "one")
        assert check(attrs.evolve(GOOD, handled=handle("abebe"), causes=[kill])).held
        twice = check(attrs.evolve(GOOD, handled=handle("abebb"), causes=[kill]))
        assert twice.broken == ("handled again without a cause: 'b'",)

    def test_an_event_handled_twenty_times_is_wrong_and_named_once_for_each_time(self) -> None:
        verdict = check(attrs.evolve(GOOD, handled=handle("a" * 20 + "be")))
        assert verdict.broken == ("handled again without a cause: 'a', 'a', 'a' and 16 more",)

    def test_a_failure_of_the_handler_is_a_cause(self) -> None:
        """A failed handling does not count as handled."""
        failed = [Handling(B, "one", 9.0, failed=True)]
        assert check(attrs.evolve(GOOD, handled=[*failed, *handle("abe")])).held
        verdict = check(attrs.evolve(GOOD, handled=[*handle("ae"), *failed]))
        assert verdict.broken == ("stored, but neither handled, set aside nor pending: 'b'",)
        assert verdict.ledger["handled"] == 2

    @pytest.mark.parametrize(
        ("begin", "end", "consumer", "wrong"),
        [
            (12.0, 12.0, "one", False),
            (12.0, 12.0, None, False),
            (12.0, 12.0, "two", True),  # it had not handled it
            (12.1, 12.1, "one", True),  # it was acknowledged long before
            (10.0, 10.9, "one", True),  # it was handled after that
            (13.1, 14.0, "one", True),  # it was handled again before that
            (10.0, 11.0, "one", False),
            (12.0, 13.0, "one", False),
        ],
    )
    def test_a_consumer_that_ends_repeats_what_it_handled_just_before(
        self, begin: float, end: float, consumer: str | None, wrong: bool
    ) -> None:
        assert repeated("one", "two", Cause("ended", begin, end, consumer)) is wrong
        assert repeated("one", "one", Cause("ended", begin, end, consumer)) is wrong

    def test_how_much_an_end_repeats_has_a_bound(self) -> None:
        kill = Cause("ended", 11.5, 11.5, "one")
        assert not repeated("one", "one", kill, expect=Expectations(repeat_within=0.5))
        assert repeated("one", "one", kill, expect=Expectations(repeat_within=0.4))

    @pytest.mark.parametrize(
        ("first", "second", "consumer", "wrong"),
        [
            ("one", "two", "one", False),
            ("two", "one", "one", False),  # it finishes what another has claimed
            ("one", "two", None, False),
            ("one", "two", "three", True),
            ("one", "one", "one", True),
            ("one", "one", None, True),
        ],
    )
    def test_what_is_taken_over_is_handled_by_two(
        self, first: str, second: str, consumer: str | None, wrong: bool
    ) -> None:
        assert repeated(first, second, Cause("takeover", 12.0, 13.0, consumer)) is wrong

    def test_a_takeover_long_after_it_was_handled_is_no_cause(self) -> None:
        assert repeated("one", "two", Cause("takeover", 12.5, 13.0, "one"))

    def test_after_a_new_beginning_everything_may_come_again(self) -> None:
        assert not repeated("one", "one", Cause("anew", 13.0, 13.0))
        assert not repeated("one", "two", Cause("anew", 0.0, 11.0))
        assert repeated("one", "two", Cause("anew", 0.0, 10.9))
        assert repeated("one", "two", Cause("anew", 13.1, 13.1))


class TestOrderOfKeys:
    """Events of one key are handled in their order, while others overtake them."""

    def held(self, handled: str) -> bool:
        stream = [
            msgspec.structs.replace(each, key=key) for each, key in zip(notes("abcde"), ["1", None, "2", "1", "2"])
        ]
        history = attrs.evolve(GOOD, ops=[op(each) for each in "abcde"], stream=stream, handled=handle(handled))
        assert check(history).held
        return check(history, Expectations(in_order_of_key=True)).held

    @pytest.mark.parametrize("handled", ["abcde", "ceadb", "cadeb"])
    def test_keys_overtake_each_other(self, handled: str) -> None:
        assert self.held(handled)

    @pytest.mark.parametrize("handled", ["dabce", "abedc", "edcba"])
    def test_events_of_a_key_do_not(self, handled: str) -> None:
        assert not self.held(handled)

    def test_the_key_and_the_event_are_named(self) -> None:
        stream = [msgspec.structs.replace(each, key="k") for each in notes("abe")]
        history = attrs.evolve(GOOD, stream=stream, handled=handle("bae"))
        verdict = check(history, Expectations(in_order_of_key=True))
        assert verdict.broken == ("handled out of the order of its key 'k': 'b'",)


class TestNotAtWork:
    """Work that must continue during a fault."""

    def test_a_silence_that_is_too_long_is_wrong(self) -> None:
        assert check(GOOD, Expectations(silence_at_most=6.0)).held
        verdict = check(GOOD, Expectations(silence_at_most=5.9))
        assert verdict.broken == ("no event was answered 200 for 6.0 s, longer than 5.9",)

    @pytest.mark.parametrize(
        ("fault", "count"),
        [((10.0, 12.0), 3), ((10.1, 12.0), 2), ((10.0, 11.9), 2), ((12.1, 20.0), 0)],
    )
    def test_events_that_had_to_be_handled_during_the_fault_are_counted(
        self, fault: tuple[float, float], count: int
    ) -> None:
        failed = [Handling(A, "one", 9.0, failed=True), Handling(99, "one", 11.0, failed=True)]
        history = attrs.evolve(GOOD, fault=fault, handled=[*failed, *handle("abe")])
        assert check(history, Expectations(work_on=count)).held
        verdict = check(history, Expectations(work_on=count + 1))
        assert verdict.broken == (f"{count} events were handled during the fault, fewer than {count + 1}",)

    def test_an_event_handled_again_is_counted_once(self) -> None:
        history = attrs.evolve(GOOD, fault=(0.0, 99.0), handled=handle("abeb"), causes=[Cause("anew", 0.0, 99.0)])
        assert check(history, Expectations(work_on=3)).held
        assert not check(history, Expectations(work_on=4)).held

    def test_how_soon_work_must_resume_is_counted_from_the_end_of_the_fault(self) -> None:
        """A handler that fails is no work."""
        history = attrs.evolve(GOOD, fault=(0.0, 10.5), handled=[Handling(E, "one", 10.6, failed=True), *handle("abe")])
        assert check(history, Expectations(resume_within=0.5)).held
        verdict = check(history, Expectations(resume_within=0.4))
        assert verdict.broken == ("the next event was handled 0.5 s after the fault, later than 0.4",)
        assert check(attrs.evolve(history, fault=(0.0, 12.0))).held
        assert not check(attrs.evolve(history, fault=(0.0, 12.0)), Expectations(resume_within=99.0)).held

    def test_where_nobody_looked_nothing_is_missed(self) -> None:
        assert check(attrs.evolve(GOOD, handled=None, fault=(0.0, 99.0)), Expectations(work_on=1)).held
        assert check(GOOD, Expectations(work_on=1)).held
