"""
Makes schedules from seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import exp, log
from random import Random
from typing import Final, TypeVar

from msgspec.structs import replace

from simulation.schedules.choices import Choice, Durability, Fsync, Handler, Schedule, Setup, Version
from simulation.schedules.kinds import KINDS, PRIMARY, STEPS, Kind, Role, role_of
from simulation.schedules.theme import Theme
from simulation.schedules.themes import ANYTHING, THEMES

T = TypeVar("T")

#: Seconds that a world has before its first fault may begin, and for which clients post after the last one has begun.
_QUIET: Final = 2.0
_AFTER: Final = 5.0
#: The share of faults that begin at a step, and that follow the one before closely.
_AT_STEPS: Final = 0.5
_CLOSE: Final = 0.5
#: Seconds after which a fault that follows closely begins at most.
_SOON: Final = 1.5
#: How many of the worlds with replicas have one name for their servers, and after how many seconds it moves.
_NAMED: Final = 0.2
_MOVES: Final = (0.1, 15.0)
#: Seconds by which the wall clocks of all servers jump back at the beginning, if they do.
_BACK: Final = (40.0, 90.0)

#: Settings of the services in every schedule: short timeouts for short runs.
_SETTINGS: Final[Mapping[str, str]] = {"REDIS_RETRY_PERIOD": "0.5", "CONSUMER_DRAIN_TIMEOUT": "2"}
#: Further settings, and how often a schedule has them.
_SOMETIMES: Final[Sequence[tuple[str, Sequence[str], float]]] = (
    ("REDIS_CLAIM_IDLE", ("12",), 0.3),
    ("REDIS_STREAM_MAX_LEN", ("5", "50"), 0.4),
    ("REDIS_STREAM_HARD_MAX", ("40", "100"), 0.15),
    ("CONSUMER_HANDLER_TIMEOUT", ("1", "4"), 0.3),
    ("CONSUMER_MAX_DELIVERIES", ("2", "20"), 0.3),
    ("REDIS_WRITE_TIMEOUT", ("1", "2"), 0.7),
)


def make_schedule(seed: int, themes: Mapping[str, Theme] = THEMES) -> Schedule:
    """Return the schedule of a seed: the same on every machine, whatever the hash seed."""
    random = Random(seed)
    theme = themes[_draw(random, {name: theme.weight for name, theme in themes.items()})]
    setup = _with_name(Random(f"{seed} name"), make_setup(random, theme))
    choices = [*_make_parts(random, setup, theme), *_make_any(random, setup, _draw(random, theme.counts))]
    return Schedule(seed=seed, setup=setup, choices=tuple(sorted(choices, key=lambda choice: choice.at)))


def make_setup(random: Random, theme: Theme = ANYTHING) -> Setup:
    """Return a world."""

    def draw(name: str, weights: Mapping[T, float]) -> T:
        values: Mapping[T, float] = theme.setup.get(name, weights)
        return _draw(random, values)

    replicas = draw("replicas", {0: 7, 1: 1, 2: 3})
    fsyncs: Mapping[Fsync, float] = {"always": 6, "everysec": 3, "no": 1}
    fsync = draw("fsync", fsyncs)
    levels: Mapping[Durability, float] = {
        "memory": 6,
        "disk": 1 if fsync == "always" else 0,
        "replicas": 2 if replicas else 0,
    }
    durability = draw("durability", levels)
    lags = {0.0: 2, 0.05: 1, 0.3: 1} if durability == "replicas" else {0.0: 1, 0.3: 1, 1.5: 2}
    versions: Mapping[Version, float] = {"6.2": 2, "7.0": 2, "9.1": 3}
    handlers: Mapping[Handler, float] = {"coroutine": 3, "awaitable": 1, "batch": 1}
    return Setup(
        version="9.1" if durability == "disk" else draw("version", versions),
        replicas=replicas,
        lag=draw("lag", lags) if replicas else 0.0,
        durability=durability,
        fsync=fsync,
        producers=draw("producers", {1: 4, 2: 1}),
        consumers=draw("consumers", {1: 2, 2: 1}),
        concurrency=draw("concurrency", {1: 2, 4: 1}),
        handler=draw("handler", handlers),
        clients=draw("clients", {1: 1, 2: 2, 4: 1}),
        keyed=draw("keyed", {0.0: 1, 0.3: 2, 0.8: 1}),
        batched=draw("batched", {0.0: 1, 0.2: 1, 0.5: 1}),
        mixed=draw("mixed", {0.0: 1, 0.4: 2}),
        poison=draw("poison", {0.02: 1}),
        rate=draw("rate", {0.15: 3, 0.4: 1}),
        haste=draw("haste", {3.0: 1, 10.0: 1}),
        seconds=round(random.uniform(*theme.seconds), 1),
        settings=_make_settings(random, theme),
    )


def _with_name(random: Random, setup: Setup) -> Setup:
    """Let services of some worlds with replicas know the servers by one name."""
    if not setup.replicas or random.random() >= _NAMED:
        return setup
    return replace(setup, moves=round(_stretch(random, _MOVES), 2))


def is_possible(kind: Kind, setup: Setup) -> bool:
    """Return whether a world can have a kind of fault."""
    if kind.needs == "replicas":
        return setup.replicas > 0
    if kind.needs == "consumers":
        return setup.consumers > 1
    return kind.needs != "disk" or setup.fsync != "no"


def name_targets(role: Role, setup: Setup) -> Sequence[str]:
    """Return all that a kind of fault may be about, in a world."""
    servers, sentinels, producers, consumers, clients = _name_processes(setup)
    match role:
        case "redis":
            return [*[PRIMARY] * len(servers), *servers]
        case "replica":
            return servers[1:]
        case "sentinel":
            return sentinels
        case "producer":
            return producers
        case "consumer" | "handler":
            return consumers
        case "client":
            return clients
        case "link":
            services = [f"{each}:{PRIMARY}" for each in (*producers, *consumers)]
            asked = sentinels[:1] if setup.moves is None else ()
            asking = [f"{each}:{sentinel}" for each in (*producers, *consumers) for sentinel in asked]
            return [*services, *services, *asking, *(f"{each}:{other}" for each in clients for other in producers)]
        case "producer link":
            return [f"{each}:{PRIMARY}" for each in producers]
        case "consumer link":
            return [f"{each}:{PRIMARY}" for each in consumers]
    return [""]


def has_target(setup: Setup, target: str) -> bool:
    """Return whether a world has what a fault is about, or both ends of its link."""
    names = {"", PRIMARY, *chain.from_iterable(_name_processes(setup))}
    return names.issuperset(target.split(":"))


def _name_processes(setup: Setup) -> Sequence[Sequence[str]]:
    """Return the names of servers, Sentinels, producers, consumers and clients."""
    return (
        _number("redis", 1 + setup.replicas),
        _number("sentinel", 3 if setup.replicas else 0),
        _number("producer", setup.producers),
        _number("consumer", setup.consumers),
        _number("client", setup.clients),
    )


def _number(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(1, count + 1)]


def _make_settings(random: Random, theme: Theme) -> dict[str, str]:
    settings = dict(_SETTINGS)
    for name, values, share in _SOMETIMES:
        if random.random() < share:
            settings[name] = random.choice(values)
    return settings | {name: random.choice(values) for name, values in theme.settings.items()}


def _make_any(random: Random, setup: Setup, count: int) -> list[Choice]:
    """Return faults of any kind, some of which follow each other closely."""
    latest = setup.seconds - _AFTER
    choices: list[Choice] = []
    for _ in range(count):
        at = random.uniform(_QUIET, latest)
        if choices and random.random() < _CLOSE:
            at = min(latest, choices[-1].at + random.uniform(0.0, _SOON))
        steps = STEPS if random.random() < _AT_STEPS else {}
        choices.append(_make_choice(random, setup, KINDS, steps, at, nths=(1, 1, 1, 2, 3)))
    return choices


def _make_parts(random: Random, setup: Setup, theme: Theme) -> list[Choice]:
    """Return the faults of a theme, in their order."""
    choices: list[Choice] = []
    if random.random() < theme.back:
        amount = round(-random.uniform(*_BACK), 3)
        servers = _number("redis", 1 + setup.replicas)
        choices += [Choice(kind="step", target=name, at=_QUIET, amount=amount) for name in servers]
    at = random.uniform(_QUIET, setup.seconds - _AFTER - sum(part.after[1] for part in theme.parts))
    first = ""
    for part in theme.parts:
        at += random.uniform(*part.after)
        if random.random() >= part.share:
            continue
        choice = _make_choice(random, setup, part.kinds, part.steps, at)
        if first in name_targets(part.kinds[choice.kind].roles[0], setup) and random.random() < part.same:
            choice = replace(choice, target=first)
        first = first or choice.target
        choices.append(choice)
    return choices


def _make_choice(
    random: Random,
    setup: Setup,
    kinds: Mapping[str, Kind],
    steps: Mapping[str, Sequence[str]],
    at: float,
    nths: Sequence[int] = (1,),
) -> Choice:
    """Return a fault of some kinds, which begins at one of the steps of its target if there are any."""
    name = _draw(random, {name: kind.weight for name, kind in kinds.items() if is_possible(kind, setup)})
    kind = kinds[name]
    target = random.choice(name_targets(random.choice(kind.roles), setup))
    on, nth = "", 1
    if possible := steps.get(role_of(target)):
        on, nth = random.choice(possible), random.choice(nths)
    return Choice(
        kind=name,
        target=target,
        at=round(at, 3),
        on=on,
        nth=nth,
        seconds=round(_stretch(random, kind.seconds), 3),
        amount=round(_between(random, kind.amount), 3),
        what=random.choice(kind.whats) if kind.whats else "",
    )


def _draw(random: Random, weights: Mapping[T, float]) -> T:
    return random.choices(list(weights), list(weights.values()))[0]


def _stretch(random: Random, bounds: tuple[float, float] | None) -> float:
    """Return a length between bounds; short ones are as frequent as long ones."""
    return 0.0 if bounds is None else exp(random.uniform(log(bounds[0]), log(bounds[1])))


def _between(random: Random, bounds: tuple[float, float] | None) -> float:
    return 0.0 if bounds is None else random.uniform(*bounds)
