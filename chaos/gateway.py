"""
Faults at the way into a producer: its tokens, and a stream beside the one that
is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import attrs
import requests

from chaos.deployment import Deployment
from chaos.figures import read_figures
from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD

#: The gauges of the producers' tokens.
_TOKENS: Final = "eventsvc_tokens"
_STALE: Final = "eventsvc_tokens_stale"


@attrs.frozen
class TokensRotated:
    """
    The clients get another token, and the producers no longer accept the first one.

    Both are accepted while the clients change.  Before that the file is broken,
    and afterwards it is written slowly.

    @ivar seconds: that both are accepted after the clients have changed.
    """

    seconds: float = 1.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        passes = deployment.passes
        before, after = passes.made[-1], passes.make()
        passes.accepted.write_text(f"{passes.rows([after])}[[token]]\nname = ")
        self._await(deployment, {_STALE: 1, _TOKENS: 1})
        deployment.note("the file of tokens is broken")
        yield
        passes.accept(before, after)
        self._await(deployment, {_STALE: 0, _TOKENS: 2})
        passes.use(after)
        deployment.note("both tokens are accepted, and the clients use the second")
        deployment.wait(self.seconds)
        with passes.accepted.open("w") as file:
            for row in passes.rows([after]).splitlines(keepends=True):
                file.write(row)
                file.flush()
                deployment.wait(0.1)
        self._await(deployment, {_STALE: 0, _TOKENS: 1})
        deployment.note("only the second token is accepted")
        for name in deployment.producers:
            self._check_rejected(deployment, name, {"Authorization": f"Bearer {before}"})
            self._check_rejected(deployment, name, {})

    def _await(self, deployment: Deployment, wanted: Mapping[str, int]) -> None:
        """Wait until all producers have read the file."""

        def has_been_read() -> bool:
            deployment.record()
            with deployment.redis() as client:
                seen = [read_figures([deployment.ports[name]], client) for name in deployment.producers]
            return all(figures[name] == value for figures in seen for name, value in wanted.items())

        wait_until(has_been_read, f"the producers have read the tokens: {wanted}", every=0.1)

    def _check_rejected(self, deployment: Deployment, name: str, headers: Mapping[str, str]) -> None:
        url = f"http://127.0.0.1:{deployment.ports[name]}/event"
        status = requests.post(url, json={"description": "by nobody"}, headers=headers, timeout=5).status_code
        if status != HTTPStatus.UNAUTHORIZED:
            deployment.complaints.append(f"{name} answered a client without a valid token with {status}")


@attrs.frozen
class StreamFull:
    """
    The second stream is at its hard limit.

    @ivar entries: number of entries at which a stream is.
    """

    entries: int

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        stream = deployment.plan.beside
        with deployment.redis() as client:
            with client.pipeline() as moment:
                for _ in range(self.entries):
                    moment.xadd(stream, {EVENT_FIELD: "{}"})
                filler = moment.execute()
            deployment.note(f"the stream {stream} has {self.entries} entries more")
            yield
            client.xdel(stream, *filler)
            deployment.note(f"the stream {stream} has them no longer")


@attrs.frozen
class StreamSpoiled:
    """The key of the second stream is a text."""

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        stream = deployment.plan.beside
        kept = f"{{{stream}}}:kept"
        with deployment.redis() as client:
            with client.pipeline() as moment:
                moment.rename(stream, kept).set(stream, "no stream").execute()
            deployment.note(f"the key {stream} is a text")
            yield
            client.rename(kept, stream)
            deployment.note(f"the key {stream} is the stream again")
