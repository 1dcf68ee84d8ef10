"""
The checks of C{eventsvc doctor}: pure decisions on what was found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from eventsvc.findings import Finding
from eventsvc.stream_state import ServerState

#: Seconds by which clocks may differ.
_SKEW: Final = 1.0
#: File descriptors that a producer with a thousand clients needs, and some.
_DESCRIPTORS: Final = 4_096
#: The oldest server, and what it is tested on.
_OLDEST: Final = (6, 2)


@attrs.frozen
class Check:
    """
    A check and what came of it.

    @ivar state: C{wrong} makes the command fail; C{unknown} could not be found out.
    @ivar what: what was found.
    @ivar remedy: what to do; empty if all is well.
    """

    name: str
    state: Literal["ok", "warning", "wrong", "unknown"]
    what: str
    remedy: str = ""


def check_version(server: ServerState) -> Check:
    """Check that the server is not too old."""
    what = f"{server.product} {server.version}, {server.role}"
    parts = server.version.split(".")[:2]
    if len(parts) < 2 or not all(part.isdecimal() for part in parts):
        return Check(
            "version", "unknown", "the server does not say what it is", "give the user of Redis the right +info"
        )
    if (int(parts[0]), int(parts[1])) < _OLDEST:
        return Check("version", "wrong", what, "use Redis 6.2 or newer, or Valkey")
    return Check("version", "ok", what)


def check_clock(theirs: float, ours: float) -> Check:
    """Check the clock of Redis; both times are seconds since 1970."""
    skew = theirs - ours
    if abs(skew) <= _SKEW:
        return Check("clock", "ok", f"differs from that of Redis by {abs(skew):.2f} s")
    side = "ahead of" if skew > 0 else "behind"
    return Check(
        "clock",
        "warning",
        f"the clock of Redis is {abs(skew):.1f} s {side} the one here",
        "let NTP set both: timestamps and ages of events are wrong by that much",
    )


def check_rights(missing: Mapping[str, Sequence[str]] | None, role: str | None) -> Sequence[Check]:
    """
    Check what the user of Redis may do.

    @param missing: the commands that it may not run, by role; C{None} if that is not known.
    @param role: the role that it has to serve; C{None} for whichever it can.
    """
    if missing is None:
        return [Check("rights", "unknown", "Redis 6.2 cannot tell them", "compare with docs/security.md")]
    able = [name for name, commands in missing.items() if not commands]
    if role is None:
        what = f"enough for: {', '.join(able)}" if able else "not enough for any role"
        return [Check("rights", "ok" if able else "wrong", what, "" if able else _explain_rights(missing["dashboard"]))]
    commands = missing[role]
    if not commands:
        return [Check("rights", "ok", f"enough for: {role}")]
    words = ", ".join(commands)
    return [Check("rights", "wrong", f"not enough for {role}: it may not run {words}", _explain_rights(commands))]


def _explain_rights(commands: Sequence[str]) -> str:
    return "see `Users of Redis` in docs/security.md; missing are " + " ".join(
        dict.fromkeys(f"+{line.split()[0].lower()}" for line in commands)
    )


def check_producer(place: str, status: int, body: str, problem: str) -> Check:
    """
    Check what answers at the port of the producer.

    @param status: that of the answer to C{/health/ready}; 0 if there is none, and C{problem} says why.
    """
    if status == 200:
        return Check("producer", "ok", f"ready at {place}")
    if status == 503:
        return Check("producer", "wrong", f"at {place}, not ready: {body}", "see its log, and `eventsvc status`")
    if status:
        return Check(
            "producer",
            "warning",
            f"{place} answers {status} to /health/ready",
            "with ADMIN_PORT a producer tells its health there; else another program has the port",
        )
    return Check(
        "producer",
        "warning",
        f"none at {place}: {problem}",
        "start one, or set EVENT_PRODUCER_HOST and EVENT_PRODUCER_PORT",
    )


def check_descriptors(limit: int) -> Check:
    """Check how many files a process may have open; each connection is one."""
    if limit >= _DESCRIPTORS:
        return Check("descriptors", "ok", f"{limit:,} open files are allowed")
    return Check(
        "descriptors",
        "warning",
        f"{limit:,} open files are allowed",
        f"ulimit -n {_DESCRIPTORS}, or LimitNOFILE= of systemd",
    )


def from_finding(finding: Finding) -> Check:
    return Check("state", "wrong" if finding.is_bad else "warning", finding.what, finding.remedy)
