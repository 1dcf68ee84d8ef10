"""
What a pod of the chart's Redis starts as: the real script, with a redis-cli that replies as told.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from tests.support.helm import CHART

NODES = ("127.0.0.31", "127.0.0.32", "127.0.0.33")
SET = "redis-master"

#: What a Sentinel of the test replies, by what is known to it; a silent one has no line.
NONE = "ERR No such master with that name"


def _knows(primary: str, epoch: int = 1) -> str:
    words = {"name": SET, "ip": primary, "port": "6379", "runid": "", "flags": "master", "config-epoch": str(epoch)}
    return "\n".join(f"{name}\n{value}" for name, value in words.items())


@attrs.define
class Case:
    """
    @ivar me: the number of the pod.
    @ivar sentinels: replies by the number of the pod.
    @ivar volume: files on the volume of the pod, with their text.
    @ivar primary: number of a pod whose Redis says that it is a primary.
    """

    expected: str
    me: int = 0
    sentinels: Mapping[int, str] = {}
    volume: Mapping[str, str] = {"appendonlydir": ""}
    primary: int | None = None
    nodes: Sequence[str] = NODES


ALONE = {"alone": "", "appendonlydir": ""}
CASES = {
    "the first pod of a first start": Case("primary", sentinels={0: NONE, 1: NONE, 2: NONE}, volume={}),
    "another pod of a first start": Case("wait", me=1, sentinels={0: NONE, 1: NONE, 2: NONE}, volume={}),
    "one who may know is silent": Case("wait", sentinels={0: NONE, 1: NONE}, volume={}),
    "a restart of the primary": Case("primary", sentinels={0: _knows(NODES[0]), 1: _knows(NODES[0])}),
    "another was promoted": Case("replica 127.0.0.32", sentinels={0: _knows(NODES[0]), 1: _knows(NODES[1], 2)}),
    "the number counts, not the text": Case(
        "replica 127.0.0.32", sentinels={0: _knows(NODES[0], 9), 1: _knows(NODES[1], 10)}
    ),
    "only my own Sentinel answers": Case("wait", sentinels={0: _knows(NODES[0])}),
    "only another Sentinel answers": Case("wait", sentinels={1: _knows(NODES[1])}),
    "no Sentinel answers": Case("wait"),
    "a lost volume of the primary": Case("wait", sentinels=dict.fromkeys(range(3), _knows(NODES[0])), volume={}),
    "a lost volume of a replica": Case(
        "replica 127.0.0.31", me=1, sentinels={0: _knows(NODES[0]), 1: NONE, 2: _knows(NODES[0])}, volume={}
    ),
    "the file of Redis 6.2 is data too": Case(
        "primary", sentinels=dict.fromkeys(range(3), _knows(NODES[0])), volume={"appendonly.aof": ""}
    ),
    "from one to three, the first": Case("primary", sentinels={0: NONE, 1: NONE, 2: NONE}, volume=ALONE),
    "from one to three, another": Case("replica 127.0.0.31", me=2, sentinels={1: NONE, 2: NONE}, volume={}, primary=0),
    "the first has a Sentinel, but is no primary yet": Case("wait", me=2, sentinels=dict.fromkeys(range(3), NONE)),
    "from three to one and back, the first": Case(
        "wait", sentinels={0: NONE, 1: _knows(NODES[1]), 2: _knows(NODES[1])}, volume=ALONE
    ),
    "from three to one and back, another": Case(
        "wait", me=1, sentinels={1: _knows(NODES[1]), 2: _knows(NODES[1])}, primary=0
    ),
    "the Sentinel beside the primary is away": Case(
        "replica 127.0.0.31", me=1, sentinels={1: _knows(NODES[0]), 2: _knows(NODES[0])}, primary=0
    ),
    "the only pod": Case("primary", nodes=NODES[:1], volume={}),
    "the only pod, the last primary": Case(
        "primary", nodes=NODES[:1], volume={"sentinel.conf": f"sentinel monitor {SET} {NODES[0]} 6379 2\n"}
    ),
    "the only pod, a replica before": Case(
        "wait", nodes=NODES[:1], volume={"sentinel.conf": f"port 1\nsentinel monitor {SET} {NODES[1]} 6379 2\n"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_redis_starts_as(case: Case, tmp_path: Path) -> None:
    replies, volume, programs = tmp_path / "replies", tmp_path / "volume", tmp_path / "bin"
    for directory in (replies, volume, programs):
        directory.mkdir()
    for number, reply in case.sentinels.items():
        (replies / f"{NODES[number]}:26379").write_text(reply + "\n")
    if case.primary is not None:
        (replies / f"{NODES[case.primary]}:6379").write_text("master\n0\n")
    for name, text in case.volume.items():
        (volume / name).write_text(text)
    (programs / "redis-cli").write_text(f'#!/bin/bash\ncat "{replies}/$2:$4"\n')
    (programs / "timeout").write_text('#!/bin/bash\nshift\nexec "$@"\n')  # a slow machine is no silent Sentinel
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ME": case.nodes[case.me],
        "NODES": " ".join(case.nodes),
        "SET": SET,
        "CONFIG": str(CHART / "files" / "redis"),
        "DATA": str(volume),
        "USER_KEY": "",
    }
    script = 'source "$CONFIG/common"; source "$CONFIG/decide"; decide; echo "$as $of"; echo "$why"'
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=20)
    decision, why = done.stdout.splitlines()
    assert decision.strip() == case.expected, why
    assert why
    assert not done.stderr
