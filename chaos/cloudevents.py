"""
CloudEvents as they are posted, in each mode of the HTTP protocol binding.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final
from urllib.parse import quote

import attrs

from chaos.payloads import draw_json, write_object, write_string
from eventsvc.testing.history import Content

#: Types of payloads, and how the body of binary mode becomes JSON.
_JSON_TYPES: Final = (None, "application/json", "application/vnd.door+json; charset=utf-8")
_TEXT_TYPES: Final = ("text/plain; charset=utf-8", "text/html", "image/svg+xml")
_OTHER_TYPES: Final = ("application/octet-stream", "image/png", "text/plain; charset=utf-16")
#: What a header may have as it is (CloudEvents, HTTP binding, 3.1.3.2).
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

Headers = Sequence[tuple[str, str]]


@attrs.frozen
class CloudEvent:
    """
    A CloudEvent, which may be posted several times.

    @ivar attributes: the extensions included, without C{datacontenttype}.
    @ivar media_type: C{datacontenttype}; C{None} for JSON that does not say so.
    @ivar payload: as the body of binary mode; C{None} if there is none.
    @ivar member: the JSON text of the payload, and the member that has it.
    """

    attributes: Mapping[str, str]
    media_type: str | None
    payload: bytes | None
    member: tuple[str, str] | None

    @property
    def subject(self) -> str:
        return self.attributes["subject"]

    def structured(self, random: Random) -> tuple[str, Content]:
        """Return the event as JSON, its members in any order, and what its readers must see."""
        members = [(name, write_string(random, value)) for name, value in self.attributes.items()]
        if self.media_type is not None:
            members.append(("datacontenttype", write_string(random, self.media_type)))
        if self.member is not None:
            members.append(self.member)
        random.shuffle(members)
        text = write_object(random, members)
        return text, self._content(text, is_binary=False)

    def binary(self) -> tuple[Headers, bytes, Content]:
        """Return the headers and the body of binary mode, and what its readers must see."""
        headers = [(f"ce-{name}", quote(value, safe=_PLAIN)) for name, value in self.attributes.items()]
        members = [(name, json.dumps(value)) for name, value in self.attributes.items()]
        if self.media_type is not None:
            headers.append(("Content-Type", self.media_type))
            members.append(("datacontenttype", json.dumps(self.media_type)))
        if self.member is not None:
            members.append(self.member)
        written = ",".join(f'"{name}":{value}' for name, value in members)
        text = f"{{{written}}}"
        return headers, self.payload or b"", self._content(text, is_binary=True)

    def _content(self, text: str, is_binary: bool) -> Content:
        attributes = self.attributes
        return Content(attributes["type"], attributes.get("partitionkey"), cloudevent=text, is_binary=is_binary)


def draw_cloudevent(random: Random, source: str, id: str, subject: str, key: str | None, size: int) -> CloudEvent:
    """
    Return a CloudEvent with any payload.

    @param size: the least bytes of the payload.
    """
    attributes = {"specversion": "1.0", "id": id, "source": source, "type": "com.example.öffnen%20", "subject": subject}
    if key is not None:
        attributes["partitionkey"] = key
    if random.random() < 0.5:
        attributes |= {"time": "2026-11-27T08:00:00.123456789+01:00", "sequence": '7 "%" \\'}
    return CloudEvent(attributes, *_draw_payload(random, size))


def _draw_payload(random: Random, size: int) -> tuple[str | None, bytes | None, tuple[str, str] | None]:
    match random.randrange(5):
        case 0 | 1:
            text = draw_json(random, size)
            return random.choice(_JSON_TYPES), text.encode(), ("data", text)
        case 2:
            words = "öffnen \u2028 \\ \" '/' \n\t" * (1 + size // 20)
            return random.choice(_TEXT_TYPES), words.encode(), ("data", json.dumps(words, ensure_ascii=False))
        case 3:
            some = b"\xff\x00" + random.randbytes(random.randrange(1, 50) + size)
            return random.choice(_OTHER_TYPES), some, ("data_base64", json.dumps(b64encode(some).decode()))
        case _:
            return None, None, None
