"""
Tests for how the cluster suite interprets its environment.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import inf
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from chaos.evidence import Evidence
from chaos.suites import NotInTime
from chaos.workload import Load
from cluster import images
from cluster.__main__ import Result, main, play, table
from cluster.commands import Failed, Namespace, run, wait_for
from cluster.judging import Promise, find_failed, judge
from cluster.load import LoadPod
from cluster.logs import Logs
from cluster.patience import pauses, waits
from cluster.release import Release
from cluster.scaling import define_scaled_objects
from cluster.scenarios import ALL
from cluster.servers import Servers
from cluster.stage import Scenario, Stage, check_context, expect_refusal
from eventsvc import __version__
from eventsvc.outcome import Outcome
from eventsvc.testing.history import History, Op
from tests.support.helm import CHART

OK, REFUSED = Outcome.OK, Outcome.REFUSED


def make_op(description: str, invoked: float, ended: float | None, outcome: Outcome = OK) -> Op:
    return Op("1", 1, description, invoked, ended, outcome)


def test_it_installs_the_images_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert (values["image"]["repository"], __version__) == (images.EVENTSVC, images.TAG)
    assert values["tests"]["image"]["repository"] == images.ROBOT
    assert (values["redis"]["image"]["repository"], values["redis"]["image"]["tag"]) == (images.REDIS, images.REDIS_TAG)


@pytest.mark.parametrize(
    ("context", "command"),
    [("kind-kind", "kind load docker-image --name kind"), ("minikube", "minikube image load")],
)
def test_it_knows_how_to_bring_images_to_kind_and_minikube(
    context: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "run", lambda *_: f"{context}\n")
    assert images._loader() == command


def test_elsewhere_it_asks_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "run", lambda *_: "production\n")
    with pytest.raises(Failed, match=r"'production' .* set LOAD_IMAGE"):
        images._loader()


DOCKER = {"answers": "exit 0", "is down": "exit 1", "hangs": "exec /bin/sleep 600"}


def put_on_path(directory: Path, monkeypatch: pytest.MonkeyPatch, docker: str, buildah: bool) -> Path:
    """Put only fake docker and buildah on PATH; the file they write says which one builds."""
    noted = directory / "noted"
    if docker:
        (directory / "docker").write_text(f"#!/bin/sh\n[ $1 = info ] && {DOCKER[docker]}\necho docker $1 >> {noted}\n")
    if buildah:
        (directory / "buildah").write_text(f"#!/bin/sh\necho buildah $1 >> {noted}\n")
    for program in directory.iterdir():
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("BUILD_IMAGE", raising=False)
    monkeypatch.setattr(images, "_PATIENCE", 0.5 if docker == "hangs" else 60.0, raising=False)
    return noted


@pytest.mark.parametrize(
    ("docker", "buildah", "builder"),
    [
        ("answers", True, "docker"),
        ("answers", False, "docker"),
        ("is down", True, "buildah"),
        ("hangs", True, "buildah"),
        ("", True, "buildah"),
    ],
)
def test_it_builds_with_docker_if_its_daemon_answers_else_with_buildah(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: str, buildah: bool, builder: str
) -> None:
    noted = put_on_path(tmp_path, monkeypatch, docker, buildah)
    assert len(images.build(images.Images())) == 4
    assert noted.read_text().splitlines() == [f"{builder} build"] * 4


@pytest.mark.parametrize("docker", ["", "is down"])
def test_with_nothing_that_builds_it_asks_for_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: str
) -> None:
    put_on_path(tmp_path, monkeypatch, docker, buildah=False)
    with pytest.raises(Failed, match="neither docker with a running daemon nor buildah: set BUILD_IMAGE"):
        images.build(images.Images())


def test_a_command_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(Failed, match="sh -c echo no >&2; exit 3 ended with 3: no"):
        run("sh", "-c", "echo no >&2; exit 3")


def test_what_does_not_come_is_named_with_the_last_reason() -> None:
    def never() -> bool:
        raise Failed("no such pod")

    with pytest.raises(NotInTime, match="not within 0 s: a pod: no such pod"):
        wait_for(never, "a pod", 0)


def test_the_logs_of_all_pods_count_but_no_line_that_is_half_written(tmp_path: Path) -> None:
    line = '{"time":"2026-01-01T00:00:0%d.5Z","level":"info","id":%d,"description":"a \u2028 b","message":"event"}'
    (tmp_path / "a.log").write_text(f'{line % (1, 1)}\n{line % (3, 2)}\n{{"id":3,"mes')
    (tmp_path / "b.log").write_text(f"{line % (2, 2)}\n")
    logs = Logs(Namespace("nowhere"), "app=it", tmp_path)
    assert [(each.process, each.id) for each in logs.lines(0.0)] == [("a", 1), ("b", 2), ("a", 2)]


def test_kubectl_acts_as_whom_it_is_told() -> None:
    assert Namespace("here").command("get", "pods") == ["kubectl", "--namespace", "here", "get", "pods"]
    assert Namespace("here", "robot").command("get") == ["kubectl", "--namespace", "here", "--as", "robot", "get"]


def test_a_way_to_nowhere_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho no such pod\n")
    kubectl.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Failed, match="port-forward pod/it: no such pod"), Namespace("here").forwarded("pod/it", 1):
        pass


@pytest.mark.parametrize(
    ("ops", "waited"),
    [
        ([], {}),
        ([make_op("a", 1.0, 1.5)], {"a": 0.5}),
        ([make_op("a", 1.0, 1.5, REFUSED), make_op("a", 2.0, 4.0)], {"a": 3.0}),
        ([make_op("a", 1.0, 1.5, REFUSED), make_op("b", 2.0, 4.0)], {"a": inf, "b": 2.0}),
        ([make_op("a", 1.0, 1.5), make_op("a", 9.0, 9.5)], {"a": 0.5}),
        ([make_op("a", 1.0, None, Outcome.UNKNOWN)], {"a": inf}),
    ],
)
def test_a_client_waits_from_its_first_attempt_to_the_first_200(ops: list[Op], waited: dict[str, float]) -> None:
    assert waits(ops) == waited


@pytest.mark.parametrize(
    ("ended", "moments", "longest"),
    [
        ([1, 2, 3], [], []),
        ([], [1], [inf]),
        ([1, 2, 3], [5], [inf]),
        ([1, 2, 3, 7, 8], [2.5], [4]),
        ([1, 2, 6, 7, 9, 10], [1.5, 6.5], [4, 2]),
        # the pause that begins before the next moment lasts until after it
        ([1, 2, 9], [1.5, 5], [7, 4]),
    ],
)
def test_a_pause_is_the_longest_time_without_a_200_after_each_moment(
    ended: list[float], moments: list[float], longest: list[float]
) -> None:
    ops = [make_op(f"{end}", end - 0.1, end) for end in ended]
    ops.append(make_op("refused", 2.0, 2.2, REFUSED))
    assert pauses(ops, moments) == longest


def make_evidence(*ops: Op) -> Evidence:
    return Evidence(history=History(ops=ops, stream=[]), lines=[], fault=(0.0, 1.0))


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        (Promise(), []),
        (Promise(patience=5.0), ["1 events were not answered 200 within 5 s: 0 never, the others after at most 6.0 s"]),
        (Promise(patience=7.0), []),
        (Promise(at_once=True), ["1 of 3 attempts were not answered 200; the first: "]),
    ],
)
def test_a_request_that_fails_breaks_the_promise(promise: Promise, words: list[str]) -> None:
    evidence = make_evidence(make_op("a", 0.0, 1.0), make_op("b", 1.0, 2.0, REFUSED), make_op("b", 6.0, 7.0))
    found = find_failed(evidence, promise)
    assert len(found) == len(words)
    assert all(one.startswith(beginning) for one, beginning in zip(found, words))


def fake_commands(directory: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Path:
    """Put only fake commands on PATH, which write down how they are called."""
    noted = directory / "noted"
    for name, script in scripts.items():
        (directory / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {noted}\n{script}\n')
        (directory / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(directory))
    return noted


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ({}, "no cluster to test on .kubectl is not installed.: set KUBECONFIG"),
        (
            {"kubectl": "echo error: current-context is not set >&2; exit 1"},
            "current-context is not set.: set KUBECONFIG",
        ),
        (
            {"kubectl": "[ $1 = config ] && echo mine || { echo refused >&2; exit 1; }"},
            "'mine' does not answer: .*refused",
        ),
    ],
)
def test_without_a_cluster_it_says_what_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scripts: dict[str, str],
    words: str,
) -> None:
    fake_commands(tmp_path, monkeypatch, **scripts)
    with pytest.raises(Failed, match=words):
        check_context()
    assert main(["--only", "install"]) == 1
    assert capsys.readouterr().err.startswith("failed: ")


def test_the_list_of_scenarios_needs_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [scenario.name for scenario in ALL]
    assert len(set(names)) == len(names)


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def make_stage() -> Stage:
    return Stage(Namespace("here-it"), images.Images("7", "3"), ["a=b"])


def break_down(stage: Stage) -> str:
    raise Failed("it broke\nat length")


@pytest.mark.parametrize(
    ("play_it", "keep", "passed", "is_left"),
    [
        (lambda _: "42 events", False, True, False),
        (lambda _: "42 events", True, True, False),
        (break_down, False, False, False),
        (break_down, True, False, True),
    ],
)
def test_each_scenario_has_a_namespace_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    play_it: Callable[[Stage], str],
    keep: bool,
    passed: bool,
    is_left: bool,
) -> None:
    noted = fake_commands(tmp_path, monkeypatch, kubectl="")
    result = play(Scenario("it", "Something.", play_it), make_stage(), keep)
    assert (result.name, result.passed) == ("it", passed)
    done = noted.read_text()
    assert "create namespace here-it" in done
    assert ("delete namespace here-it" not in done) is is_left


def test_a_namespace_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = fake_commands(tmp_path, monkeypatch, kubectl="echo AlreadyExists >&2; exit 1")
    result = play(Scenario("it", "Something.", lambda _: "never"), make_stage(), keep=False)
    assert (result.passed, "AlreadyExists" in result.said) == (False, True)
    assert "delete" not in noted.read_text()


def test_the_table_has_a_line_for_each_scenario() -> None:
    results = [Result("install", True, 41.6, "first 200 6.0 s"), Result("rollback", False, 3.2, "it broke\nat length")]
    assert table(results).splitlines() == [
        "scenario  result  seconds  figures",
        "install   passed  42       first 200 6.0 s",
        "rollback  FAILED  3        it broke",
    ]


def test_a_release_is_installed_with_the_images_and_the_values_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = fake_commands(tmp_path, monkeypatch, helm="")
    make_stage().install("c=d")
    (call,) = noted.read_text().splitlines()
    assert call.startswith("helm --namespace here-it install here-it ")
    for value in ("image.tag=7", "tests.image.tag=7", "redis.image.tag=3"):
        assert f"--set-string={value}" in call
    assert call.index("--set=a=b") < call.index("--set=c=d")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "expected a refusal with .*size.*, got none"),
        ("Forbidden", "expected a refusal with .*size.*, got: Forbidden"),
    ],
)
def test_a_refusal_in_other_words_is_a_failure(said: str, words: str) -> None:
    def act() -> None:
        if said:
            raise Failed(said)

    with pytest.raises(Failed, match=words):
        expect_refusal(act, "size")


def test_a_refusal_in_the_right_words_is_none() -> None:
    expect_refusal(lambda: run("sh", "-c", "echo the size cannot change >&2; exit 1"), "size", "change")


@pytest.mark.parametrize(
    ("roles", "primary"),
    [
        ({"a": b"master", "b": b"slave", "c": b"slave"}, "a"),
        ({"a": b"slave", "b": b"slave", "c": b"master"}, "c"),
        ({"a": b""}, "a"),  # one pod is the primary even while it does not answer
    ],
)
def test_the_primary_is_the_pod_that_says_so(
    monkeypatch: pytest.MonkeyPatch, roles: dict[str, bytes], primary: str
) -> None:
    monkeypatch.setattr(Servers, "pods", lambda _: list(roles))
    monkeypatch.setattr(Servers, "_role", lambda _, pod: [roles[pod]] if roles[pod] else [])
    assert Servers(Namespace("here")).primary() == primary


@pytest.mark.parametrize("roles", [{"a": b"master", "b": b"master"}, {"a": b"slave", "b": b""}, {}])
def test_no_primary_or_two_are_a_failure(monkeypatch: pytest.MonkeyPatch, roles: dict[str, bytes]) -> None:
    monkeypatch.setattr(Servers, "pods", lambda _: list(roles))
    monkeypatch.setattr(Servers, "_role", lambda _, pod: [roles[pod]] if roles[pod] else [])
    with pytest.raises(Failed, match="expected one primary among"):
        Servers(Namespace("here")).primary()


def test_the_entries_of_a_former_redis_never_have_the_ids_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(b"5-0", {b"a": b"1"}), (b"5-1", {b"a": b"2"}), (b"6-0", {b"a": b"3"})]

    class Client:
        def xrange(self, _: str, since: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
            assert since == "(4-0"
            return entries

    release = Release(Namespace("here"))
    release._since = "(4-0", 1.0
    monkeypatch.setattr(Servers, "client", lambda _: nullcontext(Client()))
    release.move(Servers(Namespace("here"), "other-"))
    places = [tuple(map(int, id.split(b"-"))) for id in release._former]
    assert places == sorted(places)
    assert [time for time, _ in places] == [5, 5, 6]
    assert not {id for id, _ in entries} & release._former.keys()
    assert (list(release._former.values()), release._since) == ([fields for _, fields in entries], ("-", 1.0))
    assert release.servers.name == "statefulset/other-redis-master"


def test_a_run_that_failed_keeps_its_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that no client felt is judged as if it had happened at an installed release."""

    class Fake(Release):
        def start(self) -> None: ...
        def settle(self) -> None: ...
        def end(self) -> None: ...
        def start_load(self, load: Load) -> None: ...
        def stop_load(self, fault: tuple[float, float]) -> Evidence:
            return make_evidence(make_op("a", 0.0, 1.0), make_op("b", 1.0, 2.0, REFUSED))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cluster.judging.time.sleep", lambda _: None)
    monkeypatch.setattr(LoadPod, "complaints", lambda _: ["b: 503"])
    judged = judge(Fake(Namespace("here-it")), lambda: None, Promise(patience=5.0))
    with pytest.raises(
        Failed, match=r"(?s)answered 200, but not stored.*1 events were not answered.*b: 503.*42 s long"
    ):
        judged.conclude("42 s long")
    kept = {path.name: path.read_text() for path in (tmp_path / "build/cluster/here-it").iterdir()}
    assert kept.keys() == {"charts.html", "ops.jsonl", "services.log"}
    assert ("<svg" in kept["charts.html"], len(kept["ops.jsonl"].splitlines())) == (True, 2)


def test_the_definition_of_keda_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's own has no schema: KEDA would no longer refuse a wrong ScaledObject."""
    noted = fake_commands(tmp_path, monkeypatch, kubectl="""echo '{"app.kubernetes.io/part-of":"keda-operator"}'""")
    with pytest.raises(Failed, match="the cluster has KEDA already"):
        define_scaled_objects()
    assert "apply" not in noted.read_text()
