"""
A batch as it was sent to append.lua.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Final

import hiredis
import msgspec

from eventsvc.submission import ANY_BODY, DIGEST, IdempotencyKey, Submission

#: Arguments of append.lua before those of the submissions.
HEADER: Final = 9
#: Bytes of memory beside those of the command.
_BESIDE: Final = 120
#: How an id is kept: 8 bytes.
ID: Final = struct.Struct(">Q")


class SentBatch(msgspec.Struct, frozen=True, gc=False):
    """
    A batch, packed as it was sent.

    # Note [Kept as it was sent]

    The command has all that is needed to send a batch again, in one piece of memory
    that is made in any case.  To keep it costs next to nothing; to read it again is
    for the rare case that Redis has forgotten it.

    @ivar command: the call of the script, in the protocol of Redis.
    """

    command: bytes

    @property
    def size(self) -> int:
        """The bytes of memory it takes, nearly."""
        return _BESIDE + len(self.command)

    def unpack(self) -> list[Submission]:
        """Return the submissions; their ids only where they have keys."""
        reader = hiredis.Reader()
        reader.feed(self.command)
        words = reader.gets()
        submissions: list[Submission] = []
        at = 3 + int(words[2]) + HEADER
        while at < len(words):
            count, own = int(words[at]), int(words[at + 1])
            begin = at + 2 + (own > 0)
            ids, keys = _read_keys(words[at + 2], own) if own else ((), ())
            at = begin + count
            submissions.append(Submission(ids, tuple(words[begin:at]), keys))
        return submissions


def write_keys(keys: Sequence[IdempotencyKey], ids: Sequence[int]) -> bytes:
    """
    Return, for each key, its digest and what is kept under it: the fingerprint and all ids of a request, or the id
    of an event.
    """
    if len(keys) == len(ids) == 1:  # nearly always
        fingerprint = keys[0].fingerprint
        return keys[0].digest + (fingerprint if fingerprint != ANY_BODY else b"") + ID.pack(ids[0])
    if keys[0].fingerprint != ANY_BODY:
        return struct.pack(f">16s16s{len(ids)}Q", keys[0].digest, keys[0].fingerprint, *ids)
    digests = [key.digest for key in keys]
    return struct.pack(">" + "16sQ" * len(keys), *chain.from_iterable(zip(digests, ids)))


def _read_keys(text: bytes, count: int) -> tuple[tuple[int, ...], tuple[IdempotencyKey, ...]]:
    """Return the ids and so many keys that L{write_keys} has written."""
    if len(text) == count * (DIGEST + ID.size):
        pairs = list(struct.iter_unpack(">16sQ", text))
        return tuple([id for _, id in pairs]), tuple([IdempotencyKey(digest) for digest, _ in pairs])
    ids = struct.unpack(f">{(len(text) - 2 * DIGEST) // ID.size}Q", text[2 * DIGEST :])
    return ids, (IdempotencyKey(text[:DIGEST], text[DIGEST : 2 * DIGEST]),)
