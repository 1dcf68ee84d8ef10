"""
Tests for the systemd unit in the docs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from eventsvc.settings import ROLES
from eventsvc.settings.reading import read, rows
from tests.support.helm import ROOT

PAGE = (ROOT / "docs" / "install.md").read_text()
(UNIT,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.M | re.S)


def parse() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(UNIT)
    return parser


def test_the_unit_is_whole() -> None:
    """It starts at boot, as an unprivileged user, and does not restart forever after an invalid setting."""
    unit = parse()
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["User"] not in ("", "root")
    assert service["ExecStart"].endswith("/twistd -n eventsvc %i")
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_systemd_finds_no_fault(tmp_path: Path, role: str) -> None:
    program = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.M)
    (tmp_path / f"eventsvc@{role}.service").write_text(program)
    command = ["systemd-analyze", "verify", "--man=no", f"{tmp_path}/eventsvc@{role}.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "eventsvc@" in done.stderr) == (0, False), done.stderr


def test_the_settings_are_settings() -> None:
    """The settings in the files beside the unit parse, and are settings of a role."""
    (text,) = re.findall(r"^```sh\n(REDIS_HOST=.*?)^```$", PAGE, re.M | re.S)
    found = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
    del found["REDIS_PASSWORD_FILE"]  # there is no such file here
    for cls in ROLES["consumer"]:
        read(cls, found)
    assert found.keys() <= {row.name for _, row in rows(*ROLES["consumer"])}
