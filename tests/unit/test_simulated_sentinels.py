"""
Tests that simulated Sentinels answer and announce as real ones do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from chaos.suites import PATIENCE, wait_until
from eventsvc.testing.clock import run_clock
from simulation.servers.deployment import Deployment
from tests.support import sentinels as real
from tests.support.simulated import Ask, Client, asking, asking_real, find_make, make_deployment, versions

CHANNELS = ("+failover-state-wait-promotion", "+promoted-slave", "+switch-master")


@pytest.fixture(params=versions(), scope="module")
def deployments(request: pytest.FixtureRequest) -> Iterator[tuple[Deployment, real.Deployment]]:
    """A simulated deployment and a real one, of each make."""
    with real.running_deployment(find_make(request.param)) as running:
        yield make_deployment(request.param), running


@contextmanager
def asking_both(deployments: tuple[Deployment, real.Deployment]) -> Iterator[tuple[Ask, Ask]]:
    simulated, running = deployments
    with asking_real(running.sentinels[0].port) as ask_real:
        yield asking(simulated.sentinels[0]), ask_real


@pytest.mark.parametrize(
    "command",
    [
        *("PING", "ROLE", "GET a", "SET a b", "AUTH x", "AUTH nobody x", "AUTH", "SENTINEL", "SENTINEL NOSUCH"),
        *("SENTINEL MASTER nosuch", "SENTINEL REPLICAS nosuch", "SENTINEL GET-MASTER-ADDR-BY-NAME nosuch"),
        *("SUBSCRIBE +switch-master", "SUBSCRIBE"),
    ],
)
def test_the_words_are_those_of_a_real_sentinel(deployments: tuple[Deployment, real.Deployment], command: str) -> None:
    with asking_both(deployments) as asks:
        reply, expected = (ask(*command.split()) for ask in asks)
        assert reply == expected


def test_a_subscription(deployments: tuple[Deployment, real.Deployment]) -> None:
    """After that a session hears messages, and may ask for little."""
    with asking_both(deployments) as asks:
        replies, expected = (
            [ask(*words) for words in (["SUBSCRIBE", "+switch-master"], ["PING"], ["ROLE"])] for ask in asks
        )
        assert replies == expected


def facts(words: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(words[::2], words[1::2]))


def test_what_is_told_of_the_servers(deployments: tuple[Deployment, real.Deployment]) -> None:
    """All that a simulated Sentinel tells, a real one tells too, in the same order, and with the same numbers."""
    same = [b"name", b"flags", b"config-epoch", b"num-slaves", b"num-other-sentinels", b"quorum"]
    with asking_both(deployments) as asks:
        reply, expected = (facts(ask("SENTINEL", "MASTER", "mymaster")) for ask in asks)
        assert list(reply) == [name for name in expected if name in reply]
        assert {name: reply[name] for name in same} == {name: expected[name] for name in same}
        replies = [[facts(each) for each in ask("SENTINEL", "REPLICAS", "mymaster")] for ask in asks]
        assert [each[b"flags"] for each in replies[0]] == [each[b"flags"] for each in replies[1]]
        address, named = (ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") for ask in asks)
        assert address == [b"10.0.0.1", b"6379"]
        assert named == [expected[b"ip"], expected[b"port"]]


def form(message: list[bytes], ports: list[int]) -> tuple[bytes, list[str]]:
    """Return the channel and the words of a message, with servers by their number."""
    words = message[2].decode().replace(":", " ").split()
    names = {f"{port}": f"server {number}" for number, port in enumerate(ports)}
    return message[1], [names.get(word, "host" if "." in word else word) for word in words]


def test_what_a_failover_announces() -> None:
    """The steps and the words are those of real Sentinels: of the one that leads, and of the others."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    for number, server in enumerate(deployment.servers):
        server.port += number
    clients = [Client(deployment.clock, each) for each in deployment.sentinels]
    for client in clients:
        client.send("SUBSCRIBE", *CHANNELS)
        client.take()
    assert deployment.fail_over()
    run_clock(clock, 3.0)
    ports = [server.port for server in deployment.servers]
    announced = [[form(each, ports) for each in client.take()] for client in clients]
    with real.running_deployment() as running, ExitStack() as stack:
        listening = [stack.enter_context(each.client()).pubsub() for each in running.sentinels]
        heard: list[list[Any]] = [[] for _ in listening]
        for pubsub in listening:
            pubsub.subscribe(*CHANNELS)
        running.fail_over()

        def have_switched() -> bool:
            for pubsub, messages in zip(listening, heard):
                if message := pubsub.get_message(ignore_subscribe_messages=True, timeout=0.02):
                    messages.append([message["type"], message["channel"], message["data"]])
            return all(messages and messages[-1][1] == b"+switch-master" for messages in heard)

        wait_until(have_switched, "the failover is over", PATIENCE)
        ports = [running.servers[0].port, running.primary().port]
    assert announced == [[form(each, ports) for each in messages] for messages in heard]


def test_the_others_name_it_one_after_the_other() -> None:
    """Until then they name the primary from before, with a lower epoch."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    asks = [asking(each) for each in deployment.sentinels]
    old, new = [b"10.0.0.1", b"6379"], [b"10.0.0.2", b"6379"]

    def named() -> list[Any]:
        return [ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") for ask in asks]

    deployment.servers[0].kill()
    assert deployment.fail_over()
    assert named() == [old, old, old]
    for seconds, expected in ((0.85, [new, old, old]), (0.07, [new, new, old]), (0.03, [new, new, new])):
        run_clock(clock, seconds)
        assert named() == expected
    assert {facts(ask("SENTINEL", "MASTER", "mymaster"))[b"config-epoch"] for ask in asks} == {b"1"}


def test_one_that_is_isolated_names_the_old_primary_until_it_hears() -> None:
    deployment = make_deployment()
    clock: Any = deployment.clock
    deployment.isolate(deployment.sentinels[2])
    assert deployment.fail_over()
    run_clock(clock, 3.0)
    assert [each.named.host for each in deployment.sentinels] == ["10.0.0.2", "10.0.0.2", "10.0.0.1"]
    deployment.rejoin(deployment.sentinels[2])
    run_clock(clock, 1.0)
    assert deployment.sentinels[2].named.host == "10.0.0.2"


def test_most_sentinels_are_needed() -> None:
    deployment = make_deployment()
    deployment.sentinels[0].pause()
    deployment.sentinels[1].kill()
    assert not deployment.fail_over()
    deployment.resume(deployment.sentinels[0])
    assert deployment.fail_over()


def test_a_leader_that_comes_back_tells_what_it_has_chosen() -> None:
    """It has died before the others heard of it: they hear now, and all servers follow."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    leader = deployment.sentinels[0]
    assert deployment.fail_over()
    run_clock(clock, 0.86)
    leader.kill()
    run_clock(clock, 3.0)
    assert [each.named.host for each in deployment.sentinels] == ["10.0.0.2", "10.0.0.1", "10.0.0.1"]
    assert deployment.primary is deployment.servers[0]
    deployment.start(leader)
    run_clock(clock, 30.0)
    assert {each.named.host for each in deployment.sentinels} == {"10.0.0.2"}
    assert [server.link and server.link.primary.host for server in deployment.servers] == ["10.0.0.2", None, "10.0.0.2"]


def test_a_failover_goes_on_if_its_leader_dies_and_there_is_no_way_back() -> None:
    """Another Sentinel leads it to its end."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    deployment.servers[0].kill()
    assert deployment.fail_over()
    run_clock(clock, 0.1)
    deployment.sentinels[0].kill()
    run_clock(clock, 20.0)
    assert [each.named.host for each in deployment.sentinels[1:]] == ["10.0.0.2", "10.0.0.2"]
    assert deployment.primary.link is None


def test_a_failover_whose_leader_dies_is_undone() -> None:
    """See the Note [A primary that no Sentinel names yet]: what the promoted one has taken is gone."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    assert deployment.fail_over()
    assert asking(deployment.servers[1])("ROLE")[0] == b"master"
    deployment.sentinels[0].kill()
    run_clock(clock, 20.0)
    assert [server.link is None for server in deployment.servers] == [True, False, False]


@pytest.mark.parametrize("ending", ["kill", "pause"])
def test_the_old_primary_comes_back_as_one_and_is_corrected(ending: str) -> None:
    """Until then it accepts writes, which will be lost."""
    deployment = make_deployment()
    clock: Any = deployment.clock
    old = deployment.servers[0]
    getattr(old, ending)()
    assert deployment.fail_over()
    run_clock(clock, 3.0)
    (deployment.start if ending == "kill" else deployment.resume)(old)
    assert asking(old)("ROLE")[0] == b"master"
    run_clock(clock, 11.0)
    assert asking(old)("ROLE")[:4] == [b"slave", b"10.0.0.2", 6379, b"connected"]
    [*_, replicas] = asking(deployment.servers[1])("ROLE")
    assert [each[0] for each in replicas] == [b"10.0.0.3", b"10.0.0.1"]
