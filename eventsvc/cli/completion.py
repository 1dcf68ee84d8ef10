"""
The command C{eventsvc completion}: writes what makes a shell complete this command.
"""

from __future__ import annotations

import argparse
from typing import Any, Final, TextIO

_SHELLS: Final = ("bash", "zsh", "fish")
_HOW: Final = """
bash: eval "$(eventsvc completion bash)" in ~/.bashrc;
zsh: eventsvc completion zsh > a file _eventsvc in a directory of $fpath;
fish: eventsvc completion fish > ~/.config/fish/completions/eventsvc.fish
"""


def add_completion_topic(topics: Any) -> None:
    """Add the topic C{completion} to the command line."""
    completion = topics.add_parser(
        "completion", allow_abbrev=False, help="write a script that completes this command in a shell", description=_HOW
    )
    completion.add_argument("shell", choices=_SHELLS)


def write_completion(parser: argparse.ArgumentParser, shell: str, out: TextIO) -> int:
    """Write the script for a shell, and return the exit code."""
    import shtab  # only here: every other command starts sooner without

    out.write(f"{shtab.complete(parser, shell)}\n")
    return 0
