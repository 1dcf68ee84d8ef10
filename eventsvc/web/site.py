"""
The HTTP/1.1 server in front of the routes, with the limits that
twisted.web lacks.
"""

from __future__ import annotations

from io import BytesIO

from klein.resource import KleinResource
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from eventsvc.event import MAX_BYTES
from eventsvc.web.answers import problem
from eventsvc.web.api import Api, render


class BoundedRequest(Request):
    """
    A request whose body is kept in memory up to a limit.

    @ivar too_large: the body passed the limit and was thrown away.
    """

    too_large = False
    content: BytesIO

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        self.too_large = length is not None and length > MAX_BYTES

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > MAX_BYTES:
            self.too_large = True
        if self.too_large:
            self.content = BytesIO()
        else:
            self.content.write(data)


class Root(Resource):
    """Klein's resource, behind the checks it would stumble over."""

    isLeaf = True

    def __init__(self, api: Api) -> None:
        super().__init__()
        self._routes: KleinResource = api.app.resource()

    def render(self, request: Request) -> bytes | int:
        try:
            b"/".join([request.method, *(request.postpath or ())]).decode()
        except UnicodeDecodeError:
            return render(request, problem(404, "Endpoint Not Found", "Endpoint Not Found"))
        self._routes.render(request)
        return NOT_DONE_YET


class QuietSite(Site):
    """A site without an access log."""

    displayTracebacks = False
    noisy = False

    def log(self, request: HTTPRequest) -> None:
        pass


def make_site(api: Api, timeout: float, clock: IReactorTime) -> Site:
    """
    Serve the routes.

    @param timeout: seconds without a byte after which a connection is closed.
    """
    return QuietSite(
        Root(api),
        requestFactory=BoundedRequest,
        parsePOSTFormSubmission=False,  # a body is JSON, whatever its type says
        timeout=timeout,
        reactor=clock,
    )
