"""
Replays and deletes dead letters from a page: first a plan, then the deed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.dashboard.source import Letters
from eventsvc.dead_letter import NOT_MOVED, DeadLetter
from eventsvc.event import is_entry_id

#: Letters on a page, and those that a plan shows.
PAGE: Final = 50
_SHOWN: Final = 20
#: Seconds after which a deed ends although letters are left: a request may not take long.
_PATIENCE: Final = 5.0

Verb = Literal["replay", "purge"]


class InvalidPlan(ValueError):
    """The request names nothing to do, or something that is not there."""


@attrs.frozen
class Plan:
    """
    What is to be done with which letters.

    @ivar ids: the letters; empty for all up to C{last}.
    @ivar last: the newest letter when the plan was made: one that fails again and comes back is not among them.
    @ivar count: how many they are.
    @ivar first: some of them.
    """

    verb: Verb
    ids: Sequence[str] = ()
    last: str = ""
    count: int = 0
    first: Sequence[DeadLetter] = ()


@attrs.frozen
class Done:
    """
    What was done: how many letters, and why others were left alone, by their ids.

    @ivar left: whether there was no time for all of them.
    """

    count: int
    failed: Mapping[str, str]
    left: bool = False


def read_plan(query: Mapping[str, Sequence[str]]) -> Plan:
    """
    Return the plan that a query or a form describes, without the letters themselves.

    @raise InvalidPlan: it describes none.
    """
    verb: Any = (query.get("verb") or [""])[0]
    ids, last = list(dict.fromkeys(query.get("id") or ())), (query.get("last") or [""])[0]
    if verb not in ("replay", "purge"):
        raise InvalidPlan("Expected replay or purge.")
    if "all" in (query.get("scope") or ()):
        ids = []
    elif not ids and not last:
        raise InvalidPlan("No dead letter is chosen.")
    if not all(is_entry_id(id) for id in [*ids, *([last] if last else [])]):
        raise InvalidPlan("That is not the id of a dead letter.")
    return Plan(verb, ids, "" if ids else last)


async def make_plan(letters: Letters, asked: Plan) -> Plan:
    """
    Return a plan with its letters.

    @raise InvalidPlan: a letter is gone.
    """
    if not asked.ids:
        last = await letters.find_newest()
        return attrs.evolve(asked, last=last, count=await letters.count(), first=await letters.read("", _SHOWN))
    found = []
    for id in asked.ids:
        letter = await letters.find(id)
        if letter is None:
            raise InvalidPlan(f"{id}: {NOT_MOVED['gone']}.")
        found.append(letter)
    return attrs.evolve(asked, count=len(found), first=found[:_SHOWN])


async def carry_out(letters: Letters, plan: Plan, clock: IReactorTime) -> Done:
    """
    Replay or delete the letters of a plan, for some seconds.

    @raise Refused: Redis refused; what was done before stays done.
    @raise Unknown: there was no answer; ask again what is left.
    """
    ends = clock.seconds() + _PATIENCE
    count, after, failed = 0, "", {}
    while ids := plan.ids if plan.ids and not after else await _next_ids(letters, plan, after):
        after = ids[-1]
        if plan.verb == "purge":
            count += await letters.purge(ids)
        else:
            for id in ids:
                answer = await letters.replay(id)
                if answer in NOT_MOVED:
                    failed[id] = NOT_MOVED[answer]
                else:
                    count += 1
        if clock.seconds() >= ends:
            return Done(count, failed, left=not plan.ids)
    return Done(count, failed)


async def _next_ids(letters: Letters, plan: Plan, after: str) -> Sequence[str]:
    return await letters.list_ids(after, plan.last) if plan.last else []
