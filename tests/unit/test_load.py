"""
Tests for a simulator that measures, as processes: exit codes, what it says, and the file of its run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.saved_run import Run, decode_run
from eventsvc.tap.parts.load import NOT_MET
from tests.support.processes import Server, Service, Services

PATIENCE = 60.0


def start_producer(services: Services, server: Server) -> int:
    return services.start("producer", "--rest-server-port=0", f"--redis-port={server.port}").port()


def start_consumer(services: Services, server: Server, *flags: str) -> Service:
    return services.start("consumer", f"--redis-port={server.port}", *flags)


def start_load(services: Services, port: int, *flags: str) -> Service:
    return services.start("simulator", f"--event-producer-port={port}", *flags)


def run_load(services: Services, port: int, *flags: str) -> tuple[int, Service]:
    """Run a simulator to its end, and return its exit code."""
    load = start_load(services, port, *flags)
    return load.process.wait(PATIENCE), load


def messages(service: Service, words: str) -> list[str]:
    return [line["message"] for line in service.lines() if words in line["message"]]


def read_run(path: Path) -> Run:
    return decode_run(path.read_bytes())


@pytest.mark.parametrize("form", ["plain", "cloudevents", "mixed"])
@pytest.mark.parametrize("batch", [1, 7])
def test_all_that_is_stored_is_followed_until_it_is_handled(
    services: Services, server: Server, tmp_path: Path, form: str, batch: int
) -> None:
    """It says so, and its file has the same numbers."""
    port = start_producer(services, server)
    start_consumer(services, server)
    flags = ["--events-per-second=500", "--count=100", f"--batch={batch}", f"--form={form}", "--size=10-50"]
    code, load = run_load(
        services, port, *flags, "--follow", f"--redis-port={server.port}", "--save=run.json", "--threshold=errors<1%"
    )
    assert (code, load.err()) == (0, "")
    assert messages(load, "answered 200") == [
        "of the events answered 200: stored 100, handled 100, lost 0",
    ]
    run = read_run(tmp_path / "run.json")
    assert (run.sent, run.ok, run.refused, run.unknown, run.dropped) == (100, 100, 0, 0, 0)
    assert run.requests == Latencies.decode(run.latency).count == -(-100 // batch)
    assert sum(each.ok for each in run.intervals) == 100
    assert run.followed is not None
    assert (run.followed.accepted, run.followed.stored, run.followed.handled) == (100, 100, 100)
    assert Latencies.decode(run.followed.handled_after).count == 100
    assert (run.settings["form"], run.settings["batch"]) == (form, batch)
    assert [(each.threshold, each.held) for each in run.thresholds] == [("errors<1%", True)]


def test_a_consumer_that_is_killed_loses_nothing(services: Services, server: Server) -> None:
    """Its events are handled by another; the simulator waits for that."""
    port = start_producer(services, server)
    flags = ["--redis-claim-idle=0.5", "--redis-consumer"]
    first = start_consumer(services, server, *flags, "first")
    load = start_load(
        services, port, "--events-per-second=100", "--count=200", "--follow", f"--redis-port={server.port}"
    )
    wait_until(lambda: len(first.lines()) > 20)
    first.process.send_signal(signal.SIGKILL)
    start_consumer(services, server, *flags, "second")
    assert load.process.wait(PATIENCE) == 0
    (words,) = messages(load, "answered 200")
    assert re.fullmatch(r"of the events answered 200: stored (\d+), handled \1, lost 0", words)


def test_a_threshold_that_is_not_met_ends_with_99(services: Services, server: Server, tmp_path: Path) -> None:
    """Each is told, whether it was met or not; what cannot be told was not met."""
    port = start_producer(services, server)
    code, load = run_load(
        services,
        port,
        *("--count=20", "--events-per-second=200", "--threshold", "errors<1%", "--threshold", "max<1us,p99.9<1s"),
        "--save=run.json",
    )
    assert code == NOT_MET == 99
    assert [words.partition(": ")[0] for words in messages(load, "threshold ")] == [
        "threshold errors<1% met",
        "threshold max<1us not met",
        "threshold p99.9<1s not met",
    ]
    assert messages(load, "p99.9<1s not met: no data")
    assert [each.held for each in read_run(tmp_path / "run.json").thresholds] == [True, False, False]


def test_without_a_producer_all_are_errors(services: Services, tmp_path: Path) -> None:
    """Events that nobody takes are refused, not forgotten."""
    flags = ["--count=10", "--events-per-second=100", "--threshold=errors<1%", "--save=run.json"]
    code, _ = run_load(services, stable_port(), *flags)
    assert code == NOT_MET
    run = read_run(tmp_path / "run.json")
    assert (run.sent, run.ok, run.refused) == (10, 0, 10)
    assert sum(run.problems.values()) == 10
    assert (run.percentiles["p50"], run.percentiles["max"]) == (None, None)


def test_events_that_nobody_handles_end_with_99(services: Services, server: Server) -> None:
    """A signal ends the wait for them."""
    port = start_producer(services, server)
    load = start_load(
        services, port, "--count=10", "--events-per-second=100", "--follow", f"--redis-port={server.port}"
    )
    wait_until(lambda: messages(load, "progress: 10 sent"), patience=30.0)
    assert load.stop() == NOT_MET
    assert messages(load, "answered 200") == [
        "of the events answered 200: stored 10, handled 0, not handled 10, lost 0"
    ]


def test_a_signal_ends_a_run_as_its_end_would(services: Services, server: Server, tmp_path: Path) -> None:
    """Without a limit that is how it ends: with its file and its verdict."""
    port = start_producer(services, server)
    for threshold, code in (("rate>1/s", 0), ("rate>100000/s", NOT_MET)):
        load = start_load(services, port, "--events-per-second=200", f"--threshold={threshold}", "--save=run.json")
        wait_until(lambda load=load: messages(load, "progress: "))  # type: ignore[misc]
        assert load.stop(signal.SIGINT) == code
        run = read_run(tmp_path / "run.json")
        assert run.ok == run.sent > 100
        assert run.seconds > 1


def test_a_signal_loses_nothing_that_is_followed(services: Services, server: Server) -> None:
    """It comes between two looks at the stream."""
    port = start_producer(services, server)
    services.start("eventsvc", "consumer", f"--redis-port={server.port}")
    load = start_load(services, port, "--events-per-second=500", "--follow", f"--redis-port={server.port}")
    wait_until(lambda: messages(load, "progress: "))
    assert load.stop(signal.SIGINT) in (0, NOT_MET)  # on a slow machine, not all is handled yet
    [words] = messages(load, "of the events answered 200")
    assert words.endswith(", lost 0")


def test_a_file_that_cannot_be_written_is_told_before_the_run(services: Services) -> None:
    for path, reason in (("nowhere/run.json", "No such file or directory"), (".", "Is a directory")):
        code, load = run_load(services, stable_port(), f"--save={path}", "--count=1")
        assert code == 2
        assert load.err() == f"eventsvc: SIMULATOR_SAVE={path!r}: expected a file that can be written ({reason})\n"


def test_a_full_disk_is_told_after_the_run(services: Services, server: Server) -> None:
    """The result is in the log all the same."""
    port = start_producer(services, server)
    code, load = run_load(services, port, "--save=/dev/full", "--count=5", "--events-per-second=100")
    assert code == 1
    assert messages(load, "cannot save") == ["cannot save the run in /dev/full: No space left on device"]
    assert messages(load, "summary: 5 sent, 5 ok")


def test_a_stream_that_cannot_be_followed_is_told(services: Services, server: Server) -> None:
    """Nothing is posted then."""
    port = start_producer(services, server)
    flags = ["--follow", f"--redis-port={server.port}", "--redis-stream=nothing", "--count=5"]
    code, load = run_load(services, port, *flags)
    assert code == 1
    assert messages(load, "--follow: there is no stream nothing")
    assert messages(load, "summary: 0 sent")


WITHOUT = """
import sys
sys.modules["hdrh"] = None
from twisted.scripts.twistd import run
sys.argv = ["twistd", "-n", "simulator", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--count=3"], 0, "summary: 3 sent, 0 ok, 3 refused"),
        (["--save=run.json"], 2, "need the library hdrhistogram: install eventsvc with its extra [load]"),
        (["--threshold=p99<1s"], 2, "hdrhistogram"),
        (["--follow"], 2, "hdrhistogram"),
    ],
)
def test_without_the_library_it_posts_and_counts(tmp_path: Path, flags: list[str], code: int, words: str) -> None:
    """As it always has; what needs the library says so."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, f"--event-producer-port={stable_port()}", "--events-per-second=100", *flags],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert words in ended.stdout + ended.stderr


def test_a_redis_that_is_killed_and_comes_back_loses_nothing(services: Services, own_server: Server) -> None:
    """What was answered 200 is there, and the simulator follows on."""
    port = start_producer(services, own_server)
    start_consumer(services, own_server)
    load = start_load(
        services, port, "--events-per-second=100", "--count=300", "--follow", f"--redis-port={own_server.port}"
    )
    with own_server.client() as client:
        wait_until(lambda: client.xlen("NotificationStream") > 50)
    own_server.end()
    own_server.start()
    assert load.process.wait(PATIENCE) == 0
    (words,) = messages(load, "answered 200")
    assert re.fullmatch(r"of the events answered 200: stored (\d+), handled \1, lost 0", words)
