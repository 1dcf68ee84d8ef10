"""
Finds events whose content was altered on the way from the client to the handler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from eventsvc.testing.history.content import Content, content_of, differences
from eventsvc.testing.history.records import History

#: Characters of a description in a finding.
_NAME = 30


def find_altered(history: History) -> Iterator[tuple[str, str]]:
    """
    Yield a finding for each event that is not stored as it was posted, or not handled as it is stored.

    A CloudEvent may be posted several times, each time with another text: one of
    them must be stored.  If Redis lost it in between, another of them may have been
    handled.  Events whose posted content was not recorded are skipped.
    """
    posted: dict[str, list[Content]] = defaultdict(list)
    for op in history.ops:
        if op.content is not None:
            posted[op.description].append(op.content)
    stored = {}
    for notification in history.stream:
        content = stored[notification.id] = content_of(notification)
        contents = posted[notification.description]
        if contents:
            for member, wanted, got in _closest(contents, content):
                yield (
                    f"stored with another `{member}` than was posted",
                    f"{notification.description[:_NAME]}: posted {wanted!r}, stored {got!r}",
                )
    names = {notification.id: notification.description for notification in history.stream}
    for handling in history.handled or ():
        if handling.content is not None and handling.id in stored:
            name = names[handling.id]
            contents = [stored[handling.id], *(posted[name] if history.rolled_back else [])]
            for member, wanted, got in _closest(contents, handling.content):
                yield (
                    f"handled with another `{member}` than is stored",
                    f"{name[:_NAME]}: stored {wanted!r}, handled {got!r}",
                )


def _closest(contents: Sequence[Content], got: Content) -> Sequence[tuple[str, str, str]]:
    """Return the differences from the content that is most like this one."""
    return min((list(differences(each, got)) for each in contents), key=len)
