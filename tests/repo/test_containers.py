"""
Tests for the images and compose.yaml that build nothing.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from eventsvc import __version__
from eventsvc.settings import ROLES
from eventsvc.settings.reading import read
from tests.support.helm import CHART, ROOT, find_command, render, the

DOCKERFILES = sorted((ROOT / "containers").glob("*/Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

dockerfiles = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)


@dockerfiles
def test_hadolint_finds_no_fault(path: Path) -> None:
    done = subprocess.run([find_command("hadolint"), str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@dockerfiles
def test_an_image_runs_as_a_numeric_user_and_gets_signals_itself(path: Path) -> None:
    text = path.read_text()
    assert int(re.findall(r"^USER (\d+):\d+$", text, re.M)[-1]) > 0
    assert re.search(r'^ENTRYPOINT \["', text, re.M)


@dockerfiles
def test_the_base_of_an_image_can_be_another(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"^ARG BASE_IMAGE=\S+$", text, re.M)
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) - {"scratch"} == {"${BASE_IMAGE}"}


@dockerfiles
def test_an_image_says_what_it_is(path: Path) -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', path.read_text()))
    assert labels.keys() >= {"title", "description", "licenses"}
    if path.parent.name != "redis":  # whose version is that of Valkey
        assert labels["version"] == __version__
        assert f"/usr/share/sbom/{labels['title']}.cdx.json" in path.read_text()


@pytest.mark.parametrize("role", ROLES)
def test_a_service_of_compose_understands_its_settings(role: str) -> None:
    service = COMPOSE[role]
    assert service["command"] == [role]
    environment = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(text)) for name, text in service["environment"].items()}
    for cls in ROLES[role]:
        read(cls, environment)


def test_a_handler_can_be_mounted_into_the_consumer_of_compose() -> None:
    """It is mounted in the working directory, where its module is found."""
    consumer = COMPOSE["consumer"]
    (mount,) = consumer["volumes"]
    assert mount == f"${{HANDLERS:-handlers}}:{consumer['working_dir']}:ro"
    assert consumer["environment"]["CONSUMER_HANDLER"] == "${CONSUMER_HANDLER:-log}"


def test_the_page_names_what_compose_can_be_told() -> None:
    """The page lists every variable with its default."""
    page = (ROOT / "docs" / "install.md").read_text()
    section = page.partition("## With compose")[2].partition("\n## ")[0]
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "compose.yaml").read_text()):
        assert f"`{name}`" in section
        assert default in section or name == "HANDLERS"


def test_compose_has_the_memory_limits_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    limits = {part: values[part]["resources"]["limits"]["memory"] for part in values.keys() & {*ROLES, "redis"}}
    assert {part: COMPOSE[part]["mem_limit"] for part in limits} == {
        part: limit.replace("Mi", "m") for part, limit in limits.items()
    }
    assert COMPOSE["redis"]["environment"]["MAXMEMORY"] == f"${{MAXMEMORY:-{values['redis']['maxmemory']}}}"


def test_compose_publishes_on_loopback_alone() -> None:
    ports = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_profile_of_sentinels_is_what_the_page_says() -> None:
    """Three Sentinels watch the Redis that is there anyway, and two replicas of it."""
    profile = {name for name, service in COMPOSE.items() if service.get("profiles") == ["sentinels"]}
    assert profile == {"replica-1", "replica-2", "sentinel-1", "sentinel-2", "sentinel-3"}
    named = ",".join(f"{name}:26379" for name in sorted(profile) if name.startswith("sentinel"))
    assert f"REDIS_SENTINELS={named}" in (ROOT / "docs" / "install.md").read_text()
    for name in (*profile, "redis"):
        assert COMPOSE[name]["hostname"] == name, "it is announced by this name"
        assert COMPOSE[name]["volumes"] == [f"{name}:/data"]
    for role in ("producer", "consumer", "dashboard"):
        assert COMPOSE[role]["environment"]["REDIS_SENTINELS"] == "${REDIS_SENTINELS:-}"


def test_compose_runs_the_images_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    redis = values["redis"]["image"]
    assert COMPOSE["redis"]["image"] == f"{redis['repository']}:{redis['tag']}"
    assert {COMPOSE[role]["image"] for role in ROLES} == {f"{values['image']['repository']}:{__version__}"}


def test_redis_keeps_events_alike_in_compose_and_in_the_chart() -> None:
    image = (ROOT / "containers" / "redis" / "redis.conf").read_text().splitlines()
    chart = the(render(), "ConfigMap", "redis")["data"]["redis.conf"].splitlines()
    assert {line for line in image if not line.startswith("#")} == {line for line in chart if "maxmemory " not in line}
