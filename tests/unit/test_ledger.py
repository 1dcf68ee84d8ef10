"""
Tests for L{eventsvc.simulator.ledger}: whatever comes first, the account is right.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.simulator.ledger import Ledger


def account(ledger: Ledger) -> dict[str, int]:
    return {
        "accepted": ledger.accepted,
        "stored": ledger.stored,
        "handled": ledger.handled,
        "set aside": ledger.set_aside,
        "unseen": ledger.unseen,
        "unhandled": ledger.unhandled,
    }


def test_an_event_goes_from_accepted_to_handled() -> None:
    recorded: list[float] = []
    ledger = Ledger(recorded.append)
    ledger.accept(7, 10.0)
    assert account(ledger) == {
        "accepted": 1, "stored": 0, "handled": 0, "set aside": 0, "unseen": 1, "unhandled": 0
    }  # fmt: skip
    ledger.see((1, 0), 7, 11.0)
    assert (ledger.stored, ledger.unhandled) == (1, 1)
    ledger.advance((1, 0), (), 12.0)
    assert ledger.unhandled == 1  # it is the first that is not acknowledged
    ledger.advance((1, 1), (), 13.0)
    assert (ledger.handled, ledger.unhandled, recorded) == (1, 0, [3.0])


def test_what_was_set_aside_was_not_handled() -> None:
    ledger = Ledger()
    for event in (1, 2):
        ledger.accept(event, 0.0)
        ledger.see((event, 0), event, 0.0)
    ledger.advance((3, 0), {(1, 0)}, 1.0)
    assert (ledger.handled, ledger.set_aside) == (1, 1)


@pytest.mark.parametrize("moment", ["before it is seen", "before it is handled", "after it is handled"])
def test_the_answer_may_come_at_any_time(moment: str) -> None:
    """An entry is in the stream before its answer is here."""
    recorded: list[float] = []
    ledger = Ledger(recorded.append)
    if moment == "before it is seen":
        ledger.accept(7, 0.0)
    ledger.see((1, 0), 7, 1.0)
    if moment == "before it is handled":
        ledger.accept(7, 0.0)
    ledger.advance((2, 0), (), 2.0)
    if moment == "after it is handled":
        ledger.accept(7, 0.0)
    assert (ledger.accepted, ledger.handled, ledger.unseen) == (1, 1, 0)
    assert recorded == [2.0]


def test_the_events_of_others_do_not_count_and_are_forgotten() -> None:
    ledger = Ledger()
    for number in range(1_000):
        ledger.see((number, 0), number, float(number))
        ledger.advance((number + 1, 0), (), float(number))
    assert set(account(ledger).values()) == {0}
    assert len(ledger._strangers) <= 31


def test_ids_compare_as_numbers() -> None:
    """As text, 9-0 would be behind 10-0."""
    ledger = Ledger()
    ledger.accept(1, 0.0)
    ledger.see((9, 0), 1, 0.0)
    ledger.advance((10, 0), (), 0.0)
    assert ledger.handled == 1


def test_a_redis_that_went_back_is_read_again() -> None:
    """What is not there any more is lost; what was handled stays so."""
    ledger = Ledger()
    for event in (1, 2, 3):
        ledger.accept(event, 0.0)
        ledger.see((event, 0), event, 0.0)
    ledger.advance((2, 0), (), 0.0)
    ledger.start_again()
    assert (ledger.handled, ledger.unseen, ledger.stored) == (1, 2, 1)
    for event in (1, 2):  # 3 is gone
        ledger.see((event, 0), event, 1.0)
    ledger.advance((9, 0), (), 1.0)
    assert (ledger.handled, ledger.unseen, ledger.unhandled) == (2, 1, 0)


def test_an_event_that_is_stored_again_is_handled_when_its_new_entry_is() -> None:
    """A producer gives back what Redis has forgotten, under new ids."""
    ledger = Ledger()
    ledger.accept(7, 0.0)
    ledger.see((3, 0), 7, 0.0)
    ledger.start_again()
    ledger.see((5, 0), 7, 1.0)
    ledger.advance((4, 0), (), 1.0)
    assert (ledger.handled, ledger.unhandled) == (0, 1)
    ledger.advance((6, 0), (), 1.0)
    assert (ledger.handled, ledger.unhandled) == (1, 0)


FATES = st.lists(st.sampled_from(["handled", "dead", "pending", "lost", "unknown", "foreign"]), max_size=40)


@given(FATES, st.integers(0, 10**9))
def test_whatever_the_order_the_account_is_right(fates: list[str], seed: int) -> None:
    """Answers, entries and looks at the group come in any order that can be."""
    random = Random(seed)
    ledger = Ledger()
    answers = [event for event, fate in enumerate(fates) if fate not in ("unknown", "foreign")]
    entries = [event for event, fate in enumerate(fates) if fate != "lost"]
    random.shuffle(answers)
    frontier = next((event for event in entries if fates[event] == "pending"), len(fates))
    dead = {(event, 0) for event in entries if fates[event] == "dead"}
    seen = 0
    while answers or entries:
        match random.randrange(3):
            case 0 if answers:
                ledger.accept(answers.pop(), 0.0)
            case 1 if entries:
                seen = entries.pop(0)
                ledger.see((seen, 0), seen, 0.0)
            case _:
                ledger.advance((min(frontier, random.randint(0, len(fates))), 0), dead, 0.0)
    ledger.advance((frontier, 0), dead, 0.0)
    done = [fate for event, fate in enumerate(fates) if event < frontier]
    assert account(ledger) == {
        "accepted": sum(fate in ("handled", "dead", "pending", "lost") for fate in fates),
        "stored": sum(fate in ("handled", "dead", "pending") for fate in fates),
        "handled": done.count("handled"),
        "set aside": done.count("dead"),
        "unseen": fates.count("lost"),
        "unhandled": sum(fate in ("handled", "dead", "pending") for fate in fates[frontier:]),
    }
