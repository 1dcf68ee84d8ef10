"""
Declares settings and reads them from flags and the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from eventsvc.settings.kinds import Kind


class InvalidSettings(ValueError):
    """One or more settings are invalid; the text has one line for each."""


@attrs.frozen
class Setting:
    """The declaration of one setting."""

    name: str
    kind: Kind
    default: Any
    help: str
    flag: str
    secret: bool

    def show_default(self) -> str:
        match self.default:
            case None | "" | () | frozenset():
                return "-"
            case bool():
                return "on" if self.default else "off"
            case _:
                return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def setting(name: str, kind: Kind, default: Any, help: str, *, flag: str | None = None, secret: bool = False) -> Any:
    """Declare a setting as a field of a class of settings."""
    row = Setting(name, kind, default, help, flag or name.lower().replace("_", "-"), secret)
    return attrs.field(default=default, repr=not secret and kind.show, metadata={"setting": row})


def rows(*classes: type) -> Iterator[tuple[str, Setting]]:
    """Yield each setting of the classes, with the name of its field."""
    for cls in classes:
        for field in attrs.fields(cls):
            yield field.name, field.metadata["setting"]


T = TypeVar("T")


def read(
    cls: type[T],
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, str | None] | None = None,
) -> T:
    """
    Read the settings of a class; a flag overrides the environment.

    @param flags: values by flag, without its dashes; C{None} means not given.
    @raise InvalidSettings: the text names each invalid variable or flag, its
        value and what was expected.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, row in rows(cls):
        try:
            found = _find(row, environment, flags or {})
            if found is not None:
                values[field] = _parse(row, *found)
        except InvalidSettings as problem:
            problems.append(str(problem))
    if problems:
        raise InvalidSettings("\n".join(problems))
    return cls(**values)


def _find(row: Setting, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Return the flag or variable that gives a setting, and its text."""
    flag = flags.get(row.flag)
    if flag is not None:
        return f"--{row.flag}", flag
    text = environment.get(row.name)
    path = environment.get(f"{row.name}_FILE") if row.secret else None
    if path:
        if text:
            raise InvalidSettings(f"{row.name} and {row.name}_FILE are both set: expected one of them")
        try:
            return f"{row.name}_FILE", Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InvalidSettings(f"{row.name}_FILE={path!r}: expected a readable UTF-8 file ({problem})") from None
    return None if text is None else (row.name, text)


def _parse(row: Setting, where: str, text: str) -> Any:
    try:
        return row.kind.parse(text)
    except (ValueError, KeyError):
        shown = "(hidden)" if row.secret else row.kind.show(text)
        raise InvalidSettings(f"{where}={shown}: expected {row.kind.expects}") from None
