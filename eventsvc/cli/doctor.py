"""
The command C{eventsvc doctor}: checks an installation, and says what to do.
"""

from __future__ import annotations

import platform
import resource
import time
from typing import Final

from twisted.internet.defer import TimeoutError, ensureDeferred

import twisted
from eventsvc import __version__
from eventsvc.cli.call import Call, Link, NotDone, connected
from eventsvc.cli.checks import (
    Check,
    check_clock,
    check_descriptors,
    check_producer,
    check_rights,
    check_version,
    from_finding,
)
from eventsvc.cli.letter_text import to_json
from eventsvc.cli.terminal import lines_for, wrap
from eventsvc.client import make_client
from eventsvc.findings import find_problems
from eventsvc.net.pem import read_trust_root
from eventsvc.redis.processes import Processes
from eventsvc.redis.rights import find_missing
from eventsvc.redis.survey import survey
from eventsvc.settings import RedisSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.text_lines import GREEN, RED, YELLOW

#: Seconds to wait for the producer.
_PATIENCE: Final = 5.0
_MARKS: Final = {"ok": ("✓", GREEN), "warning": ("!", YELLOW), "wrong": ("✗", RED), "unknown": ("?", YELLOW)}


async def run_doctor(call: Call) -> int:
    """Write all checks; return 1 if one is wrong."""
    versions = f"eventsvc {__version__}, Python {platform.python_version()}, Twisted {twisted.__version__}"
    checks = [
        Check("versions", "ok", versions),
        check_descriptors(_descriptors()),
        *await _check_redis(call),
        await _check_producer(call),
    ]
    wrong = sum(check.state == "wrong" for check in checks)
    if call.json:
        call.write(f"{to_json(checks)}\n")
    else:
        for check in checks:
            _write(call, check)
    call.say({0: "nothing is wrong", 1: "1 thing is wrong"}.get(wrong, f"{wrong} things are wrong"))
    return 1 if wrong else 0


def _write(call: Call, check: Check) -> None:
    lines = lines_for(call.out)
    mark, code = _MARKS[check.state]
    call.write(f"{lines.paint(mark, code)} {check.name:<11} {wrap(check.what, lines.width, 14)}\n")
    if check.remedy:
        call.write(f"  {'':<11} → {wrap(check.remedy, lines.width, 16)}\n")


def _descriptors() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10**9 if limit == resource.RLIM_INFINITY else limit


async def _check_redis(call: Call) -> list[Check]:
    redis = call.read(RedisSettings)
    async with connected(call) as link:
        try:
            missing = await link.ask(find_missing, link.connection, redis.stream)
        except NotDone as problem:
            why = link.connection.problem
            return [Check("redis", "wrong", f"{problem}{f': {why}' if why else ''}", _remedy(f"{problem} {why}"))]
        return [
            Check("redis", "ok", f"connected to {redis.place}"),
            *check_rights(missing, call.given["role"]),
            *await _check_state(link),
        ]


async def _check_state(link: Link) -> list[Check]:
    stream = link.redis.stream
    before = time.time()
    try:
        state = await link.ask(survey, link.connection, stream)
        ours = (before + time.time()) / 2
        processes = Processes(link.connection, stream)
        seen = await link.ask(processes.read)
    except NotDone as problem:
        return [Check("state", "unknown", str(problem), "ask again as the user eventsvc-dashboard of docs/security.md")]
    findings = [from_finding(finding) for finding in find_problems(processes.add_problem(state), seen)]
    return [
        check_version(state.server),
        check_clock(state.now, ours),
        *(findings or [Check("state", "ok", f"nothing is wrong with {stream}")]),
    ]


def _remedy(problem: str) -> str:
    if "NOPERM" in problem:
        return "give the user the rights of docs/security.md"
    if "denies access" in problem:
        return "check REDIS_USERNAME and REDIS_PASSWORD"
    if "certificate" in problem or "TLS" in problem:
        return "check REDIS_TLS and REDIS_TLS_CA"
    return "start Redis, or check REDIS_HOST, REDIS_PORT and what is between; REDIS_SENTINELS if Sentinels watch it"


async def _check_producer(call: Call) -> Check:
    settings = call.read(SimulatorSettings)
    trust_root = read_trust_root("EVENT_PRODUCER_TLS_CA", settings.tls_ca) if settings.tls else None
    place = f"{'https' if settings.tls else 'http'}://{settings.host}:{settings.port}"
    client = make_client(call.reactor, place, 1, trust_root=trust_root)

    async def ask() -> tuple[int, str]:
        response = await client.http.get(f"{place}/health/ready", allow_redirects=False)
        return response.code, (await response.content())[:500].decode("utf-8", "replace")

    try:
        status, body = await ensureDeferred(ask()).addTimeout(_PATIENCE, call.reactor)
        return check_producer(place, status, body, "")
    except TimeoutError:
        return check_producer(place, 0, "", f"no answer within {_PATIENCE:g} s")
    except Exception as error:
        return check_producer(place, 0, "", str(error))
