"""
Texts of bounded length.
"""

from __future__ import annotations


def shorten(text: str, most: int = 2_000) -> str:
    """
    Cut a text to C{most} bytes of UTF-8, and append its full length.

    Half a surrogate pair, which UTF-8 cannot encode, is written as an escape.
    """
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= most:
        return encoded.decode()
    mark = f" [cut, {len(encoded)} bytes in all]"
    return encoded[: most - len(mark)].decode("utf-8", "ignore") + mark
