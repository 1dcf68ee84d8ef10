"""
A deployment with failover: a primary, two replicas and three Sentinels.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import redis

from chaos.process import stable_port
from chaos.replicas import DOWN_AFTER
from chaos.suites import PATIENCE, wait_until
from eventsvc.embedded import server_command
from tests.support.processes import Server

#: The name under which the Sentinels watch the primary.
SERVICE: Final = "mymaster"
#: Errors of a server that is away, or not yet what it is to be.
AWAY: Final = (redis.RedisError, OSError)


@attrs.define
class Sentinel(Server):
    """
    A Sentinel, which rewrites its file.

    @ivar directory: its own directory.
    @ivar lines: its configuration, without address and directory.
    """

    directory: Path = attrs.field(factory=Path)
    lines: Sequence[str] = ()

    def start(self) -> None:
        """Start it, and wait until it answers; started again it goes on with the file that it has rewritten."""
        file = self.directory / "sentinel.conf"
        if not file.exists():
            head = [f"port {self.port}", f"dir {self.directory}", "bind 127.0.0.1"]
            file.write_text("\n".join([*head, *self.lines]) + "\n")
        command = server_command(self.port, program=self.binary)
        program = command[: command.index("--bind")]
        self.process = subprocess.Popen(
            [*program, str(file), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.is_up)

    def is_up(self) -> bool:
        """Return whether it answers anything; it may ask for a password."""
        try:
            return super().is_up()
        except redis.ResponseError:
            return True


@attrs.define
class Deployment:
    """
    Servers that replicate, watched by Sentinels.

    @ivar servers: the first one began as the primary.
    """

    servers: Sequence[Server]
    sentinels: Sequence[Sentinel]

    def primary(self) -> Server:
        """Return the server that most Sentinels name now."""
        ports = [self.named_by(each) for each in self.sentinels]
        port = max(ports, key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def named_by(self, sentinel: Sentinel) -> int:
        """Return the port that a Sentinel names; 0 if it does not answer."""
        with suppress(*AWAY), sentinel.client() as client:
            return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return 0

    def roles(self) -> dict[int, str]:
        """Return what each server that answers says that it is, by its port."""
        found = {}
        for server in self.servers:
            with suppress(*AWAY), server.client() as client:
                found[server.port] = client.execute_command("ROLE")[0].decode()
        return found

    def fail_over(self) -> None:
        """Ask the first Sentinel to promote a replica while the primary is well."""
        with self.sentinels[0].client() as client:
            client.execute_command("SENTINEL FAILOVER", SERVICE)

    def is_settled(self) -> bool:
        """Return whether all Sentinels know all others and both replicas, and name the same primary."""
        for sentinel in self.sentinels:
            with suppress(*AWAY), sentinel.client() as client:
                reply = client.execute_command("SENTINEL MASTER", SERVICE)
                words = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))
                known = {_text(name): _text(value) for name, value in words.items()}
                if known["num-other-sentinels"] != str(len(self.sentinels) - 1):
                    return False
                if known["num-slaves"] != str(len(self.servers) - 1) or known["flags"] != "master":
                    return False
                continue
            return False
        return len({self.named_by(each) for each in self.sentinels}) == 1


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


@attrs.frozen
class TLS:
    """
    The PEM files of all servers of a deployment.

    @ivar authority: whom the clients trust.
    """

    certificate: Path
    key: Path
    authority: Path

    def settings(self, port: int) -> Mapping[str, str]:
        """Return the settings of a server that speaks nothing else."""
        files = {"tls-cert-file": self.certificate, "tls-key-file": self.key, "tls-ca-cert-file": self.authority}
        switches = {"port": "0", "tls-port": f"{port}", "tls-replication": "yes", "tls-auth-clients": "no"}
        return switches | {name: str(path) for name, path in files.items()}


@contextmanager
def running_deployment(
    binary: str | None = None,
    server_options: Sequence[str] = (),
    sentinel_lines: Sequence[str] = (),
    host: str = "127.0.0.1",
    tls: TLS | None = None,
) -> Iterator[Deployment]:
    """
    Run a deployment, and wait until all have found each other.

    @param binary: the program of all servers; without, the one that L{eventsvc.embedded.find_server} finds.
    @param server_options: further options of the primary and the replicas.
    @param sentinel_lines: further lines in the files of the Sentinels.
    @param host: what all are called, and call each other.
    @param tls: for TLS alone.
    """
    more = {"ssl": True, "ssl_ca_certs": str(tls.authority), "host": host} if tls else {}
    with tempfile.TemporaryDirectory() as directory:
        ports = [stable_port() for _ in range(6)]
        servers = []
        for number, port in enumerate(ports[:3]):
            own = Path(directory, f"server-{number}")
            own.mkdir()
            options = ["--dir", str(own), "--repl-diskless-sync-delay", "0", "--replica-announce-ip", host]
            for name, value in (tls.settings(port) if tls else {}).items():
                options += [f"--{name}", value]
            options += ["--replicaof", host, f"{ports[0]}"] if number else []
            servers.append(Server(port, [*options, *server_options], binary, more=more))
        lines = [
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            f"sentinel announce-ip {host}",
            f"sentinel monitor {SERVICE} {host} {ports[0]} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} 6000",
            *sentinel_lines,
        ]
        sentinels = []
        for number, port in enumerate(ports[3:]):
            own = Path(directory, f"sentinel-{number}")
            own.mkdir()
            secure = [f"{name} {value}" for name, value in tls.settings(port).items()] if tls else []
            sentinels.append(Sentinel(port, binary=binary, directory=own, lines=[*lines, *secure], more=more))
        deployment = Deployment(servers, sentinels)
        try:
            for each in (*servers, *sentinels):
                each.start()
            wait_until(deployment.is_settled, "all Sentinels know all servers", PATIENCE)
            yield deployment
        finally:
            for each in (*sentinels, *servers):
                each.end()
