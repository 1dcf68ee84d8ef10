"""
Tests for L{eventsvc.testing.history}: the checker finds every broken promise, and
nothing that is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.outcome import Outcome
from eventsvc.testing.history import Cause, Expectations, Handling, History, Op, check
from tests.support.histories import GOOD, OK, REFUSED, UNKNOWN, A, B, E, handle, note, notes, op


class TestHeld:
    def test_what_was_confirmed_is_there_once_and_what_was_refused_is_not(self) -> None:
        assert check(GOOD).held

    def test_an_event_in_doubt_may_be_stored(self) -> None:
        assert check(attrs.evolve(GOOD, stream=notes("abde"), handled=handle("abde"))).held

    def test_an_event_may_be_set_aside_or_still_pending(self) -> None:
        history = attrs.evolve(GOOD, handled=handle("a"), dead=[B], pending={E: 99.0})
        assert check(history, Expectations(set_aside=1)).held
        assert check(history, Expectations(doomed=["b"])).held
        wrong = ("set aside, but a handler could have handled it: 'b'",)
        assert check(history).broken == wrong
        assert check(history, Expectations(doomed=["a"])).broken == wrong

    def test_those_that_no_handler_can_handle_do_not_count_among_those_set_aside(self) -> None:
        history = attrs.evolve(GOOD, handled=(), dead=[A, B, E])
        assert check(history, Expectations(doomed=["a", "e"], set_aside=1)).held
        broken = check(history, Expectations(doomed=["a"], set_aside=1)).broken
        assert broken == ("set aside, but a handler could have handled it: 'b', 'e'",)

    def test_a_later_attempt_may_store_what_was_refused(self) -> None:
        for later in (op("a", UNKNOWN, at=2.0), op("a", at=2.0)):
            assert check(History(ops=[op("b"), op("a", REFUSED), later], stream=notes("ba"))).held
        assert check(History(ops=[op("b"), op("a", REFUSED, at=0.5), op("a", UNKNOWN)], stream=notes("ba"))).held
        at_once = [op("b"), op("a", UNKNOWN), op("a", REFUSED, at=1.0)]
        assert check(History(ops=at_once, stream=notes("ba"))).held
        hung = Op("client", 0, "a", 0.0, None, UNKNOWN)
        assert check(History(ops=[op("b"), hung, op("a", REFUSED, at=2.0)], stream=notes("ba"))).held

    def test_what_began_when_another_ended_may_be_stored_before_it(self) -> None:
        assert check(History(ops=[op("a", at=0.0), op("b", at=1.0)], stream=notes("ba"))).held

    def test_an_attempt_in_doubt_need_not_end(self) -> None:
        hung = Op("client", 0, "d", 6.0, None, UNKNOWN)
        assert check(attrs.evolve(GOOD, ops=[*GOOD.ops, hung])).held

    def test_without_a_wish_for_attempts_around_the_fault_none_are_missed(self) -> None:
        assert check(attrs.evolve(GOOD, fault=(100.0, 101.0))).held

    def test_a_repeated_attempt_has_the_first_id(self) -> None:
        ops = [op("a", UNKNOWN), op("b", at=1.5), op("a", at=3.0), op("a", at=5.0)]
        assert check(History(ops=ops, stream=notes("ab"))).held

    def test_attempts_at_the_same_time_may_be_stored_in_either_order(self) -> None:
        assert check(History(ops=[op("a", at=0.0), op("b", at=0.5)], stream=notes("ba"))).held

    @pytest.mark.parametrize("wiped", [2.0, 3.0])
    def test_a_wipe_excuses_what_was_sent_before_it_if_it_was_alarmed(self, wiped: float) -> None:
        assert check(attrs.evolve(GOOD, stream=notes("e"), wiped=wiped, alarms=1)).held


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (attrs.evolve(GOOD, stream=notes("ae"), handled=None), "answered 200, but not stored: 'b'"),
        (attrs.evolve(GOOD, stream=notes("abeb")), "stored more than once: 'b'"),
        (attrs.evolve(GOOD, stream=notes("abdde"), handled=None), "stored more than once: 'd'"),
        (attrs.evolve(GOOD, stream=notes("abce"), handled=None), "refused, but stored: 'c'"),
        (
            History(ops=[op("a"), op("b", UNKNOWN), op("b", REFUSED, at=2.0)], stream=notes("ab")),
            "stored: 'b'",
        ),
        (History(ops=[op("a"), op("a", REFUSED, at=2.0)], stream=notes("a")), "refused, but stored: 'a'"),
        (attrs.evolve(GOOD, stream=[*notes("abe"), note("x")], handled=None), "stored, but never sent"),
        (
            History(ops=[op(each, at=2.0 * ord(each)) for each in "abcd"], stream=notes("acbd")),
            "earlier: 'c'",
        ),
        (
            History(ops=[op(each, at=2.0 * ord(each)) for each in "abcd"], stream=notes("abdc")),
            "earlier: 'd'",
        ),
        (attrs.evolve(GOOD, stream=[*notes("ae"), note("b", 7)], handled=None), "another id than it was answered: 'b'"),
        (attrs.evolve(GOOD, handled=handle("ab")), "neither handled, set aside nor pending: 'e'"),
        (attrs.evolve(GOOD, handled=[*handle("abe"), Handling(99)]), "handled, but not in the stream: '99'"),
        (attrs.evolve(GOOD, stream=notes("bae")), "stored before an event that was confirmed earlier: 'b'"),
        (attrs.evolve(GOOD, stream=notes("e"), wiped=3.0), "Redis lost data, but no alarm was raised"),
        (attrs.evolve(GOOD, stream=(), wiped=3.0, alarms=1), "answered 200, but not stored: 'e'"),
        (History(ops=[op("a"), op("a", id=7, at=2.0)], stream=notes("a")), "answered with more than one id: 'a'"),
    ],
)
def test_a_broken_promise_is_named_with_its_event(history: History, words: str) -> None:
    verdict = check(history)
    assert verdict.state == "broke"
    assert words in verdict.describe()


def test_the_order_of_handling_is_judged_where_it_is_promised() -> None:
    ahead = attrs.evolve(GOOD, handled=handle("bae"))
    assert check(ahead).held
    assert check(ahead, Expectations(in_order=True)).broken == ("handled out of order: 'b'",)
    again = attrs.evolve(GOOD, handled=handle("abae"), causes=[Cause("anew", 10.0, 12.0)])
    assert check(again, Expectations(in_order=True)).held  # again is not out of order


class TestNoEvidence:
    def test_too_few_events(self) -> None:
        assert check(GOOD, Expectations(least_ok=4)).state == "no evidence"
        assert check(History(ops=[], stream=[])).state == "no evidence"

    def test_a_run_that_was_not_drained(self) -> None:
        assert check(attrs.evolve(GOOD, drained=False)).state == "no evidence"

    @pytest.mark.parametrize(
        ("fault", "words"), [((0.0, 1.0), "before"), ((2.5, 3.5), "during"), ((9.0, 9.5), "after")]
    )
    def test_too_few_attempts_around_the_fault(self, fault: tuple[float, float], words: str) -> None:
        verdict = check(attrs.evolve(GOOD, fault=fault), Expectations(least_each=1))
        assert verdict.state == "no evidence"
        assert f"0 attempts began {words} the fault" in verdict.describe()

    def test_no_recovery(self) -> None:
        ops = [op("a", at=0.0), op("b", REFUSED, at=2.0), op("c", REFUSED, at=4.0)]
        verdict = check(History(ops=ops, stream=notes("a"), fault=(1.5, 3.0)), Expectations(least_each=1))
        assert verdict.missing == ("no event was answered 200 after the fault",)

    def test_an_attempt_with_an_outcome_and_no_end(self) -> None:
        ops = [*GOOD.ops, Op("client", 0, "f", 10.0, None, REFUSED)]
        assert check(attrs.evolve(GOOD, ops=ops)).missing == ("an attempt has an outcome but no end time",)

    @pytest.mark.parametrize(
        ("fault", "missing"),
        [
            ((2.0, 3.5), ()),
            ((1.5, 2.0), ()),
            ((8.0, 8.0), ("0 attempts began after the fault, fewer than 1",)),
        ],
    )
    def test_an_attempt_at_the_edge_of_the_fault_began_during_it(
        self, fault: tuple[float, float], missing: Sequence[str]
    ) -> None:
        assert check(attrs.evolve(GOOD, fault=fault), Expectations(least_each=1)).missing == missing

    def test_a_doubt_about_the_evidence(self) -> None:
        verdict = check(attrs.evolve(GOOD, doubts=["the fault was not felt"]))
        assert verdict.missing == ("the fault was not felt",)

    def test_a_broken_promise_weighs_more(self) -> None:
        assert check(attrs.evolve(GOOD, stream=notes("ae"), drained=False)).state == "broke"


#: Something was broken from 3 to 7; what began at 8 was answered 200 at 9.
FAULT = attrs.evolve(GOOD, fault=(3.0, 7.0))
STRICT = Expectations(recover_within=8.0, rest_at_most=15.0)


class TestRecovery:
    """Recovery is late only if an attempt late enough failed."""

    def test_the_first_200_must_come_in_time(self) -> None:
        assert check(FAULT, Expectations(recover_within=2.0)).held
        verdict = check(FAULT, Expectations(recover_within=1.9))
        assert verdict.broken == ("the first 200 came 2.0 s after the fault, later than 1.9",)

    @pytest.mark.parametrize(("last", "state"), [(15.0, "no evidence"), (15.1, "broke")])
    def test_without_a_200_it_is_late_if_attempts_still_failed_after_that_time(self, last: float, state: str) -> None:
        ops = [*GOOD.ops[:4], op("f", REFUSED, at=8.0, ended=last)]
        history = attrs.evolve(FAULT, ops=ops, stream=notes("ab"), handled=handle("ab"))
        verdict = check(history, attrs.evolve(STRICT, least_each=1))
        assert verdict.state == state
        if state == "broke":
            assert verdict.broken == ("no event was answered 200 in the 8.1 s after the fault",)

    def test_an_attempt_that_began_in_the_fault_and_hung_says_nothing(self) -> None:
        ops = [*GOOD.ops[:3], op("d", UNKNOWN, at=6.0, ended=99.0)]
        history = attrs.evolve(FAULT, ops=ops, stream=notes("ab"), handled=handle("ab"))
        assert check(history, attrs.evolve(STRICT, least_each=1)).state == "no evidence"

    @pytest.mark.parametrize(("unfit", "state"), [(8.0, "held"), (8.1, "broke")])
    def test_a_service_that_does_not_come_back_is_named(self, unfit: float, state: str) -> None:
        verdict = check(attrs.evolve(FAULT, unfit={"consumer-1": unfit}), STRICT)
        assert verdict.state == state
        if state == "broke":
            assert verdict.broken == (
                "not ready again 8 s after the fault, while Redis answered on its link: 'consumer-1'",
            )


class TestLeftLying:
    """An unhandled event may be late; it is left lying only once no consumer works."""

    def test_a_consumer_that_is_not_done_yet_is_no_broken_promise(self) -> None:
        history = attrs.evolve(GOOD, handled=handle("a"), pending={B: 15.0}, waiting={E: 15.0}, drained=False)
        assert check(history, STRICT).state == "no evidence"

    def test_what_was_read_and_forgotten_is_named(self) -> None:
        verdict = check(attrs.evolve(GOOD, handled=handle("ae"), pending={B: 15.1}, drained=False), STRICT)
        assert verdict.broken == (
            "delivered to a consumer, then left pending for more than 15 s after all faults ended: 'b'",
        )

    def test_what_nobody_reads_is_named(self) -> None:
        verdict = check(attrs.evolve(GOOD, handled=handle("ab"), waiting={E: 15.1}, drained=False), STRICT)
        assert verdict.broken == ("stored, but read by no consumer for more than 15 s after all faults ended: 'e'",)


class TestWhatElseMustHold:
    def test_an_alarm_that_is_missing_and_one_without_a_loss_are_both_wrong(self) -> None:
        assert check(GOOD, Expectations(alarm=True)).broken == ("no alarm was raised, but one was expected",)
        assert check(attrs.evolve(GOOD, alarms=1), Expectations(alarm=True)).held
        assert check(attrs.evolve(GOOD, alarms=1)).broken == ("an alarm of lost data was raised, but none were lost",)
        early = attrs.evolve(GOOD, alarms=1, early_alarms=1)
        assert check(early, Expectations(alarm=True)).broken == ("an alarm of lost data was raised before the fault",)

    def test_where_all_could_be_served_one_that_was_not_is_wrong(self) -> None:
        ops = [*GOOD.ops[:2], op("c", REFUSED, at=4.0), op("c", UNKNOWN, at=6.0)]
        history = attrs.evolve(GOOD, ops=ops, stream=notes("ab"), handled=handle("ab"))
        assert check(history).held
        assert check(history, Expectations(all_ok=True)).broken == ("never answered 200: 'c'",)
        later = attrs.evolve(history, ops=[*ops, op("c", at=8.0)], stream=notes("abc"), handled=handle("abc"))
        assert check(later, Expectations(all_ok=True)).held

    @pytest.mark.parametrize(("wiped", "held"), [(5.9, False), (6.0, True), (6.5, True), (7.0, True), (7.1, False)])
    def test_one_that_was_under_way_when_redis_was_wiped_may_stay_in_doubt(self, wiped: float, held: bool) -> None:
        ops = [*GOOD.ops[:2], op("d", UNKNOWN, at=6.0)]
        history = attrs.evolve(GOOD, ops=ops, stream=(), handled=handle("ab"), wiped=wiped, alarms=1)
        assert check(history, Expectations(all_ok=True)).held is held

    def test_a_process_that_ended_by_itself_is_wrong(self) -> None:
        assert check(attrs.evolve(GOOD, ended=["redis ended by itself"])).broken == ("redis ended by itself",)


def test_times_are_measured() -> None:
    verdict = check(attrs.evolve(GOOD, fault=(3.5, 7.0)), Expectations(least_each=1))
    assert verdict.held
    assert verdict.silence == 6.0  # from the end of "b" to the end of "e"
    assert verdict.recovery == 2.0
    assert check(attrs.evolve(GOOD, ops=[*GOOD.ops, op("f", REFUSED, at=20.0)])).silence == 12.0


def test_the_longest_silence_is_found_wherever_it_is() -> None:
    """It may be before the first 200 or after the last, with overlapping attempts."""
    late = [op("a", at=0.0, ended=10.0), op("b", at=5.0, ended=6.0)]
    assert check(History(ops=late, stream=notes("ab"))).silence == 6.0
    vain = [op("a", at=0.0), op("c", REFUSED, at=5.0), op("d", REFUSED, at=9.0)]
    assert check(History(ops=vain, stream=notes("a"))).silence == 9.0
    assert check(History(ops=[op("c", REFUSED, at=1.0, ended=4.0)], stream=())).silence == 3.0
    assert check(History(ops=(), stream=())).silence == 0.0


def test_recovery_is_measured_from_the_end_of_the_fault() -> None:
    """By attempts that ended after it; failures count only if they began after it."""
    ops = [op("a", at=1.0, ended=2.0), op("b", at=1.5, ended=4.5), op("c", REFUSED, at=2.0, ended=9.0)]
    history = History(ops=ops, stream=notes("ab"), fault=(1.0, 2.0))
    assert (history.recovery, history.tried) == (2.5, 0.0)
    assert attrs.evolve(history, fault=None).tried == 0.0
    assert attrs.evolve(history, fault=None).recovery is None


def test_an_event_in_doubt_that_is_stored_is_counted_until_it_is_sure() -> None:
    ops = [op("a"), op("b", UNKNOWN), op("c", UNKNOWN), op("c", at=2.0), op("d", UNKNOWN)]
    assert check(History(ops=ops, stream=notes("abc"))).ledger["stored though unknown"] == 1


def test_the_ledger_adds_up() -> None:
    ledger = check(attrs.evolve(GOOD, handled=handle("abea"))).ledger
    assert ledger["sent"] == ledger["ok"] + ledger["refused"] + ledger["unknown"]
    assert (ledger["stored"], ledger["handled"], ledger["handled again"]) == (3, 3, 1)


def test_many_findings_of_a_kind_are_summed_up() -> None:
    ops = [op(letter) for letter in "abcdef"]
    assert "'a', 'b', 'c' and 3 more" in check(History(ops=ops, stream=[])).describe()
    assert check(History(ops=ops[:3], stream=[])).broken == ("answered 200, but not stored: 'a', 'b', 'c'",)


def test_a_long_description_is_cut_short() -> None:
    long = "l" + "o" * 198 + "ng"
    assert check(History(ops=[op(long, id=1)], stream=[])).broken == (f"answered 200, but not stored: '{long[:160]}'",)


@given(st.lists(st.sampled_from(Outcome), min_size=1), st.data())
def test_any_single_wrong_entry_is_found(outcomes: list[Outcome], data: st.DataObject) -> None:
    """One entry removed from, doubled in or added to a valid history breaks a promise."""
    ops = [Op("c", n, f"{n}", n * 2.0, n * 2.0 + 1, kind, n if kind is OK else None) for n, kind in enumerate(outcomes)]
    stored = [n for n, kind in enumerate(outcomes) if kind is OK or (kind is UNKNOWN and data.draw(st.booleans()))]
    stream = [note(f"{n}", n) for n in stored]
    assert check(History(ops=ops, stream=stream), Expectations(least_ok=0)).held
    n = data.draw(st.integers(0, len(ops) - 1))
    if outcomes[n] is OK:
        spoiled = [each for each in stream if each.id != n]
    elif outcomes[n] is REFUSED:
        spoiled = [*stream, note(f"{n}", n)]
    else:
        spoiled = [*stream, note(f"{n}", n), note(f"{n}", n)]
    assert check(History(ops=ops, stream=spoiled), Expectations(least_ok=0)).state == "broke"


class TestRolledBack:
    """A replica that lags has replaced the primary, or an older copy was restored, and producers gave back the rest."""

    def test_it_excuses_no_loss(self) -> None:
        broken = check(attrs.evolve(GOOD, stream=notes("ae"), handled=None, rolled_back=True)).broken
        assert broken == ("answered 200, but not stored: 'b'",)

    def test_it_excuses_nothing_that_is_stored_twice(self) -> None:
        """A producer that gives back what Redis has gives it the same id."""
        history = attrs.evolve(GOOD, stream=notes("abeb"), handled=None, rolled_back=True)
        assert "stored more than once: 'b'" in check(history).broken

    def test_the_events_of_two_clients_may_be_stored_in_another_order(self) -> None:
        ops = [op("a"), attrs.evolve(op("b", at=2.0), client="other")]
        swapped = History(ops=ops, stream=notes("ba"), rolled_back=True)
        assert check(swapped).held
        assert not check(attrs.evolve(swapped, rolled_back=False)).held
        assert not check(attrs.evolve(swapped, ops=[op("a"), op("b", at=2.0)])).held

    def test_what_was_in_doubt_may_have_been_handled_and_be_gone(self) -> None:
        """As many events as are in doubt and not stored: a handling names no event."""
        once = attrs.evolve(GOOD, handled=[*handle("abe"), Handling(999)])
        assert not check(once).held
        assert check(attrs.evolve(once, rolled_back=True)).held
        twice = attrs.evolve(once, handled=[*handle("abe"), Handling(999), Handling(998)], rolled_back=True)
        assert "handled, but not in the stream" in check(twice).describe()

    def test_an_attempt_in_doubt_may_be_gone_although_a_later_one_was_confirmed(self) -> None:
        """The old primary stored it, and a consumer handled it; the promoted replica lacks it, and stores the next."""
        ops = [op("a", UNKNOWN), op("a", at=2.0)]
        twice = History(ops=ops, stream=notes("a"), handled=[Handling(999), *handle("a")], rolled_back=True)
        assert check(twice).held
        assert not check(attrs.evolve(twice, rolled_back=False)).held
        assert not check(attrs.evolve(twice, handled=[Handling(999), Handling(998), *handle("a")])).held

    def test_an_event_posted_through_two_producers_may_have_two_ids_but_is_stored_once(self) -> None:
        ops = [op("a"), attrs.evolve(op("a", id=1, at=2.0), client="other")]
        for stored, held in (([note("a")], True), ([note("a", 1)], True), ([note("a", 2)], False), ([], False)):
            assert check(History(ops=ops, stream=stored, rolled_back=True)).held is held
        assert not check(History(ops=ops, stream=[note("a"), note("a", 1)], rolled_back=True)).held
        assert not check(History(ops=ops, stream=[note("a")])).held
        handled = [Handling(A), Handling(1)]
        assert check(History(ops=ops, stream=[note("a")], handled=handled, rolled_back=True)).held
        assert not check(History(ops=ops, stream=[note("a")], handled=[*handled, Handling(2)], rolled_back=True)).held
        same = [op("a"), op("a", id=1, at=2.0)]
        assert not check(History(ops=same, stream=[note("a")], rolled_back=True)).held


def test_a_takeover_lasts_until_each_client_has_a_200() -> None:
    ops = [op("a", at=0.0), op("b", at=3.0), attrs.evolve(op("e", at=4.0), client="other"), op("c", REFUSED, at=2.1)]
    history = History(ops=ops, stream=notes("abe"), promotions=[2.0])
    assert history.takeovers == [3.0]
    assert check(history, Expectations(take_over_within=3.0)).held
    late = check(history, Expectations(take_over_within=2.9)).broken
    assert late == ("the first 200 came 3.0 s after a promotion, later than 2.9",)
    assert attrs.evolve(history, promotions=[2.0, 4.5]).takeovers == [3.0, float("inf")]
    assert attrs.evolve(history, promotions=[]).takeovers == []
