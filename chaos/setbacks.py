"""
Faults after which one Redis server has older data.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs

from chaos.deployment import Deployment
from chaos.failovers import killing
from chaos.faults import holding_up


@attrs.frozen
class PowerLost:
    """
    The power of the Redis server fails: it is killed, and what was not fsynced is lost.

    @ivar together: services that are killed at the same moment.
    """

    together: Sequence[str] = ()

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        assert deployment.power is not None, "the plan has no disk"
        with (
            deployment.rolling_back(),
            holding_up(deployment, "redis"),
            killing(deployment, "redis", self.together),
        ):
            deployment.note(deployment.power.fail())
            yield
            deployment.start_redis()


@attrs.frozen
class BackupRestored:
    """
    Redis is stopped, and started with a copy of its data.

    @ivar age: seconds between the copy and the stop.
    """

    age: float = 3.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        data, copy = deployment.directory / "redis", deployment.directory / "redis-backup"
        with deployment.rolling_back(), holding_up(deployment, "redis"):
            shutil.copytree(data, copy)
            deployment.note("the data of redis are copied")
            deployment.wait(self.age)
            deployment.processes["redis"].end(signal.SIGTERM)
            shutil.rmtree(data)
            copy.rename(data)
            deployment.note("redis is stopped, and has the copy")
            yield
            deployment.start_redis()
