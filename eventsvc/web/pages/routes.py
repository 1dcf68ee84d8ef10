"""
The routes of the dashboard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from werkzeug.exceptions import MethodNotAllowed, NotFound

from eventsvc import __version__
from eventsvc.charts import STYLE
from eventsvc.dashboard.source import Source
from eventsvc.dashboard.story import Filter, tell_story
from eventsvc.errors import Refused, Unknown
from eventsvc.event import is_entry_id
from eventsvc.web.answers import Answer, render
from eventsvc.web.api import read_body
from eventsvc.web.arrivals import Arrivals
from eventsvc.web.health import Health, serve_health
from eventsvc.web.pages.guard import Guard, Misdirected, NotAllowed
from eventsvc.web.pages.letters import PAGE, InvalidPlan, carry_out, make_plan, read_plan
from eventsvc.web.pages.live import Followers
from eventsvc.web.pages.templating import link, render_template
from eventsvc.web.pages.views import EventsView, OverviewView, ProcessesView, StatusView, View
from eventsvc.web.routing import make_app
from eventsvc.web.site import BoundedSite

_HERE: Final = files("eventsvc.web.pages")
REMEDIES: Final[Mapping[str, Any]] = msgspec.json.decode(_HERE.joinpath("remedies.json").read_bytes())
_STATIC: Final = {
    "dashboard.css": (b"text/css; charset=utf-8", STYLE.encode() + _HERE.joinpath("static/dashboard.css").read_bytes()),
    "icon.svg": (b"image/svg+xml", _HERE.joinpath("static/icon.svg").read_bytes()),
    "dashboard.js": (b"text/javascript; charset=utf-8", _HERE.joinpath("static/dashboard.js").read_bytes()),
}

#: Nothing in an event can run, and no page of another host can show or use these.
SECURITY: Final = (
    (
        b"Content-Security-Policy",
        b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cache-Control", b"no-store"),
)
#: The longest duration of a request, in seconds.
TIMEOUT: Final = 60.0
#: The most connections, the longest text in a query, and the most fields of a form.
MAX_CONNECTIONS: Final = 128
_LONGEST: Final = 500
_FIELDS: Final = 1_000

#: What an error is called on its page.
_ERRORS: Final[Mapping[type[Exception], tuple[int, str]]] = {
    NotFound: (404, "There is no such page"),
    MethodNotAllowed: (405, "Not like that"),
    InvalidPlan: (400, "That is not possible"),
    NotAllowed: (403, "Not allowed"),
    Misdirected: (421, "Another host is meant"),
    Refused: (503, "Redis cannot be asked now"),
    Unknown: (503, "Redis did not answer"),
}


def html(name: str, context: Mapping[str, Any], status: int = 200) -> Answer:
    """Return a page."""
    body = render_template(name, context).encode("utf-8", "replace")
    return Answer(status, ((b"Content-Type", b"text/html; charset=utf-8"), *SECURITY), body)


def answer_error(error: BaseException | None, method: str) -> Answer | None:
    """Return the page of an error; C{None} if it is not an expected one."""
    for kind, (status, title) in _ERRORS.items():
        if isinstance(error, kind):
            detail = "" if isinstance(error, (NotFound, MethodNotAllowed)) else str(error)
            if isinstance(error, Misdirected):
                detail = f"The request is for {detail!r}. Names beside localhost are allowed by DASHBOARD_NAMES."
            return html("error", {"title": title, "detail": detail, "version": __version__}, status)
    return None


Work = Callable[..., Awaitable[Answer]]


def guarded(work: Work) -> Callable[..., Any]:
    """Return a route that answers only requests for this host."""

    @wraps(work)
    async def route(self: Pages, request: Any, *arguments: str, **named: str) -> bytes:
        self.guard.check_host(request.requestHeaders.getRawHeaders(b"host", []))
        return render(request, await work(self, request, *arguments, **named))

    return route


@attrs.define(eq=False, slots=False)
class Pages:
    """
    The HTTP interface of the dashboard.

    @ivar sources: by the names of the streams, that of C{REDIS_STREAM} first.
    """

    app = make_app(answer_error)
    serve_health(app)
    sources: Mapping[str, Source]
    guard: Guard
    health: Health
    clock: IReactorTime
    followers: Followers
    arrivals: Arrivals = attrs.field(factory=Arrivals)

    @app.route("/", methods=["GET"])
    @guarded
    async def get_overview(self, request: Any) -> Answer:
        return await self._show(request, "overview")

    @app.route("/events", methods=["GET"])
    @guarded
    async def get_events(self, request: Any) -> Answer:
        return await self._show(request, "events")

    @app.route("/processes", methods=["GET"])
    @guarded
    async def get_processes(self, request: Any) -> Answer:
        return await self._show(request, "processes")

    @app.route("/live/<page>", methods=["GET"])
    async def follow_page(self, request: Any, page: str) -> bytes:
        self.guard.check_host(request.requestHeaders.getRawHeaders(b"host", []))
        query = read_query(request)
        view = self._view(page, query)
        if self.followers.is_full:
            raise Refused("Too many browsers follow this dashboard, or it is about to end.")
        for name, value in ((b"Content-Type", b"text/event-stream; charset=utf-8"), *SECURITY):
            request.setHeader(name, value)
        if request.method == b"GET":
            await self.followers.follow(request, view)
        return b""

    @app.route("/event", methods=["GET"])
    @guarded
    async def get_event(self, request: Any) -> Answer:
        query = read_query(request)
        source, id = self._source(query), query.get("entry", "")
        if not is_entry_id(id):
            raise NotFound
        entry = await source.events.find(id)
        state = await source.survey()
        groups = [(group, await source.events.find_delivery(group, id)) for group in state.groups] if entry else []
        letter = await source.events.find_letter(id)  # after the groups: what one sets aside is a letter by then
        if entry is None and letter is None:
            return self._page("gone", query, {"id": id}, 404)
        steps = tell_story(entry, groups, letter, state.now)
        fields = readable(entry.fields if entry else letter.fields if letter else ())
        shown = {"id": id, "event": entry and entry.event, "letter": letter, "fields": fields}
        return self._page("event", query, {**shown, "steps": steps, "now": state.now})

    @app.route("/dead", methods=["GET"])
    @guarded
    async def get_letters(self, request: Any) -> Answer:
        query = read_query(request)
        source, after = self._source(query), query.get("after", "")
        if after and not is_entry_id(after):
            raise NotFound
        page = await source.letters.read(after, PAGE)
        count = await source.letters.count()
        shown = {"letters": page, "count": count, "after": after, "is_full": len(page) == PAGE}
        return self._page("dead", query, shown)

    @app.route("/letter", methods=["GET"])
    @guarded
    async def get_letter(self, request: Any) -> Answer:
        query = read_query(request)
        id = query.get("id", "")
        letter = await self._source(query).letters.find(id) if is_entry_id(id) else None
        if letter is None:
            return self._page("gone", query, {"id": id}, 404)
        return self._page("letter", query, {"letter": letter, "fields": readable(letter.fields)})

    @app.route("/dead/plan", methods=["GET"])
    @guarded
    async def get_plan(self, request: Any) -> Answer:
        query = read_query(request)
        plan = await make_plan(self._source(query).letters, read_plan(read_all(request)))
        return self._page("plan", query, {"plan": plan})

    @app.route("/dead/run")
    @guarded
    async def post_plan(self, request: Any) -> Answer:
        form = read_form(read_body(request))
        headers = request.requestHeaders
        token = (form.get("token") or [""])[0]
        hosts, origins = headers.getRawHeaders(b"host", []), headers.getRawHeaders(b"origin", [])
        self.guard.check_action(token, hosts, origins)
        plan = read_plan(form)
        query = {"stream": (form.get("stream") or [""])[0]}
        done = await carry_out(self._source(query).letters, plan, self.clock)
        return self._page("done", query, {"plan": plan, "done": done})

    @app.route("/static/<name>", methods=["GET"])
    @guarded
    async def get_static(self, request: Any, name: str) -> Answer:
        if name not in _STATIC:
            raise NotFound
        kind, body = _STATIC[name]
        return Answer(200, ((b"Content-Type", kind), *SECURITY), body)

    async def _show(self, request: Any, page: str) -> Answer:
        query = read_query(request)
        view = self._view(page, query)
        return self._page(page, query, {**await view.look(), "view": view})

    def _page(self, name: str, query: Mapping[str, str], context: Mapping[str, Any], status: int = 200) -> Answer:
        source = self._source(query)
        common = {
            "page": name,
            "query": {"stream": "", **query},
            "stream": source.watched.overview.stream,
            "streams": list(self.sources),
            "overview": source.watched.overview,
            "may_act": self.guard.may_act,
            "version": __version__,
            "live": link(f"/live/{name if 'view' in context else 'status'}", **query),
        }
        return html(name, {**common, **context}, status)

    def _source(self, query: Mapping[str, str]) -> Source:
        stream = query.get("stream") or next(iter(self.sources))
        if stream not in self.sources:
            raise NotFound
        return self.sources[stream]

    def _view(self, page: str, query: Mapping[str, str]) -> View:
        source = self._source(query)
        match page:
            case "overview":
                return OverviewView(source, REMEDIES, query)
            case "processes":
                return ProcessesView(source)
            case "events":
                before = query.get("before", "")
                if before and not is_entry_id(before):
                    raise NotFound
                wanted = Filter(query.get("type", ""), query.get("key", ""), query.get("text", ""))
                return EventsView(source, wanted, before)
            case "status":
                return StatusView(source)
            case _:
                raise NotFound


def read_query(request: Any) -> dict[str, str]:
    """Return the query of a request: of each name the first value, at most 500 characters of it."""
    return {name: values[0][:_LONGEST] for name, values in read_all(request).items()}


def read_all(request: Any) -> dict[str, Sequence[str]]:
    """Return the query of a request."""
    return {
        name.decode("utf-8", "replace"): [value.decode("utf-8", "replace") for value in values]
        for name, values in request.args.items()
    }


def readable(fields: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[str, bytes]]:
    """Return fields with names that are text."""
    return [(name.decode("utf-8", "backslashreplace"), value) for name, value in fields]


def read_form(body: bytes) -> dict[str, list[str]]:
    """
    Return the fields of a form.

    @raise InvalidPlan: there are too many.
    """
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=_FIELDS)
    except ValueError:
        raise InvalidPlan(f"Expected at most {_FIELDS:,} fields.") from None


def make_dashboard_site(pages: Pages, clock: IReactorTime) -> BoundedSite:
    """Return a site that serves the dashboard."""
    return BoundedSite(pages, TIMEOUT, clock, MAX_CONNECTIONS)
