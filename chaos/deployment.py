"""
The deployment of a scenario: real processes, with a proxy on each link between
them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import redis
import requests

import chaos
from chaos.account import Account
from chaos.clock import WallClock
from chaos.figures import is_drained, read_figures
from chaos.passes import Passes
from chaos.plan import PASSWORD, SETTINGS, Plan
from chaos.posting import TOKEN_FILE
from chaos.power import Power, make_power
from chaos.process import EndedByItself, Process, stable_port
from chaos.recorder import Recorder
from chaos.replicas import NODES, SENTINELS, Replicas
from chaos.suites import TWISTD, NotInTime, wait_until
from chaos.toxics import TOXIPROXY, Toxics
from chaos.workload import Load
from eventsvc.embedded import server_command

#: Seconds within which all entries must be acknowledged at the end.
DRAIN: Final = 30.0
#: The load's output for an attempt that was answered 200.
OK: Final = '"outcome":"ok"'
#: A consumer's output for an event that was handled.
HANDLED: Final = '"message":"event"'
#: The environment in which the suite's modules are found.
_SUITE: Final = {"PYTHONPATH": str(Path(chaos.__file__).parents[1])}


@attrs.define(eq=False)
class Deployment(Account):
    """
    The processes of one run.

    @ivar planted: the planted bug of the services, if any.
    """

    plan: Plan
    directory: Path
    planted: str | None = None
    processes: dict[str, Process] = attrs.field(factory=dict)
    recorder: Recorder = attrs.field(factory=Recorder)
    #: port of each server, and of the proxy of each link
    ports: dict[str, int] = attrs.field(factory=dict)
    links: dict[str, int] = attrs.field(factory=dict)
    toxics: Toxics = attrs.field(init=False)
    replicas: Replicas = attrs.field(init=False)
    power: Power | None = attrs.field(default=None, init=False)
    #: of the services
    clock: WallClock = attrs.field(init=False)
    passes: Passes = attrs.field(init=False)

    @toxics.default
    def _make_toxics(self) -> Toxics:
        return Toxics(stable_port(), self.note)

    @replicas.default
    def _make_replicas(self) -> Replicas:
        return Replicas(self.directory, self.processes, self.ports, self.note, self.plan.redis)

    @clock.default
    def _make_clock(self) -> WallClock:
        return WallClock(self.directory / "clock")

    @passes.default
    def _make_passes(self) -> Passes:
        return Passes(self.directory)

    @property
    def producers(self) -> list[str]:
        return [f"producer-{number + 1}" for number in range(self.plan.producers)]

    @property
    def consumers(self) -> list[str]:
        return [f"consumer-{number + 1}" for number in range(len(self.plan.handlers))]

    def start(self) -> None:
        """Start all processes, and wait until they are ready."""
        if self.plan.tokens:
            self.passes.accept(token := self.passes.make())
            self.passes.use(token)
        if self.plan.proxied:
            self._start_toxiproxy()
        if self.plan.sentinels:
            self.replicas.start()
        else:
            self._add_redis("redis")
        if self.plan.standby:
            self._link("standby-redis", self.ports["redis"])
            primary = ["--replicaof", f"127.0.0.1 {self.links['standby-redis']}", "--masterauth", PASSWORD]
            self._add_redis("standby", *primary, "--repl-diskless-sync-delay", "0")
            wait_until(self._is_replicated, "the standby has all data")
        if self.plan.database:
            self._add_redis("database")
            self._link("database", self.ports["database"])
        if self.plan.receiver:
            self._add_receiver()
        for name in self.producers:
            self.ports[name] = stable_port()
            self._link(f"client-{name}", self.ports[name])
            self._add_service(name, {"REST_SERVER_PORT": str(self.ports[name])})
        for name, handler in zip(self.consumers, self.plan.handlers):
            self.add_consumer(name, handler)
        for name in (*self.producers, *self.consumers):
            self.processes[name].start()
        for name in (*self.producers, *self.consumers):
            self.await_ready(name)
        if self.plan.recorded:
            with self.redis() as client:
                self.recorder.begin(client)

    def add_consumer(self, name: str, handler: str) -> None:
        """Add a consumer, without starting it."""
        self.ports[name] = stable_port()
        admin = str(self.ports[name])
        self._add_service(name, {"REDIS_CONSUMER": name, "CONSUMER_HANDLER": handler, "ADMIN_PORT": admin})

    def end(self) -> None:
        """Kill all processes that still run."""
        for process in self.processes.values():
            process.kill()
        for name in ("redis", "standby", "database", *NODES):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def stop_services(self) -> None:
        """
        Stop producers and consumers gracefully.

        @raise EndedByItself: the exit status of one was not 0.
        """
        for name in (*self.producers, *self.consumers):
            if self.processes[name].running:
                status = self.processes[name].end(signal.SIGTERM)
                if status:
                    raise EndedByItself(f"{name} ended with {status} on SIGTERM")
        for name in (*self.producers, *self.consumers):
            written = self.processes[name].out.read_bytes() + self.processes[name].err.read_bytes()
            if any(token.encode() in written for token in self.passes.made):
                self.complaints.append(f"{name} has written a token to its log")

    def _start_toxiproxy(self) -> None:
        command = [TOXIPROXY.find(), "-host", "127.0.0.1", "-port", str(self.toxics.port)]
        process = self.processes["toxiproxy"] = Process("toxiproxy", command, self.directory)
        process.start()
        wait_until(self.toxics.is_up, "toxiproxy answers")

    def _add_redis(self, name: str, *more: str) -> None:
        port = self.ports[name] = stable_port()
        options = ["--dir", str(self.directory / name), "--requirepass", PASSWORD, *self.plan.redis, *more]
        command: Sequence[str] = server_command(port, options)
        if self.plan.disk:
            self.power = make_power(name, self.directory, _SUITE)
            self.processes[self.power.process.name] = self.power.process
            self.power.start()
            command = self.power.enter(command)
        else:
            (self.directory / name).mkdir()
        self.processes[name] = Process(name, command, self.directory)
        self.start_redis(name)

    def _add_receiver(self) -> None:
        port = self.ports["receiver"] = stable_port()
        command = [sys.executable, "-m", "chaos.receiver", str(port)]
        process = self.processes["receiver"] = Process("receiver", command, self.directory, _SUITE)
        process.start()
        wait_until(lambda: process.says("listening"), "the receiver listens")
        self._link("receiver", port)

    def start_redis(self, name: str = "redis") -> None:
        """Start a Redis server, and wait until it accepts commands."""
        self.processes[name].start()
        wait_until(lambda: self._redis_is_up(name), f"{name} answers")
        self.note(f"{name} is up")

    def wipe_redis(self) -> None:
        """Delete the data of Redis while it is not running."""
        shutil.rmtree(self.directory / "redis")
        (self.directory / "redis").mkdir()
        retained = self.plan.settings.get("REDIS_RETAIN_SECONDS")
        self.lose_data(None if retained is None else float(retained))
        self.note("the data of redis are gone")

    def _redis_is_up(self, name: str) -> bool:
        self.processes[name].check()
        try:
            with self.redis(self.ports[name]) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def _is_replicated(self) -> bool:
        with self.redis(self.ports["standby"]) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    @contextmanager
    def redis(self, port: int | None = None) -> Iterator[Any]:
        """
        Yield a client of another library (redis-py).

        @param port: of a server, or of the proxy of a link; default: the primary.
        """
        port = port or self.ports[self.replicas.primary() if self.plan.sentinels else "redis"]
        client = redis.Redis(port=port, password=PASSWORD, socket_timeout=10, protocol=2, single_connection_client=True)
        try:
            yield client
        finally:
            client.close()

    def _link(self, name: str, port: int) -> None:
        self.links[name] = stable_port() if self.plan.proxied else port
        if self.plan.proxied:
            self.toxics.add_proxy(name, self.links[name], port)

    def _link_redis(self, name: str) -> Mapping[str, str]:
        """Add the links of a service to Redis, and return the settings that lead there."""
        if not self.plan.sentinels:
            self._link(f"{name}-redis", self.ports["redis"])
            return {"REDIS_PORT": str(self.links[f"{name}-redis"])}
        links = [f"{name}-{sentinel}" for sentinel in SENTINELS]
        for link, sentinel in zip(links, SENTINELS):
            self._link(link, self.ports[sentinel])
        addresses = ",".join(f"127.0.0.1:{self.links[link]}" for link in links)
        return {"REDIS_SENTINELS": addresses, "REDIS_SENTINEL_PASSWORD": PASSWORD}

    def _add_service(self, name: str, settings: Mapping[str, str]) -> None:
        role = name.rpartition("-")[0]
        start = [sys.executable, "-m", "chaos.planted", self.planted, "--"] if self.planted else TWISTD
        environment = {
            **SETTINGS,
            **self._link_redis(name),
            **_SUITE,
            **self._addresses(),
            **({"REST_SERVER_TOKENS": str(self.passes.accepted)} if self.plan.tokens else {}),
            "REDIS_STREAMS": self.plan.beside,
            **self.plan.settings,
            **self.plan.each.get(name, {}),
            **settings,
        }
        if self.plan.clock:
            environment |= {**self.clock.environment, "PYTHONPATH": _path(self.clock.environment, environment)}
        if self.plan.files and role == "producer":
            start = ["prlimit", f"--nofile={self.plan.files}", "--", *start]
        piped = name in self.plan.piped
        self.processes[name] = Process(name, [*start, "-n", "eventsvc", role], self.directory, environment, piped)

    def _addresses(self) -> Mapping[str, str]:
        """Return the settings by which handlers find what they need."""
        addresses = {"database": ("DATABASE_PORT", "{}"), "receiver": ("WEBHOOK_URL", "http://127.0.0.1:{}/")}
        return {
            setting: address.format(self.links[link])
            for link, (setting, address) in addresses.items()
            if link in self.links
        }

    def await_ready(self, name: str) -> None:
        """Wait until a service that was just started has reached Redis once."""
        process = self.processes[name]
        wait_until(lambda: process.says("connected to Redis", 1 + len(process.statuses)), f"{name} is connected")

    def unready(self) -> Sequence[str]:
        """Return the services that report not to be ready."""
        self.check()
        return [
            name
            for name in (*self.producers, *self.consumers)
            if requests.get(f"http://127.0.0.1:{self.ports[name]}/health/ready", timeout=5).status_code != HTTPStatus.OK
        ]

    def check_link(self, name: str) -> None:
        """
        Check that Redis answers on the link of a service.

        @raise redis.RedisError: Redis does not answer.
        """
        with self.redis(None if self.plan.sentinels else self.links[f"{name}-redis"]) as client:
            client.ping()

    def start_load(self, load: Load, direct: bool = False) -> Process:
        """
        Start the load, and wait until some events are stored.

        @param direct: whether to bypass the proxies.
        """
        ports = [self.ports[name] if direct else self.links[f"client-{name}"] for name in self.producers]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        environment = self.processes["producer-1"].environment
        if self.plan.tokens:
            environment = {**environment, TOKEN_FILE: str(self.passes.used)}
        name = f"workload-{load.stream}" if load.stream else "workload"
        command = [sys.executable, "-m", "chaos.workload", msgspec.json.encode(load).decode(), *urls]
        workload = self.processes[name] = Process(name, command, self.directory, environment)
        workload.start()
        wait_until(lambda: workload.says(OK, 20), "the first events are stored")
        return workload

    def authorization(self) -> Mapping[str, str]:
        """Return the header with the clients' token of the moment, if they have one."""
        return {"Authorization": f"Bearer {self.passes.used.read_text()}"} if self.plan.tokens else {}

    def links_of(self, beginning: str) -> list[str]:
        """Return the names of the links with a prefix: C{producer-}, C{consumer-1} or C{client-}."""
        return [name for name in self.links if name.startswith(beginning)]

    def check(self) -> None:
        """
        Check that all processes run.

        @raise EndedByItself: a process ended unexpectedly.
        """
        for process in self.processes.values():
            process.check()

    def wait(self, seconds: float) -> None:
        """Wait, while checking the processes and recording entries."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            self.record()
            rest = end - time.monotonic()
            if rest <= 0:
                return
            time.sleep(min(rest, 0.1))

    def record(self) -> None:
        """Record new entries, if the plan asks for it."""
        if not self.plan.recorded:
            return
        with self.redis() as client:
            self.recorder.record(client)

    def figures(self) -> Mapping[str, float]:
        """Return what the services that run, and Redis, have counted; see L{read_figures}."""
        running = [name for name in (*self.producers, *self.consumers) if self.processes[name].running]
        with self.redis() as client:
            return read_figures([self.ports[name] for name in running], client)

    def drain(self) -> bool:
        """Wait until all entries are acknowledged, and return whether they were in time."""
        try:
            wait_until(self._is_drained, "all is acknowledged", DRAIN)
        except NotInTime as problem:
            self.note(str(problem))
            return False
        self.record()
        self.note("all is acknowledged")
        return True

    def _is_drained(self) -> bool:
        self.check()
        with self.redis() as client:
            return is_drained(client)


def _path(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    return os.pathsep.join([first["PYTHONPATH"], second["PYTHONPATH"]])
