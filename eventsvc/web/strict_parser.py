"""
The request parser of twisted.web, with the limits that it lacks.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from twisted.web.http import HTTPChannel, Request
from twisted.web.http_headers import Headers

from eventsvc.web.answers import Answer, answer_for
from eventsvc.web.limits import (
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    PERHAPS_REPEATED,
    PROBES,
    bad_request,
    check_begun,
    check_head,
    check_length,
    check_trailers,
    origin_form,
)
from eventsvc.web.origin import let_read
from eventsvc.web.post_head import by_name, may_have_key
from eventsvc.web.turns import SMALL


class StrictParser(HTTPChannel):
    """
    Refuses requests that are too large, or that two servers could interpret differently.

    @ivar refusal: on a connection in a spare place, the answer to everything
        but a probe; see the Note [Spare places] of L{eventsvc.web.admission}.
    """

    totalHeadersSize = MAX_LENGTH = MAX_HEAD_BYTES
    maxHeaders = MAX_HEADERS

    requests: list[Any]
    _transferDecoder: Any
    site: Any
    refusal: Answer | None = None

    @abstractmethod
    def refuse(self, answer: Answer) -> None:
        """Write the last answer and close."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.line_mode and self._buffer and not self.paused:
            self.check(check_begun(self._buffer, first=not self.requests))

    def lineReceived(self, line: bytes) -> None:
        if line.startswith((b" ", b"\t")):
            self.refuse(bad_request("A line of the head begins with white space"))
        elif self.check(check_begun(line, first=False)):
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(HEAD_TOO_LARGE)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        answer = check_length(value.strip(b" \t")) if name.lower() == b"content-length" else None
        return self.check(answer) and bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        headers = self.requests[-1].requestHeaders
        names = (b"Host", b"Content-Length", b"Transfer-Encoding")
        answer = check_head(self._version, *[headers.getRawHeaders(name, []) for name in names])
        if self.check(answer or self._refuse_all_but_probes(headers) or self._read_post(headers)):
            super().allHeadersReceived()

    def _finishRequestBody(self, data: bytes) -> None:
        """Refuse a request with malformed trailers, which twisted.web does not look at."""
        is_chunked = self.length is None
        if self.check(check_trailers(self._transferDecoder._trailerHeaders) if is_chunked else None):
            super()._finishRequestBody(data)

    def check(self, answer: Answer | None) -> bool:
        """Refuse the request if its check returned an answer."""
        if answer is not None:
            self.refuse(answer)
        return answer is None

    def _refuse_all_but_probes(self, headers: Headers) -> Answer | None:
        """On a connection in a spare place, refuse everything but a probe."""
        if self.refusal is None:
            return None
        if self._command in (b"GET", b"HEAD") and self._path_alone() in PROBES:
            return None
        return PERHAPS_REPEATED[self.refusal] if may_have_key(headers) else self.refusal

    def _path_alone(self) -> bytes:
        """Return the path of the request, without host and query."""
        return origin_form(self._path).partition(b"?")[0]

    def _read_post(self, headers: Headers) -> Answer | None:
        """Read the head of a POST, and refuse it before a large body arrives if no body could change that."""
        if self._command != b"POST" or self.site.posts is None:
            return None
        head = self.requests[-1].post_head = self.site.posts.read(self._path_alone(), by_name(headers))
        if head is None or head.error is None or (self.length is not None and self.length <= SMALL):
            return None
        try:
            head.admit()
        except Exception as error:
            answer = answer_for(error, "POST")
            return None if answer is None else let_read(answer, head.origin)
        return None

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        options = b",".join(request.requestHeaders.getRawHeaders(b"Connection", ())).lower().split(b",")
        lasts = version == b"HTTP/1.1" and b"close" not in [option.strip() for option in options]
        return lasts and self.refusal is None

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        headers.removeHeader(b"Server")
        if self.site.draining:
            self.persistent = False
        if not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse a request that twisted.web rejects."""
        if self._receivedHeaderSize > MAX_HEAD_BYTES or self._receivedHeaderCount > MAX_HEADERS:
            self.refuse(HEAD_TOO_LARGE)
        else:
            self.refuse(bad_request("The bytes are not an HTTP/1.1 request"))
