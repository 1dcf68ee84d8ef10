"""
A Redis that fails over: a primary, two replicas, and three Sentinels.

No proxies are between them.  The replicas and the Sentinels have users of their
own on each node, and a node without such a user is one that they cannot reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import attrs
import redis

from chaos.plan import PASSWORD
from chaos.process import Process, stable_port
from chaos.suites import wait_until
from eventsvc.embedded import find_server, server_command

NODES: Final = ("redis-1", "redis-2", "redis-3")
SENTINELS: Final = ("sentinel-1", "sentinel-2", "sentinel-3")
#: The name by which Sentinels know the primary.
SERVICE: Final = "mymaster"
#: The users of replicas and of Sentinels on each node, with the rights that they need.
REPLICATOR: Final = "replicator"
SENTINEL: Final = "sentinel"
_RIGHTS: Final = {
    REPLICATOR: "+psync +replconf +ping",
    SENTINEL: "allchannels +multi +exec +slaveof +ping +subscribe +publish +config|rewrite +role +info "
    "+client|setname +client|kill +script|kill",
}
#: Milliseconds of silence after which a Sentinel takes a node for dead, and after
#: which it gives up a failover that does not proceed.  A Sentinel connects to a node
#: once a second at most, so that with less it takes one that has just been promoted
#: for dead.
DOWN_AFTER: Final = 1_500
_FAILOVER_TIMEOUT: Final = 3_000
#: Errors of a node that is frozen, dead or starting.
_AWAY: Final = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)


@attrs.define(eq=False)
class Replicas:
    """
    The nodes and the Sentinels of one run.

    A node starts as a primary, and is told which one to follow.  So a primary
    that was killed returns as a primary.

    @ivar directory: where each process gets a directory.
    @ivar processes: all processes of the deployment; these are added.
    @ivar ports: the ports of all servers of the deployment.
    @ivar options: options of the nodes.
    @ivar promotions: when each promoted node took itself for the primary.
    """

    directory: Path
    processes: MutableMapping[str, Process]
    ports: MutableMapping[str, int]
    note: Callable[[str], None]
    options: Sequence[str]
    promotions: list[float] = attrs.field(factory=list, init=False)
    #: number of promotions that Sentinels had told of when all agreed
    _said: int = attrs.field(default=0, init=False)

    def start(self) -> None:
        """Start all, and wait until the Sentinels know each other and the replicas."""
        for name in NODES:
            self._add(name)
            port = self.ports[name]
            users = [word for user, rights in _RIGHTS.items() for word in _user(user, rights)]
            options = ["--dir", str(self.directory / name), "--requirepass", PASSWORD, *users, *self.options]
            replication = ["--masteruser", REPLICATOR, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
            self.processes[name] = Process(name, server_command(port, [*options, *replication]), self.directory)
            self.start_node(name)
        for name in NODES[1:]:
            self.follow(name, NODES[0])
        for name in SENTINELS:
            self._add(name)
            file = self.directory / name / "sentinel.conf"
            file.write_text(self._sentinel(name))
            command = server_command(self.ports[name], ["--sentinel"])
            command.insert(command.index(find_server()) + 1, str(file))
            self.processes[name] = Process(name, command, self.directory)
            self.processes[name].start()
        for name in SENTINELS:
            wait_until(lambda: self._knows_all(name), f"{name} knows all", passing=_AWAY)  # noqa: B023

    def _add(self, name: str) -> None:
        self.ports[name] = stable_port()
        (self.directory / name).mkdir()

    def _sentinel(self, name: str) -> str:
        return f"""
dir {self.directory / name}
requirepass "{PASSWORD}"
sentinel sentinel-pass "{PASSWORD}"
sentinel monitor {SERVICE} 127.0.0.1 {self.ports[NODES[0]]} 2
sentinel auth-user {SERVICE} {SENTINEL}
sentinel auth-pass {SERVICE} "{PASSWORD}"
sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}
sentinel failover-timeout {SERVICE} {_FAILOVER_TIMEOUT}
sentinel parallel-syncs {SERVICE} 2
"""

    def _knows_all(self, name: str) -> bool:
        with self.client(name) as sentinel:
            known = sentinel.info("sentinel")["master0"]
            return (known["status"], known["slaves"], known["sentinels"]) == ("ok", 2, 3)

    @contextmanager
    def client(self, name: str) -> Iterator[Any]:
        """Yield a client of a node or Sentinel."""
        client = redis.Redis(
            port=self.ports[name], password=PASSWORD, socket_timeout=1, protocol=2, single_connection_client=True
        )
        try:
            yield client
        finally:
            client.close()

    def start_node(self, name: str) -> None:
        """Start a node as a primary, and wait until it accepts commands."""
        self.processes[name].start()
        wait_until(lambda: self.is_primary(name), f"{name} answers")
        self.note(f"{name} is up, and takes itself for the primary")

    def role(self, name: str) -> Sequence[Any]:
        """Return what a node answers to ROLE; empty if it does not answer."""
        self.processes[name].check()
        try:
            with self.client(name) as node:
                return cast("Sequence[Any]", node.execute_command("ROLE"))
        except _AWAY:
            return ()

    def is_primary(self, name: str) -> bool:
        """Return whether a node runs and takes itself for the primary."""
        return self.processes[name].running and self.role(name)[:1] == [b"master"]

    def primary(self) -> str:
        """
        Return the node that is the primary, for a Sentinel and for itself.

        @raise NotInTime: there is none.
        """
        return wait_until(self._find_primary, "there is a primary", every=0.05)

    def _find_primary(self) -> str:
        return next((name for name in map(self._named_by, SENTINELS) if name and self.is_primary(name)), "")

    def _named_by(self, sentinel: str) -> str:
        """Return the node that a Sentinel names; empty if it does not answer."""
        if not self.processes[sentinel].running:
            return ""
        try:
            with self.client(sentinel) as client:
                _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        except _AWAY:
            return ""
        return next(name for name in NODES if self.ports[name] == int(port))

    def settle(self) -> str:
        """Wait until all that run agree on the primary, and return it."""
        primary = wait_until(self._agreed, "all nodes and Sentinels agree", every=0.05)
        self._said = self._count_promotions()
        return primary

    def _agreed(self) -> str:
        primary = self._find_primary()
        named = {self._named_by(name) for name in SENTINELS if self.processes[name].running}
        others = [name for name in NODES if name != primary and self.processes[name].running]
        return primary if named == {primary} and all(self._follows(name, primary) for name in others) else ""

    def _follows(self, name: str, primary: str) -> bool:
        """Return whether a node is a replica that has caught up once."""
        return [*self.role(name)[2:4]] == [self.ports[primary], b"connected"]

    def await_promotion(self, old: str, is_measured: bool = True) -> str:
        """
        Wait until another node takes itself for the primary and a Sentinel says so, and return the node.

        @param is_measured: whether the moment when it takes itself for the primary is
            recorded, because services can use it at once.
        """
        others = [name for name in NODES if name != old]
        new = wait_until(
            lambda: next(filter(self.is_primary, others), ""), f"another node than {old} is promoted", every=0.005
        )
        if is_measured:
            self.promotions.append(time.monotonic())
        self.note(f"{new} takes itself for the primary")
        wait_until(lambda: self._count_promotions() > self._said, "a Sentinel says so", every=0.005)
        self.note(f"a Sentinel says that {new} is promoted")
        return new

    def _count_promotions(self) -> int:
        return sum(self.processes[name].count("+promoted-slave ") for name in SENTINELS)

    def cut_off(self, name: str, *users: str) -> None:
        """Cut a node off from replicas, from Sentinels or from both, by their users."""
        with self.client(name) as node:
            for user in users:
                node.execute_command("ACL", "SETUSER", user, "off")
                node.execute_command("CLIENT", "KILL", "USER", user)
        self.note(f"{name} is cut off from {' and '.join(users)}")

    def rejoin(self, name: str) -> None:
        """Let replicas and Sentinels reach a node again."""
        with self.client(name) as node:
            for user in _RIGHTS:
                node.execute_command("ACL", "SETUSER", user, "on")
        self.note(f"{name} can be reached by all again")

    def follow(self, name: str, primary: str) -> None:
        """Make a node a replica, and wait until it has caught up."""
        with self.client(name) as node:
            node.execute_command("REPLICAOF", "127.0.0.1", self.ports[primary])
        wait_until(lambda: self._follows(name, primary), f"{name} follows {primary}")
        self.note(f"{name} follows {primary}")

    def step_down(self) -> None:
        """Tell a Sentinel to replace the primary, as soon as it would."""
        name = wait_until(lambda: next(filter(self._is_awake, SENTINELS), ""), "a Sentinel is at work")
        with self.client(name) as sentinel:
            wait_until(
                lambda: sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE),
                f"{name} agrees to a failover",
                passing=(redis.ResponseError,),  # until it knows the replicas well enough
            )
        self.note(f"{name} is told to replace the primary")

    def _is_awake(self, name: str) -> bool:
        """Return whether a Sentinel acts: not for 30 seconds after it was paused ("tilt")."""
        try:
            with self.client(name) as sentinel:
                return bool(sentinel.info("sentinel")["sentinel_tilt"] == 0)
        except _AWAY:
            return False


def _user(name: str, rights: str) -> Sequence[str]:
    return ["--user", name, "on", f">{PASSWORD}", *rights.split()]
