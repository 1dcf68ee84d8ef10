"""
Controls a Toxiproxy server, and verifies every change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs
import requests
from toxiproxy.api import APIConsumer  # type: ignore[import-untyped]

from chaos.programs import Program

VERSION: Final = "v2.5.0"
TOXIPROXY: Final = Program(
    "toxiproxy-server",
    "github.com/Shopify/toxiproxy/v2/cmd/server",
    VERSION,
    f"""\
no Toxiproxy server found; one of these brings it:
  put toxiproxy-server {VERSION} on the PATH (a package, or a binary from github.com/Shopify/toxiproxy/releases)
  copy /toxiproxy out of the container image ghcr.io/shopify/toxiproxy, as toxiproxy-server
  install Go: it is then built here once""",
)

#: The most seconds for a call to the server, and for the removal of a toxic.
DEADLINE: Final = 5.0
REMOVAL: Final = 27.0


class NotChanged(Exception):
    """The server did not make a change."""


@attrs.frozen
class Toxic:
    """
    A disturbance of the bytes of a link.

    @ivar stream: the direction; C{upstream} is towards the server of the link.
    @ivar toxicity: the share of connections that it affects.
    """

    type: str
    attributes: Mapping[str, int] = attrs.field(factory=dict)
    stream: Literal["upstream", "downstream"] = "downstream"
    toxicity: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.type}_{self.stream}"

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {value}" for name, value in self.attributes.items())
        share = f" on {self.toxicity:.0%} of connections" if self.toxicity < 1 else ""
        return f"{self.type} {self.stream}{f' ({shown})' if shown else ''}{share}"


@attrs.define(eq=False)
class Toxics:
    """
    A Toxiproxy server.

    The convenient calls of toxiproxy-python have no timeout, and do not notice
    when the server refuses.  So its plain calls are used: each has a timeout,
    and each is followed by a query of the new state.

    @ivar note: called with a description of each change.
    """

    port: int
    note: Callable[[str], None] = lambda words: None

    def is_up(self) -> bool:
        """Return whether the server answers."""
        try:
            return bool(requests.get(f"http://127.0.0.1:{self.port}/version", timeout=1.0).ok)
        except requests.RequestException:
            return False

    def add_proxy(self, name: str, listen: int, upstream: int) -> None:
        """Add a proxy that forwards one port to another."""
        wanted = {"name": name, "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{upstream}", "enabled": True}
        self._post("/proxies", wanted)
        self._confirm(f"/proxies/{name}", wanted)

    def switch(self, name: str, enabled: bool) -> None:
        """Close all connections of a proxy and refuse new ones, or accept them again."""
        self._post(f"/proxies/{name}", {"enabled": enabled})
        self._confirm(f"/proxies/{name}", {"enabled": enabled})
        self.note(f"{name} is {'up' if enabled else 'down'}")

    def point(self, name: str, upstream: int) -> None:
        """Forward a proxy to another port, and close all its connections."""
        wanted = {"upstream": f"127.0.0.1:{upstream}"}
        self._post(f"/proxies/{name}", wanted)
        self._confirm(f"/proxies/{name}", wanted)
        self.note(f"{name} leads to port {upstream}")

    def add(self, name: str, toxic: Toxic) -> None:
        """Add a toxic to a proxy."""
        wanted = {**attrs.asdict(toxic), "name": toxic.name}
        self._post(f"/proxies/{name}/toxics", wanted)
        self._confirm(f"/proxies/{name}/toxics/{toxic.name}", wanted)
        self.note(f"{name}: {toxic} begins")

    def remove(self, name: str, toxic: Toxic) -> None:
        """
        Remove a toxic from a proxy.

        The server takes 5 seconds for each connection that was closed while it
        held bytes for it.
        """
        self._call(APIConsumer.delete, f"/proxies/{name}/toxics/{toxic.name}", deadline=REMOVAL)
        if any(each["name"] == toxic.name for each in self._look(f"/proxies/{name}/toxics")):
            raise NotChanged(f"{name} still has {toxic}")
        self.note(f"{name}: {toxic} ends")

    def check_healed(self) -> None:
        """
        Check that all proxies are enabled and have no toxics.

        @raise NotChanged: one is disabled or has a toxic.
        """
        for name, proxy in self._look("/proxies").items():
            if not proxy["enabled"] or proxy["toxics"]:
                raise NotChanged(f"{name} is not healed: {proxy}")

    def _post(self, path: str, wanted: Mapping[str, Any]) -> None:
        self._call(APIConsumer.post, path, json=wanted)

    def _confirm(self, path: str, wanted: Mapping[str, Any]) -> None:
        got = self._look(path)
        differing = {name: got.get(name) for name, value in wanted.items() if not _agree(value, got.get(name))}
        if differing:
            raise NotChanged(f"{path}: wanted {dict(wanted)}, got {differing}")

    def _look(self, path: str) -> Any:
        return self._call(APIConsumer.get, path).json()

    def _call(self, call: Any, path: str, deadline: float = DEADLINE, **more: Any) -> Any:
        """
        Make one of the library's calls to this server.

        The library has one server address for the whole process, so each call
        uses its own subclass.
        """
        api = type("Api", (APIConsumer,), {"port": self.port})
        begin = time.monotonic()
        try:
            response = getattr(api, call.__name__)(path, timeout=deadline, **more)
        except Exception as error:
            took = time.monotonic() - begin
            raise NotChanged(f"{call.__name__} {path} failed after {took:.1f} s: {error}") from error
        if not response.ok:
            raise NotChanged(f"{call.__name__} {path}: {response.status_code} {response.text[:200]}")
        return response


def _agree(wanted: Any, got: Any) -> bool:
    """Return whether a value is as wanted; attributes may have further members."""
    if isinstance(wanted, Mapping):
        return isinstance(got, Mapping) and all(got.get(name) == value for name, value in wanted.items())
    return bool(wanted == got)
