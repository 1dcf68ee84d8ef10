"""
The commands C{eventsvc status} and C{eventsvc groups}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from eventsvc.cli.call import Call, NotDone, connected
from eventsvc.cli.letter_text import to_json
from eventsvc.cli.terminal import cell, make_table, render
from eventsvc.dashboard import words
from eventsvc.dashboard.rates import SILENT
from eventsvc.findings import Finding, find_problems
from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.redis.processes import Processes
from eventsvc.redis.survey import survey
from eventsvc.stream_state import GroupState, ServerState, StreamState


async def run_status(call: Call) -> int:
    """Show how the system is; return 1 if it is unwell."""
    async with connected(call) as link:
        processes = Processes(link.connection, link.redis.stream)
        state = await link.ask(survey, link.connection, link.redis.stream)
        seen = await link.ask(processes.read)
    state = processes.add_problem(state)
    findings = find_problems(state, seen)
    is_well = not any(finding.is_bad for finding in findings)
    if call.json:
        call.write(f"{to_json({'well': is_well, 'findings': findings, 'stream': state, 'processes': seen})}\n")
    else:
        call.write(render_status(call, link.redis.place, state, seen, findings))
    return 0 if is_well else 1


def render_status(
    call: Call, place: str, state: StreamState, seen: Sequence[SeenHeartbeat], findings: Sequence[Finding]
) -> str:
    """Return the screen."""
    bad = sum(finding.is_bad for finding in findings)
    letters = f"{words.count(state.dead)} dead letter{'' if state.dead == 1 else 's'}"
    head = make_table(("", ""), [
        ("status", cell("unwell" if bad else "well", "bold red" if bad else "bold green")),
        ("stream", f"{state.stream}: {words.count(state.length)} entries, {letters}"),
        ("redis", f"{place}: {_describe_server(state.server)}"),
    ])  # fmt: skip
    head.show_header = False
    parts: list[Any] = [head, Text(""), _groups_table(state.groups)]
    if seen:
        parts += [Text(""), _processes_table(seen)]
    for finding in findings:
        mark = cell("✗" if finding.is_bad else "!", "red" if finding.is_bad else "yellow")
        parts.append(Text.assemble("\n" if finding is findings[0] else "", mark, " ", cell(finding.what)))
        parts.append(Text.assemble("  → ", cell(finding.remedy)))
    return "".join(render(part, call.out) for part in parts)


def _describe_server(server: ServerState) -> str:
    facts = [" ".join(filter(None, (server.product, server.version, server.role))) or "no facts"]
    if server.memory is not None:
        limit = f" of {words.size(server.max_memory)}" if server.max_memory else ""
        facts.append(f"{words.size(server.memory)}{limit}")
    if server.append_only is not None:
        facts.append(f"append-only file {'on' if server.append_only else 'off'}")
    if server.replicas:
        facts.append(f"{len(server.replicas)} replica{'' if len(server.replicas) == 1 else 's'}")
    return ", ".join(facts)


def _groups_table(groups: Sequence[GroupState]) -> Any:
    columns = ("GROUP", ">UNREAD", ">OLDEST UNREAD", ">PENDING", ">OLDEST PENDING", ">CONSUMERS")
    return make_table(columns, [
        (
            group.name,
            _count_unread(group),
            _age(group.measures.unread_age),
            words.count(group.measures.pending),
            _age(group.measures.pending_age),
            group.consumer_count,
        )
        for group in groups
    ])  # fmt: skip


def _processes_table(seen: Sequence[SeenHeartbeat]) -> Any:
    columns = ("PROCESS", "NAME", "VERSION", ">UP", ">EVENTS", "HEALTH")
    rows = []
    for each in seen:
        about, figures = each.heartbeat, each.heartbeat.figures
        events = figures.get("accepted", figures.get("handled", figures.get("sent")))
        health = f"last heard of {words.duration(each.age)} ago" if each.age >= SILENT else about.problem or "ok"
        rows.append((about.role, about.name, about.version, words.duration(about.uptime), words.count(events), health))
    return make_table(columns, rows)


async def run_groups(call: Call) -> int:
    """Show the groups of the stream, and the consumers of each."""
    async with connected(call) as link:
        state = await link.ask(survey, link.connection, link.redis.stream)
    name = call.given["group"]
    groups = [group for group in state.groups if name in (None, group.name)]
    if call.json:
        call.write(f"{to_json(groups)}\n")
    for problem in state.problems:
        call.say(f"eventsvc: {problem}")
    if name is not None and not groups:
        raise NotDone(f"{state.stream} has no group {name}")
    if not call.json:
        call.write(render(_groups_table(groups), call.out))
        for group in groups:
            rows = [(each.name, f"{each.pending:,}", words.duration(each.idle)) for each in group.consumers or ()]
            call.write("\n" + render(make_table((f"CONSUMER OF {group.name}", ">PENDING", ">IDLE"), rows), call.out))
    return 0


def _count_unread(group: GroupState) -> str:
    """Return the number of unread entries; Redis does not tell it cheaply if there are some."""
    if group.measures.unread is not None:
        return f"{group.measures.unread:,}"
    return "some" if group.measures.unread_age else "-"


def _age(seconds: float | None) -> str:
    return words.duration(seconds or None)
