"""
Tests for how the cluster suite interprets its environment.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from chaos.suites import NotInTime
from cluster import images
from cluster.commands import Failed, Namespace, run, wait_for
from cluster.logs import Logs
from eventsvc import __version__
from tests.support.helm import CHART


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
    assert len(images.build()) == 4
    assert noted.read_text().splitlines() == [f"{builder} build"] * 4


@pytest.mark.parametrize("docker", ["", "is down"])
def test_with_nothing_that_builds_it_asks_for_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: str
) -> None:
    put_on_path(tmp_path, monkeypatch, docker, buildah=False)
    with pytest.raises(Failed, match="neither docker with a running daemon nor buildah: set BUILD_IMAGE"):
        images.build()


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
