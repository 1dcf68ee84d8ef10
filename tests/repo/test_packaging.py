"""
The wheel contains only the package and runs in an empty environment, and the version is the same everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from eventsvc import __version__

ROOT = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/eventsvc_plugin.py"
#: Where a tag of an image names the version.
PAGES = [*ROOT.glob("*.yaml"), *ROOT.glob("docs/*.md"), *ROOT.glob("containers/*/Dockerfile"), *ROOT.glob("robot/*.r*")]

pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy of the tree, without the C{build/} of earlier builds."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("eventsvc", "twisted", "tests", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(command, check=True, timeout=120)
    (found,) = wheels.glob("*.whl")
    return found


def test_a_group_of_tests_runs_in_one_worker(request: pytest.FixtureRequest) -> None:
    """Otherwise each worker builds a wheel of its own."""
    if request.config.getoption("loadgroup", False):
        assert request.node.nodeid.endswith("@packaging")


def test_the_wheel_has_the_package_and_the_plugin_alone(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("eventsvc/**/*")
        if path.suffix not in {".pyc", ""} or path.name == "py.typed"
    }
    assert names == package | {PLUGIN}
    assert {"eventsvc/py.typed", "eventsvc/web/openapi.json", "eventsvc/redis/append.lua"} <= names


def test_the_wheel_runs_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel)],
        check=True,
        timeout=150,
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [python.with_name("twistd"), "-n", "eventsvc", "producer", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert "--redis-host=" in answer.stdout


def test_the_wheel_has_the_version_of_the_package(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        metadata = message_from_bytes(archive.read(f"eventsvc-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__


def test_the_chart_and_the_interface_have_the_version_of_the_package() -> None:
    chart = yaml.safe_load((ROOT / "charts/eventsvc/Chart.yaml").read_text(encoding="utf-8"))
    interface = msgspec.json.decode((ROOT / "eventsvc/web/openapi.json").read_bytes())
    assert (chart["appVersion"], interface["info"]["version"]) == (__version__, __version__)


def test_each_tag_of_an_image_is_the_version_of_the_package() -> None:
    tags = {
        (str(page.relative_to(ROOT)), tag)
        for page in PAGES
        for tag in re.findall(r"localhost/eventsvc(?:-robot)?:([\w.]+)", page.read_text(encoding="utf-8"))
    }
    assert {page for page, _ in tags} >= {"compose.yaml", "docs/kubernetes.md", "robot/eventsvc.resource"}
    assert {tag for _, tag in tags} == {__version__}
