"""
Access of the functional suite to a release: from outside the cluster through
kubectl, or from a pod in it as an ordinary client.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import redis
import requests

from cluster.release import Release
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from eventsvc.settings.simulator import SimulatorSettings

#: The directory of a pod's credentials for the Kubernetes API.
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATIENCE: Final = 10.0


@attrs.define(eq=False)
class Outside:
    """Access through kubectl."""

    release: Release
    url: str = ""
    token: str = ""
    authority: str = ""
    _held: ExitStack = attrs.field(factory=ExitStack, init=False)

    def start(self) -> None:
        """Forward a local port to the producers."""
        service = f"service/{self.release.prefix}event-producer-svc"
        port = self._held.enter_context(self.release.namespace.forwarded(service, 8080))
        self.url = f"http://127.0.0.1:{port}"

    def end(self) -> None:
        self._held.close()

    def redis(self) -> AbstractContextManager[Any]:
        """Return a client of another library (redis-py)."""
        return self.release.redis()

    def consumer_log(self) -> str:
        """Return the output of all running consumers."""
        selector = self.release.selector("consumer")
        return self.release.namespace.kubectl("logs", "--selector", selector, "--tail=-1")


@attrs.define(eq=False)
class InPod:
    """
    Access as a client in the cluster, with the settings of producer and
    simulator in the environment; logs are read through the Kubernetes API.

    @ivar token: what it posts with; empty for none.
    @ivar authority: PEM file of the CA certificates to trust; empty for the system's.
    """

    prefix: str
    url: str = ""
    token: str = ""
    authority: str = ""

    def start(self) -> None:
        producer = read(SimulatorSettings)
        self.url = f"{'https' if producer.tls else 'http'}://{producer.host}:{producer.port}"
        self.authority = producer.tls_ca
        self.token = producer.token

    def end(self) -> None:
        pass

    def redis(self) -> AbstractContextManager[Any]:
        """Return a client of another library (redis-py)."""
        return redis_client(read(RedisSettings))

    def consumer_log(self) -> str:
        """Return the output of all running consumers."""
        pods = self._ask("", labelSelector=f"app={self.prefix}event-consumer").json()["items"]
        return "".join(self._ask(f"/{pod['metadata']['name']}/log").text for pod in pods)

    def _ask(self, path: str, **parameters: str) -> requests.Response:
        namespace, token = ((_ACCOUNT / name).read_text() for name in ("namespace", "token"))
        answer = requests.get(
            f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/pods{path}",
            params=parameters,
            headers={"Authorization": f"Bearer {token}"},
            verify=str(_ACCOUNT / "ca.crt"),
            timeout=_PATIENCE,
        )
        answer.raise_for_status()
        return answer


def redis_client(at: RedisSettings) -> AbstractContextManager[Any]:
    """Return a client of another library (redis-py) of the server that the settings lead to."""
    tls = {"ssl": True, "ssl_ca_certs": at.tls_ca or None} if at.tls else {}
    common: dict[str, Any] = {"socket_timeout": _PATIENCE, "protocol": 2, **tls}
    host, port = _ask_sentinels(at, common) if at.sentinels else (at.host, at.port)
    account: dict[str, Any] = {"username": at.username or None, "password": at.password or None, "db": at.database}
    client: AbstractContextManager[Any] = redis.Redis(host=host, port=port, **common, **account)
    return client


def _ask_sentinels(at: RedisSettings, common: dict[str, Any]) -> tuple[str, int]:
    """
    Return the address of the primary, with the one command that our user needs there.

    @raise redis.RedisError: no Sentinel tells it.
    """
    account: dict[str, Any] = {"username": at.sentinel_username or None, "password": at.sentinel_password or None}
    for each in at.sentinels:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            sentinel = redis.Redis(host=each.host, port=each.port, **common, **account)
            address = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", at.sentinel_service)
            if address:
                return address[0].decode(), int(address[1])
    raise redis.ConnectionError(f"no Sentinel names a primary of {at.sentinel_service}")
