"""
Tests for the parts of the chaos suite that make Redis lose data: failovers and power failures.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import attrs
import pytest

pytest.importorskip("toxiproxy", reason="the chaos suite needs toxiproxy-python")
pytest.importorskip("chaos", reason="the chaos suite is beside the package, in the repository")

from chaos.deployment import Deployment
from chaos.disk import POWER, Disk
from chaos.failovers import PrimaryKilled
from chaos.plan import Plan
from chaos.power import NotRun, check_disk
from chaos.replicas import REPLICATOR, SENTINEL
from chaos.report import junit, page, record, summary
from chaos.scenario import Run, run
from chaos.scenarios import BY_NAME
from chaos.setbacks import BackupRestored, PowerLost

_ALONE = Plan(producers=0, handlers=(), proxied=False, tokens=False)


def write_late(deployment: Deployment, seconds: float) -> None:
    """Write to Redis in the time in which its data will be lost."""
    assert seconds > 0
    with deployment.redis() as client:
        client.set("late", "1")


# Failovers


@pytest.mark.xdist_group("chaos")
def test_a_replica_that_lags_replaces_a_primary_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "wait", write_late)
    deployment = Deployment(attrs.evolve(_ALONE, sentinels=True), tmp_path)
    try:
        deployment.start()
        old = deployment.replicas.primary()
        with deployment.redis() as client:
            client.set("early", "1")
            client.wait(2, 1000)
        with PrimaryKilled().breaking(deployment):
            assert deployment.replicas.primary() != old
            with deployment.redis() as client:
                assert client.mget("early", "late") == [b"1", None]
        assert len(deployment.replicas.promotions) == 1
        assert deployment.rolled_back
        assert not deployment.replicas.is_primary(old)
        with deployment.replicas.client(old) as direct:
            users = [line.split()[1:3] for line in direct.acl_list()]
    finally:
        deployment.end()
    assert [REPLICATOR, "on"] in users
    assert [SENTINEL, "on"] in users


# Power failures


def write(disk: Disk, path: str, data: bytes, offset: int = 0) -> int:
    handle = disk.open(path, 0) if path in disk.files else disk.create(path, 0o644)
    disk.write(path, data, offset, handle)
    return handle


def read(disk: Disk, path: str) -> bytes:
    return disk.read(path, 1000, 0, disk.open(path, 0))


def test_a_disk_loses_what_was_not_synced() -> None:
    disk = Disk()
    handle = write(disk, "/a", b"first ")
    disk.fsync("/a", 0, handle)
    write(disk, "/a", b"second", 6)
    write(disk, "/b", b"never synced")
    assert read(disk, "/a") == b"first second"
    disk.utimens(f"/{POWER}")
    assert read(disk, "/a") == b"first "
    assert read(disk, "/b") == b""
    disk.utimens(f"/{POWER}")
    assert read(disk, "/a") == b"first "


def test_a_disk_keeps_what_was_synced_under_another_name() -> None:
    """A file that is written, synced and renamed, as Redis does, is whole or not there."""
    disk = Disk()
    disk.fsync("/new", 0, write(disk, "/new", b"whole"))
    disk.rename("/new", "/old")
    disk.utimens(f"/{POWER}")
    assert read(disk, "/old") == b"whole"
    with pytest.raises(FileNotFoundError):
        disk.open("/new", 0)


def test_a_file_that_was_cut_is_cut_for_good_once_it_is_synced() -> None:
    disk = Disk()
    handle = write(disk, "/a", b"long enough")
    disk.fsync("/a", 0, handle)
    disk.truncate("/a", 4)
    disk.utimens(f"/{POWER}")
    assert read(disk, "/a") == b"long enough"
    disk.truncate("/a", 4, handle)
    disk.fsync("/a", 0, handle)
    disk.utimens(f"/{POWER}")
    assert read(disk, "/a") == b"long"
    write(disk, "/a", b"!", 6)
    assert read(disk, "/a") == b"long\0\0!"


def test_a_file_that_is_removed_can_still_be_read_by_those_who_opened_it() -> None:
    disk = Disk()
    handle = write(disk, "/a", b"content")
    disk.unlink("/a")
    assert disk.read("/a", 100, 0, handle) == b"content"
    assert list(disk.readdir("/", 0)) == [".", "..", POWER]


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize(("fsync", "left"), [("always", b"1"), ("no", None)])
def test_the_power_of_redis_fails(tmp_path: Path, fsync: str, left: bytes | None) -> None:
    try:
        check_disk()
    except NotRun as why:
        pytest.skip(str(why))
    options = ("--appendonly", "yes", "--appendfsync", fsync)
    deployment = Deployment(attrs.evolve(_ALONE, disk=True, redis=options), tmp_path)
    try:
        deployment.start()
        with deployment.redis() as client:
            client.set("key", "1")
        with PowerLost().breaking(deployment):
            pass
        with deployment.redis() as client:
            assert client.get("key") == left
        assert not os.listdir(tmp_path / "redis")  # it is there for the server alone
    finally:
        deployment.end()


@pytest.mark.xdist_group("chaos")
def test_a_backup_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "wait", write_late)
    deployment = Deployment(_ALONE, tmp_path)
    try:
        deployment.start()
        with deployment.redis() as client:
            client.set("early", "1")
        with BackupRestored().breaking(deployment):
            pass
        with deployment.redis() as client:
            assert client.mget("early", "late") == [b"1", None]
    finally:
        deployment.end()


# A scenario that cannot be run


@pytest.fixture
def not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("chaos.power._DEVICE", str(tmp_path / "no-such-device"))
    plan = attrs.evolve(BY_NAME["power-lost-always"].plan, proxied=False)
    return run(attrs.evolve(BY_NAME["power-lost-always"], plan=plan), 1, tmp_path / "run")


def test_without_the_device_a_power_failure_is_not_run_and_says_so(not_run: Run) -> None:
    assert not_run.state == "not run"
    assert "no-such-device is not there" in not_run.not_run
    assert not_run.passed
    assert summary([not_run]) == "0 of 0 runs held; 1 were not run"
    assert "no-such-device is not there" in page([not_run])
    [case] = ElementTree.fromstring(junit([not_run])).iter("skipped")
    assert "no-such-device" in case.attrib["message"]
    assert record(not_run)["state"] == "not run"
