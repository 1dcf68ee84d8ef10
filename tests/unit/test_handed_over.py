"""
What a consumer hands over when it stops, the next one handles before anything newer.
"""

from __future__ import annotations

import pytest

from tests.support.consumer_world import ConsumerWorld, eager


@pytest.mark.parametrize("name", ["consumer", "another"])
@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_the_order_outlasts_a_restart(consuming: ConsumerWorld, name: str, seconds: float) -> None:
    texts = [f"{number}" for number in range(60)]
    consuming.add(*texts[:30])
    first = eager(consuming.consumer(consuming.slow(0.5)))
    consuming.run(3.2)
    consuming.stop(first)
    consuming.add(*texts[30:])
    consuming.consumer(consuming.slow(seconds), name=name)
    consuming.run(60.0)
    assert consuming.seen == texts


def test_what_a_live_consumer_has_does_not_hold_up_the_new(consuming: ConsumerWorld) -> None:
    consuming.leave_pending("another", *[f"old {number}" for number in range(2_000)])
    consuming.add("new")
    consuming.consumer()
    consuming.run(10.0)
    assert consuming.seen == ["new"]
