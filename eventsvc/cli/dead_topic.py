"""
The command line of C{eventsvc dead}.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from eventsvc.cli.options import count, entry_id, redis_options


def add_dead_topic(topics: Any) -> None:
    """Add the topic C{dead} to the command line."""
    dead = topics.add_parser("dead", help="list, show, replay or purge events that were set aside")
    dead.set_defaults(run="eventsvc.cli.dead_letters.run_dead", check=check_dead)
    commands = dead.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")

    everywhere = argparse.ArgumentParser(add_help=False, parents=[redis_options()])
    form = everywhere.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write the result as JSON")
    form.add_argument("-q", "--quiet", action="store_true", help="write only ids, one per line")

    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("ids", nargs="*", type=entry_id, metavar="ID", help="id of a dead letter, from `list`")
    some.add_argument("--all", action="store_true", help="all dead letters")
    some.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")

    add = partial(commands.add_parser, allow_abbrev=False)
    listing = add("list", parents=[everywhere], help="list dead letters, the oldest first")
    listing.add_argument("--limit", type=count, metavar="N", help="list at most N dead letters")
    show = add("show", parents=[everywhere], help="show one dead letter in full")
    show.add_argument("id", type=entry_id, metavar="ID", help="id of a dead letter, from `list`")
    add("replay", parents=[some, everywhere], help="move dead letters back to the end of the stream")
    add("purge", parents=[some, everywhere], help="delete dead letters permanently")


def check_dead(parser: argparse.ArgumentParser, given: dict[str, Any], anybody: bool) -> None:
    """Exit with 2 if the command cannot be done as it was given."""
    if given["command"] in ("replay", "purge"):
        if bool(given["ids"]) == given["all"]:
            parser.error("expected either ids or --all")
        if not given["yes"] and not anybody:
            parser.error("cannot ask for confirmation, because standard input is not a terminal: pass --yes")
