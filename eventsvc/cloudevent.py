"""
CloudEvents 1.0 as events: in structured, binary and batched mode.

See the JSON format and the HTTP protocol binding of the CloudEvents
specification, version 1.0.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Raw

from eventsvc.event import Event, InvalidEvent
from eventsvc.event_message import BLANK, check_key, check_number
from eventsvc.json_text import NOTHING, SHALLOW, explain, is_too_deep

#: The content types of the structured and of the batched mode.
STRUCTURED: Final = b"application/cloudevents+json"
BATCHED: Final = b"application/cloudevents-batch+json"

_Text = Annotated[str, Meta(min_length=1)]
_Integer = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


class _Attributes(msgspec.Struct):
    """The attributes that have a meaning here, and the payload."""

    specversion: Literal["1.0"]
    id: _Text
    source: _Text
    type: _Text
    subject: _Text | None = None
    time: Annotated[datetime, Meta(tz=True)] | None = None
    datacontenttype: _Text | None = None
    dataschema: _Text | None = None
    partitionkey: _Text | None = None
    data: Raw = NOTHING
    data_base64: bytes | None = None


class _OnlyAttributes(_Attributes, forbid_unknown_fields=True):
    """The same of an event without other extensions, as most are."""


_only_attributes: Final = msgspec.json.Decoder(_OnlyAttributes)
_only_attributes_of_each: Final = msgspec.json.Decoder(list[_OnlyAttributes])
_attributes: Final = msgspec.json.Decoder(_Attributes)
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_extension: Final = msgspec.json.Decoder(str | bool | _Integer | None)
_raw: Final = msgspec.json.Decoder(Raw)
_raws: Final = msgspec.json.Decoder(list[Raw])
_encoder: Final = msgspec.json.Encoder()

#: The attributes that each event has.
_REQUIRED: Final = ("specversion", "id", "source", "type")
#: The name of an attribute (CloudEvents, "Naming Conventions").
_NAME: Final = re.compile(r"[a-z0-9]+")
_TEXTS: Final = ("id", "source", "type", "subject", "datacontenttype", "dataschema", "partitionkey")
#: Bytes with which a control character may be written, unless the text is not ASCII.
_BACKSLASH, _DELETE = b"\\\x7f"
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")
#: What is no text, although it is UTF-8.
_NO_TEXT: Final = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f]")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)


def decode_structured(body: bytes) -> Event:
    """
    Decode a CloudEvent in JSON format.

    @raise InvalidEvent: the text says what is wrong, and where.
    """
    try:
        body.decode()  # ignored members must be UTF-8 too
        return _read(body.strip(BLANK))
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error)) from None


def decode_batched(body: bytes) -> Sequence[Event]:
    """
    Decode a JSON array of CloudEvents.

    @raise InvalidEvent: as L{decode_structured}, or the batch is empty.
    @raise TooManyEvents: there are too many events.
    """
    try:
        body.decode()
        texts = _raws.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error)) from None
    check_number(len(texts))
    try:
        may_have_control = _may_have_control(body)
        found = _only_attributes_of_each.decode(body)
        return [_check(each, text, may_have_control) for each, text in zip(found, texts)]
    except (ValueError, RecursionError):
        # decode again one by one: one has extensions, or an error
        return [_read_element(bytes(text), place) for place, text in enumerate(texts)]


def _read_element(text: bytes, place: int) -> Event:
    try:
        return _read(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error, place=place)) from None


def decode_binary(attributes: Mapping[str, str], content_type: bytes | None, body: bytes) -> Event:
    """
    Decode a CloudEvent in binary mode.

    @param attributes: from L{read_headers}.
    @param content_type: of the body, which is the payload.
    @raise InvalidEvent: as L{decode_structured}.
    """
    members: dict[str, object] = dict(attributes)
    try:
        declared = content_type.decode() if content_type is not None else None
    except UnicodeDecodeError:
        raise InvalidEvent("Expected header `Content-Type` to be UTF-8") from None
    try:
        if declared is not None:
            members["datacontenttype"] = declared
        members.update(_read_payload(declared, body))
        text = _encoder.encode(members)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error)) from None
    try:
        return _read(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(_explain_header(explain(error))) from None


def _explain_header(problem: str) -> str:
    """Return an error of a member as one of the header, or the body, that it came from."""
    for member, source in (("`$.datacontenttype`", "`Content-Type`"), ("`$.data`", "the body"), ("`$.", "`ce-")):
        problem = problem.replace(member, source)
    return problem


def read_headers(headers: Mapping[bytes, Sequence[bytes]]) -> Mapping[str, str]:
    """
    Return the attributes in the headers of a CloudEvent in binary mode: the required ones first, then by name.

    A proxy may change the order of headers, which must not make it another event.

    @param headers: the values of each header, by its name in lower case.
    @raise InvalidEvent: a header is malformed.
    """
    attributes = {}
    for header, values in headers.items():
        if not header.startswith(b"ce-"):
            continue
        shown = header.decode("latin-1")
        name = shown.removeprefix("ce-")
        if not _NAME.fullmatch(name) or name in ("data", "datacontenttype"):
            raise InvalidEvent(f"Expected the name of an attribute, got header `{shown}`")
        if len(values) != 1:
            raise InvalidEvent(f"Expected one header `{shown}`, got {len(values)}")
        quoted = _QUOTED.fullmatch(values[0])
        value = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else values[0]
        try:
            attributes[name] = unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            raise InvalidEvent(f"Expected header `{shown}` to be percent-encoded UTF-8") from None
    names = [*(name for name in _REQUIRED if name in attributes), *sorted(attributes.keys() - set(_REQUIRED))]
    return {name: attributes[name] for name in names}


def _read(text: bytes) -> Event:
    """Return the event of a CloudEvent, whose text is kept as it came."""
    try:
        found: _Attributes = _only_attributes.decode(text)
    except msgspec.ValidationError:
        found = _attributes.decode(text)
        _check_extensions(text)
    return _check(found, Raw(text), _may_have_control(text))


def _may_have_control(text: bytes) -> bool:
    """Return whether a string in a JSON text may have a control character."""
    return _BACKSLASH in text or _DELETE in text or not text.isascii()


def _check(found: _Attributes, text: Raw, may_have_control: bool) -> Event:
    """Return the event of a CloudEvent whose members have the right types."""
    if found.data is not NOTHING and found.data_base64 is not None:
        raise ValueError("Expected `data` or `data_base64`, got both - at `$.data_base64`")
    payload, whole = len(bytes(found.data)), bytes(text)
    # if the payload is short, and so is the rest, where a member may come twice, neither is deep
    if not SHALLOW > payload > len(whole) - SHALLOW and is_too_deep(whole):
        raise ValueError("JSON is nested too deeply - at `$.data`")
    if found.partitionkey is not None:
        check_key(found.partitionkey, "partitionkey")
    if may_have_control:
        _check_characters(found)
    source = found.source
    identity = f"{len(source)} {source}{found.id}".encode()
    return Event(found.subject or found.type, found.type, found.partitionkey, None, text, identity)


def _check_characters(found: _Attributes) -> None:
    """Check that no attribute has a control character, which no header could carry (CloudEvents, "Type System")."""
    for name in _TEXTS:
        value = getattr(found, name)
        if value is not None and not value.isprintable():
            _check_text(name, value)


def _check_text(name: str, text: str) -> None:
    if _CONTROL.search(text):
        raise ValueError(f"Expected no control character - at `$.{name}`")


def _check_extensions(text: bytes) -> None:
    """Check the members that are no attributes of the specification, and no payload."""
    for name, value in _members.decode(text).items():
        if name not in _Attributes.__struct_fields__:
            if not _NAME.fullmatch(name):
                raise ValueError(f"Expected an extension named in lower-case letters and digits - at `$.{name}`")
            try:
                found = _extension.decode(value)
            except msgspec.ValidationError as error:
                raise ValueError(f"{error} - at `$.{name}`") from None
            if isinstance(found, str):
                _check_text(name, found)


def _read_payload(content_type: str | None, body: bytes) -> Mapping[str, object]:
    """
    Return the member that carries the body of a CloudEvent in binary mode.

    JSON stays as it is, other text in UTF-8 becomes a string, and anything else
    is encoded in base64.  So is text with control characters: as JSON it would
    be six times as long.
    """
    if not body:
        return {}
    declared = content_type or ""
    media = declared.partition(";")[0].strip().lower()
    if media.endswith(("/json", "+json")):
        body.decode()
        return {"data": _raw.decode(body)}
    charset = _CHARSET.search(declared)
    is_utf8 = charset is None or charset[1].lower() in ("utf-8", "us-ascii")
    try:
        text = body.decode()
        if content_type is None:
            return {"data": _raw.decode(body)}
        is_text = media.startswith("text/") or media.endswith(("/xml", "+xml"))
        if is_utf8 and is_text and not _NO_TEXT.search(text):
            return {"data": text}
    except ValueError:
        pass
    return {"data_base64": body}
