"""
A state machine of posts, losses, wipes and time, compared with the permitted
answers.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from eventsvc.event import decode_notification
from eventsvc.interfaces import KeyRunning, Refused, Unknown
from eventsvc.testing import Fate
from tests.support.producer_world import key, make_world


class Appending(RuleBasedStateMachine):
    """
    Model: the answer to each request.

    True at the end, when all is answered and every late attempt has arrived,
    whether or not the log was wiped or went back: nothing is there twice; what
    was refused is not there; what was confirmed is there, in the order of the
    answers; one key stored one request; no loss was alarmed.
    """

    @initialize()
    def begin(self) -> None:
        self.world = make_world(hard_max=40, queue_events=6)
        self.names = count(1)
        self.keyed: dict[str, str] = {}

    def _post(self, size: int, key_name: str | None) -> None:
        texts = [f"{next(self.names)}" for _ in range(size)]
        if key_name is not None:
            self.keyed[texts[0]] = key_name
        self.world.post(*texts, key=None if key_name is None else key(key_name))

    @rule(size=st.integers(1, 3))
    def post(self, size: int) -> None:
        self._post(size, None)

    @rule(name=st.sampled_from("kl"))
    def post_under_a_key(self, name: str) -> None:
        self._post(1, name)

    @rule(fates=st.lists(st.sampled_from(Fate), max_size=3))
    def lose(self, fates: list[Fate]) -> None:
        self.world.link.expect(*fates)

    @rule(seconds=st.sampled_from([0.0005, 0.001, 0.03, 0.06, 0.3, 2.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule()
    def cut(self) -> None:
        if self.world.link.connected:
            self.world.link.cut()

    @rule()
    def wipe(self) -> None:
        self.world.stream.wipe()

    @rule()
    def make_room(self) -> None:
        self.world.stream.hard_max += 20

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        world.link.expect()
        for _ in range(10):
            world.run(1.0)
            if world.link.connected:
                world.link.cut()
        world.run(1.0)
        stored = Counter(world.stored())
        ids = {decode_notification(data).id for data in world.stream.payloads()}
        assert max(stored.values(), default=0) <= 1, "stored twice"
        for text, told in world.told.items():
            if isinstance(told, Refused | KeyRunning):
                assert not stored[text], f"{text} was refused, and is there"
            elif not isinstance(told, Exception):
                assert ids.issuperset(told), f"{text} was confirmed, and is gone"
        assert not world.appender.counts.lost
        for name in set(self.keyed.values()):
            there = [text for text in stored if self.keyed.get(text) == name]
            confirmed = [text for text in there if not isinstance(world.told[text], Unknown)]
            assert len(confirmed) <= 1, f"key {name} stored {there}"


TestAppending = Appending.TestCase
TestAppending.settings = settings(max_examples=150, stateful_step_count=25, deadline=None, derandomize=True)
