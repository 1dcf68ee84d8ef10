"""
The tokens of a run: the file of those that producers accept, and the one that
clients use.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import attrs

from eventsvc.web.token_rows import format_row


@attrs.define(eq=False)
class Passes:
    """
    Makes tokens, and writes the two files.

    @ivar directory: directory of the files.
    @ivar made: all tokens of the run; no service may ever write one to its log.
    """

    directory: Path
    made: list[str] = attrs.field(factory=list, repr=False)

    @property
    def accepted(self) -> Path:
        """The file for the producers."""
        return self.directory / "tokens.toml"

    @property
    def used(self) -> Path:
        """The file for the clients."""
        return self.directory / "token"

    def make(self) -> str:
        """Return a new token."""
        self.made.append(secrets.token_urlsafe(32))
        return self.made[-1]

    def accept(self, *tokens: str) -> None:
        """Let producers accept these tokens, and no others."""
        _replace(self.accepted, self.rows(tokens))

    def use(self, token: str) -> None:
        """Let clients use a token."""
        _replace(self.used, token)

    def rows(self, tokens: Sequence[str]) -> str:
        """Return the content of the producers' file."""
        return "".join(
            format_row({"name": f"client {self.made.index(token)}", "sha256": sha256(token.encode()).hexdigest()})
            for token in tokens
        )


def _replace(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)
