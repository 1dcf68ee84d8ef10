"""
Consumers as processes that post webhooks to a receiver, which verifies them
with the library of Standard Webhooks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.hooks import SECRET, Hook, Hooks, Reaction, receiving_hooks
from tests.support.processes import Server, Service, Services, get
from tests.unit.test_handling import DEAD, STREAM, add, pending, unread


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with receiving_hooks() as hooks:
        yield hooks


def start(services: Services, server: Server, hooks: Hooks, *flags: str, secret: str = SECRET) -> Service:
    return services.start(
        *("eventsvc", "consumer", "--handler=webhook", f"--redis-port={server.port}", "--redis-claim-idle=600", *flags),
        *(["--webhook-allow-private=on"] if "--webhook-allow-private=off" not in flags else []),
        environment={"WEBHOOK_URL": hooks.url, "WEBHOOK_SECRET": secret},
    )


def is_done(server: Server) -> bool:
    return unread(server) == pending(server) == 0


def was_last(hooks: Hooks, server: Server, event: str) -> bool:
    """Return whether this event was accepted last, and all are handled."""
    return hooks.taken[-1:] == [event] and is_done(server)


def letters(server: Server) -> list[dict[bytes, bytes]]:
    with server.client() as client:
        return [fields for _, fields in client.xrange(DEAD)]


def assert_nothing_told(consumer: Service) -> None:
    """Neither the secret nor the URL's query is in its output."""
    for text in (consumer.out(), consumer.err()):
        assert "psst" not in text
        assert SECRET[6:] not in text


# Success


def test_every_event_is_posted_and_verified(services: Services, server: Server, hooks: Hooks) -> None:
    texts = add(server, 500)
    consumer = start(services, server, hooks, "--concurrency=10")
    wait_until(lambda: is_done(server))
    assert sorted(hook.body["description"] for hook in hooks.came) == sorted(texts)
    assert (hooks.forged, len(letters(server))) == (0, 0)
    assert {hook.path for hook in hooks.came} == {"/hook?token=psst-psst"}
    assert consumer.stop() == 0
    assert_nothing_told(consumer)


def test_one_at_a_time_keeps_their_order(services: Services, server: Server, hooks: Hooks) -> None:
    add(server, 200)
    start(services, server, hooks)
    wait_until(lambda: is_done(server))
    assert hooks.ids == [str(number) for number in range(200)]


def test_a_cloudevent_is_posted_as_it_came(services: Services, server: Server, hooks: Hooks) -> None:
    event = {"specversion": "1.0", "id": "a", "source": "/shop", "type": "order.paid", "data": {"total": 1.5}}
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = {"id": 2**63 - 1, "description": "x", "timestamp": "", "cloudevent": event, "traceparent": trace}
    with server.client() as client:
        client.xadd(STREAM, {"EventStream": json.dumps(message)})
    start(services, server, hooks)
    wait_until(lambda: len(hooks.came) == 1)
    [hook] = hooks.came
    assert (hook.id, hook.body) == (str(2**63 - 1), event)
    assert hook.headers["content-type"] == "application/cloudevents+json"
    assert hook.headers["traceparent"] == trace


@pytest.mark.parametrize("reactor", ["asyncio", "default"])
def test_either_reactor_posts(services: Services, server: Server, hooks: Hooks, reactor: str) -> None:
    """And goes on after a call that the consumer has cancelled."""
    hooks.react = lambda hook, times: (lambda request: request.hang()) if hook.id == "3" and times == 0 else 204
    add(server, 20)
    start(services, server, hooks, f"--reactor={reactor}", "--handler-timeout=3")
    wait_until(lambda: is_done(server))
    assert (sorted(hooks.taken, key=int), letters(server)) == ([str(number) for number in range(20)], [])


@pytest.mark.parametrize("place", [0, 1])
def test_a_secret_can_be_replaced(services: Services, server: Server, hooks: Hooks, place: int) -> None:
    """While both are set, receivers with either verify."""
    other = "whsec_" + "QUFB" * 8
    secrets = [other, other]
    secrets[place] = SECRET
    add(server, 5)
    start(services, server, hooks, secret=" ".join(secrets))
    wait_until(lambda: is_done(server))
    assert (hooks.forged, len(hooks.taken)) == (0, 5)


# Failure


def test_an_event_that_is_refused_is_set_aside_at_once(services: Services, server: Server, hooks: Hooks) -> None:
    refused = {"1": 400, "2": 413, "4": 415, "5": 422}
    hooks.react = lambda hook, times: refused.get(hook.id, 204)
    add(server, 7)
    start(services, server, hooks)
    wait_until(lambda: is_done(server))
    assert hooks.ids == [str(number) for number in range(7)]
    told = letters(server)
    assert [letter[b"reason"] for letter in told] == [b"rejected"] * len(refused)
    for letter, status in zip(told, refused.values()):
        assert letter[b"error"].endswith(b"answered %d: said %d" % (status, status))


def test_an_event_that_failed_is_posted_again(services: Services, server: Server, hooks: Hooks) -> None:
    """With the same id, and newly signed, whatever the status."""
    hooks.react = lambda hook, times: int(hook.id) if times == 0 else 204
    add(server, 0)
    consumer = start(services, server, hooks)
    for status in (302, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504):
        hooks.came.clear()
        with server.client() as client:
            client.xadd(STREAM, {"EventStream": json.dumps({"id": status, "description": "", "timestamp": ""})})
        wait_until(partial(was_last, hooks, server, str(status)))
        wait_until(partial(consumer.says, f"answered {status}"))
        assert hooks.ids == [str(status)] * 2
        assert (hooks.forged, letters(server)) == (0, [])
        [warning] = [line for line in consumer.lines() if f"answered {status}" in line.get("error", "")]
        assert warning["level"] == "warn"
    assert_nothing_told(consumer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(services: Services, server: Server, hooks: Hooks, status: int) -> None:
    hooks.react = lambda hook, times: (status, {"Location": "/elsewhere?token=psst"})
    add(server, 1)
    consumer = start(services, server, hooks, "--max-deliveries=2")
    wait_until(lambda: len(letters(server)) == 1)
    assert [hook.path for hook in hooks.came] == ["/hook?token=psst-psst"] * 2
    assert letters(server)[0][b"error"].endswith(b"leads to /elsewhere?(hidden)")
    assert_nothing_told(consumer)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_followed_and_spends_no_delivery(
    services: Services, server: Server, hooks: Hooks, status: int
) -> None:
    hooks.react = lambda hook, times: (status, {"Retry-After": "1"}) if times < 3 else 204
    add(server, 1)
    start(services, server, hooks, "--max-deliveries=1")
    wait_until(lambda: is_done(server))
    assert letters(server) == []
    times = [hook.at for hook in hooks.came]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))


def test_a_receiver_that_is_gone_loses_nothing(services: Services, server: Server, hooks: Hooks) -> None:
    """An alarm is raised, and events stay in the stream."""
    hooks.react = lambda hook, times: 410
    add(server, 20)
    port = stable_port()
    consumer = start(services, server, hooks, "--max-deliveries=1", f"--admin-port={port}")
    wait_until(lambda: "eventsvc_webhook_gone 1.0" in get(port, "/metrics")[1])
    assert get(port, "/health/ready")[0] == 200
    assert consumer.stop() == 0
    alarms = [line for line in consumer.lines() if line.get("alarm") == "webhook_gone"]
    assert len(alarms) == 1
    assert letters(server) == []
    assert unread(server) + pending(server) == 20


@pytest.mark.parametrize("how", ["hang", "drip", "hang_up"])
def test_a_receiver_that_never_ends_its_answer_is_asked_again(
    services: Services, server: Server, hooks: Hooks, how: str
) -> None:
    hooks.react = lambda hook, times: (
        (lambda request: getattr(request, how)()) if hook.id == "0" and times == 0 else 204
    )
    add(server, 3)
    consumer = start(services, server, hooks, "--webhook-timeout=3")
    wait_until(lambda: is_done(server))
    assert sorted(hooks.taken) == ["0", "1", "2"]
    words = "no answer from" if how == "hang_up" else "no whole answer"
    wait_until(lambda: any(words in line.get("error", "") for line in consumer.lines()))


def test_a_receiver_that_flaps_gets_every_event(services: Services, server: Server) -> None:
    """It fails and hangs up in turn, goes down and comes back on the same port, three times."""

    def flap(hook: Hook, times: int) -> Reaction:
        match (int(hook.id) + times) % 5:
            case 0:
                return 503
            case 1:
                return lambda request: request.hang_up()
            case _:
                return 204

    def wait_until_refused() -> None:
        before = consumer.out().count("ConnectionRefusedError")
        wait_until(lambda: consumer.out().count("ConnectionRefusedError") > before)

    def wait_until_taken(most: int) -> None:
        wait_until(lambda: len(hooks.taken) > most)

    hooks = Hooks(port=stable_port(), react=flap)
    texts = add(server, 1_000)
    consumer = start(services, server, hooks, "--concurrency=5", "--max-deliveries=1000")
    for most in (100, 250, 500):
        wait_until_refused()
        with receiving_hooks(hooks):
            wait_until_taken(most)
    with receiving_hooks(hooks):
        wait_until(lambda: is_done(server))
    assert set(hooks.taken) == {str(number) for number in range(len(texts))}
    assert (hooks.forged, letters(server)) == (0, [])


@pytest.mark.parametrize("concurrency", [1, 10])
def test_a_receiver_that_is_down_makes_at_most_two_dead_letters(
    services: Services, server: Server, concurrency: int
) -> None:
    """What nobody listens to is tried again until somebody does."""
    hooks = Hooks(port=stable_port())
    texts = add(server, 100)
    consumer = start(services, server, hooks, f"--concurrency={concurrency}")
    wait_until(lambda: consumer.says('"alarm":"handler_failing"'))
    wait_until(lambda: consumer.out().count("ConnectionRefusedError") > 20)
    with receiving_hooks(hooks):
        wait_until(lambda: is_done(server))
    assert len(letters(server)) <= 2
    assert len(set(hooks.taken)) + len(letters(server)) == len(texts)


def test_a_receiver_with_another_secret_loses_nothing(services: Services, server: Server, hooks: Hooks) -> None:
    """Until both have the same, it answers 401."""
    hooks.secret = "whsec_" + "QUFB" * 8
    texts = add(server, 50)
    consumer = start(services, server, hooks)
    wait_until(lambda: consumer.says('"alarm":"handler_failing"'))
    wait_until(lambda: hooks.forged > 8)
    hooks.secret = SECRET
    wait_until(lambda: is_done(server))
    assert len(letters(server)) <= 2
    assert len(set(hooks.taken)) + len(letters(server)) == len(texts)


# Settings and stops


def test_a_private_address_gets_nothing(services: Services, server: Server, hooks: Hooks) -> None:
    add(server, 1)
    consumer = start(services, server, hooks, "--webhook-allow-private=off", "--max-deliveries=1")
    wait_until(lambda: len(letters(server)) == 1)
    assert hooks.came == []
    assert b"127.0.0.1, which is not a public address" in letters(server)[0][b"error"]
    assert_nothing_told(consumer)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "WEBHOOK_URL is not set"),
        ({"WEBHOOK_URL": "https://h/"}, "WEBHOOK_SECRET is not set"),
        ({"WEBHOOK_URL": "https://u:psst@h/", "WEBHOOK_SECRET": "none"}, "WEBHOOK_URL='(hidden)@h/': expected an http"),
        (
            {"WEBHOOK_URL": "ftp://h/?psst", "WEBHOOK_SECRET": "none"},
            "WEBHOOK_URL='ftp://h/?(hidden)': expected an http",
        ),
        (
            {"WEBHOOK_URL": "https://h/", "WEBHOOK_SECRET": "psst"},
            "WEBHOOK_SECRET=(hidden): expected whsec_ and the base64",
        ),
        (
            {"WEBHOOK_URL": "https://h/", "WEBHOOK_SECRET": "none", "WEBHOOK_TIMEOUT": "0"},
            "WEBHOOK_TIMEOUT='0': expected",
        ),
    ],
)
def test_wrong_settings_end_the_process_with_2(services: Services, settings: dict[str, str], said: str) -> None:
    consumer = services.start("eventsvc", "consumer", "--handler=webhook", environment=settings)
    assert consumer.process.wait(30.0) == 2
    assert said in consumer.err()
    assert "psst" not in consumer.err() + consumer.out()


def test_a_stop_does_not_wait_for_a_receiver_that_hangs(services: Services, server: Server, hooks: Hooks) -> None:
    """The event is delivered again, to this consumer or another."""
    hooks.react = lambda hook, times: lambda request: request.hang()
    add(server, 1)
    consumer = start(services, server, hooks, "--drain-timeout=0.5")
    wait_until(lambda: len(hooks.came) == 1)
    assert consumer.stop() == 0
    hooks.react = lambda hook, times: 204
    start(services, server, hooks)
    wait_until(lambda: is_done(server))
    assert hooks.taken == ["0"]
