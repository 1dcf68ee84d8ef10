"""
A release that takes events over TLS from clients with a token, and gets other
tokens and another certificate while it runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import attrs
import requests

from chaos import STREAM
from cluster.commands import Failed, Namespace, run, wait_for
from cluster.release import Release
from cluster.stage import Scenario, Stage

#: The name that the certificate is for.
_HOST: Final = "event-producer-svc"
_VALUES: Final = (
    "redis.persistence.keep=false",
    "producer.tokens.existingSecret=event-tokens",
    "producer.tls.existingSecret=event-certificate",
    "producer.tls.caSecret=event-certificate",
    "producer.streams={Audit}",
    "simulator.enabled=true",
    "simulator.tokenSecret=robot-token",
    "tests.tokenSecret=robot-token",
)
#: Seconds that Kubernetes may take to update the files of a pod.
_UPDATE: Final = 180.0
_PATIENCE: Final = 10.0


@attrs.frozen
class Client:
    """
    Somebody who posts from outside the cluster.

    @ivar token: empty for none.
    @ivar authority: PEM file of the certificate to trust.
    """

    namespace: Namespace
    token: str
    authority: Path

    def ask(self, path: str = "/event", method: str = "POST", scheme: str = "https", port: int = 8080) -> set[int]:
        """
        Send a request to each producer, and return the statuses of the answers.

        @raise Failed: there is no producer, or one was not reached.
        """
        pods = self.namespace.get("pods", "--selector", Release(self.namespace).selector("producer"))["items"]
        if not pods:
            raise Failed("there is no producer")
        return {self._ask(pod["metadata"]["name"], path, method, scheme, port) for pod in pods}

    def _ask(self, pod: str, path: str, method: str, scheme: str, port: int) -> int:
        with self.namespace.forwarded(f"pod/{pod}", port) as local:
            try:
                return requests.request(
                    method,
                    f"{scheme}://127.0.0.1:{local}{path}",
                    json={"description": "from outside"} if method == "POST" else None,
                    headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
                    verify=str(self.authority),
                    timeout=_PATIENCE,
                ).status_code
            except requests.RequestException as problem:
                raise Failed(f"{pod}: {problem}") from None


def _play(stage: Stage) -> str:
    with tempfile.TemporaryDirectory(prefix="eventsvc-secured-") as directory:
        return _try(stage, Path(directory))


def _try(stage: Stage, directory: Path) -> str:
    """
    Try who may post, and change tokens and certificate.

    @raise Failed: a client was let in or kept out wrongly.
    """
    namespace = stage.namespace
    certificate = _put_certificate(namespace, directory / "first")
    _put_tokens(namespace, {"audit": ["Audit"], "robot": [STREAM, "HelmTest"]})
    _put(namespace, "robot-token", f"--from-literal=token={_token('robot')}")
    stage.install(*_VALUES)
    stranger = Client(namespace, "", certificate)
    audit, robot, second = (Client(namespace, _token(name), certificate) for name in ("audit", "robot", "second"))
    _expect("no token", stranger.ask(), 401)
    _expect("a token that is not there yet", second.ask(), 401)
    _expect("a token", robot.ask(), 200)
    _expect("a token, for another stream", robot.ask("/streams/Audit/event"), 403)
    _expect("the token of another stream", audit.ask("/streams/Audit/event"), 200)
    _expect("metrics on the port of events", stranger.ask("/metrics", "GET"), 404)
    _expect("metrics on their own port", stranger.ask("/metrics", "GET", "http", 8081), 200)
    stage.test()
    wait_for(lambda: _simulated(namespace) > 0, "the simulator is answered 200", 60)

    begin = time.monotonic()
    _put_tokens(namespace, {"second": [STREAM, "Audit"]})
    wait_for(lambda: second.ask("/streams/Audit/event") == {200}, "the new token is accepted", _UPDATE)
    _expect("a token that was removed", robot.ask(), 401)
    tokens = time.monotonic() - begin

    begin = time.monotonic()
    renewed = attrs.evolve(second, authority=_put_certificate(namespace, directory / "second"))
    wait_for(lambda: renewed.ask() == {200}, "the new certificate is in use", _UPDATE)
    certificates = time.monotonic() - begin
    _expect_no_restart(namespace)
    return f"new tokens in use after {tokens:.0f} s, a new certificate after {certificates:.0f} s"


def _simulated(namespace: Namespace) -> float:
    (pod,) = namespace.get("pods", "--selector", Release(namespace).selector("simulator"))["items"]
    with namespace.forwarded(f"pod/{pod['metadata']['name']}", 8080) as port:
        figures = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=_PATIENCE).text
    (line,) = [line for line in figures.split("\n") if line.startswith('eventsvc_simulated_total{outcome="ok"}')]
    return float(line.split()[1])


def _expect(what: str, statuses: set[int], status: int) -> None:
    if statuses != {status}:
        raise Failed(f"{what}: expected {status} of each producer, got {sorted(statuses)}")


def _expect_no_restart(namespace: Namespace) -> None:
    pods = namespace.get("pods", "--selector", Release(namespace).selector("producer"))["items"]
    restarts = [each["restartCount"] for pod in pods for each in pod["status"]["containerStatuses"]]
    if any(restarts):
        raise Failed(f"producers were restarted: {restarts}")


# Secrets


def _token(name: str) -> str:
    """Return the token of a client; it is worth nothing, because the release is removed."""
    return f"token-of-{name}"


def _digest(name: str) -> str:
    return sha256(_token(name).encode()).hexdigest()


def _put_tokens(namespace: Namespace, streams: Mapping[str, Sequence[str]]) -> None:
    """Create or change the Secret of tokens: the streams of each client."""
    rows = [
        f'[[token]]\nname = "{name}"\nsha256 = "{_digest(name)}"\nstreams = {json.dumps(allowed)}\n'
        for name, allowed in streams.items()
    ]
    _put(namespace, "event-tokens", f"--from-literal=tokens.toml={''.join(rows)}")


def _put_certificate(namespace: Namespace, directory: Path) -> Path:
    """Make a certificate that is its own authority, put it into the Secret, and return its file."""
    directory.mkdir()
    key, certificate = directory / "tls.key", directory / "tls.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", f"/CN={_HOST}", "-addext", f"subjectAltName=DNS:{_HOST},IP:127.0.0.1", "-days", "1"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    files = {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate}
    _put(namespace, "event-certificate", *(f"--from-file={name}={path}" for name, path in files.items()))
    return certificate


def _put(namespace: Namespace, name: str, *content: str) -> None:
    """Create or change a Secret."""
    create = ("create", "secret", "generic", name, *content, "--dry-run=client", "--output=yaml")
    namespace.kubectl("apply", "--filename=-", input=namespace.kubectl(*create))


SCENARIO: Final = Scenario("secured", "Tokens and TLS: who may post, and tokens and certificate are changed.", _play)
