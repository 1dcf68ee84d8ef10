"""
Decides which requests a dashboard answers, and which may change anything.

# Note [Host names]

A dashboard that listens on the loopback address is reachable for every web page that a browser
on this machine opens, if the page's own host name is given that address (DNS rebinding)::

    browser                        DNS of evil.example       dashboard
      | GET / of evil.example  --->  203.0.113.1 (the page)
      | GET /events            --->  127.0.0.1
      |   Host: evil.example:8081                     --->  events, to be sent anywhere

Such a request has the host name of the page.  So only addresses, C{localhost}, and names from the
settings are answered.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import ip_address

import attrs

from eventsvc.settings.origins import normalize_origin


class Misdirected(Exception):
    """The request names a host that is not this dashboard."""


class NotAllowed(Exception):
    """The request may not change anything; the text says why."""


@attrs.frozen
class Guard:
    """
    @ivar names: host names that are answered, beside addresses and C{localhost}.
    @ivar token: what an action needs; empty if there are no actions.
    """

    names: frozenset[str] = frozenset()
    token: str = attrs.field(default="", repr=False)

    @property
    def may_act(self) -> bool:
        """Whether there are actions at all."""
        return bool(self.token)

    def check_host(self, hosts: Sequence[bytes]) -> None:
        """
        Check the values of all C{Host} headers; see the Note [Host names].

        @raise Misdirected: the text has the name.
        """
        name = host_name(hosts[0].decode("latin-1")) if len(hosts) == 1 else ""
        if not (name == "localhost" or name in self.names or _is_address(name)):
            raise Misdirected(name)

    def check_action(self, token: str, hosts: Sequence[bytes], origins: Sequence[bytes]) -> None:
        """
        Check that a request may change something.

        @param origins: the values of all C{Origin} headers.
        @raise NotAllowed: it may not.
        """
        if not self.may_act:
            raise NotAllowed("This dashboard is read-only: it was started without DASHBOARD_TOKEN.")
        own = {normalize_origin(b"%b://%b" % (scheme, host)) for scheme in (b"http", b"https") for host in hosts}
        if any(normalize_origin(origin) not in own for origin in origins):
            raise NotAllowed("This request comes from another page.")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            raise NotAllowed("The token is wrong.")


def host_name(host: str) -> str:
    """Return the name or address in a C{Host}, without its port and in lower case."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name.lower() if not port or port.startswith(":") else ""
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
