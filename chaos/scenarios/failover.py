"""
Scenarios in which a Redis with replicas and Sentinels fails over, while the
replicas are behind, and in which one server returns to an earlier state.
"""

from __future__ import annotations

from typing import Final

from chaos.failovers import Minority, PrimaryCutOff, PrimaryKilled, PrimaryPaused, SteppedDown
from chaos.faults import All
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.setbacks import BackupRestored, PowerLost
from chaos.signs import Alarmed, Counted, Suffered
from chaos.workload import Load

_PRODUCERS: Final = ("producer-1", "producer-2")
_PLAN: Final = Plan(producers=2, handlers=["log", "log"], sentinels=True)
_MUST: Final = Expectations(in_order=False, take_over_within=1.0)
#: Nobody is left who could give back what Redis had lost.
_ALONE: Final = Expectations(in_order=False, least_each=20)
_RESTORED: Final = (Counted("eventsvc_restored", 10), Alarmed("restored", "producer"))
_ALWAYS: Final = ("--appendonly", "yes", "--appendfsync", "always")

FAILOVER: Final = (
    Scenario(
        name="failover-kill",
        what="The primary is killed, and a replica that lags replaces it.",
        faults=[PrimaryKilled()],
        plan=_PLAN,
        on=2,
        signs=[Suffered(1.0, 50), *_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-pause",
        what="The primary is paused and replaced; when it continues, it takes itself for the primary.",
        faults=[PrimaryPaused()],
        plan=_PLAN,
        on=2,
        signs=[Suffered(1.0, 50), *_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-partition",
        what="The primary is cut off and replaced, while a producer and a consumer use it.",
        faults=[PrimaryCutOff(beside=("producer-2", "consumer-2"))],
        plan=_PLAN,
        on=3,
        signs=[*_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-step-down",
        what="The Sentinels are told to replace the primary.",
        faults=[SteppedDown()],
        plan=_PLAN,
        on=2,
        signs=[*_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-old-primary-returns",
        what="The primary is killed and replaced, and returns as a primary until the Sentinels make it a replica.",
        faults=[PrimaryKilled(returns=True)],
        plan=_PLAN,
        on=2,
        signs=[Suffered(1.0, 50), *_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="sentinel-minority",
        what="Two of three Sentinels are away when the primary dies; later, one that was paused names an old primary.",
        faults=[Minority(), PrimaryPaused(outdated=True)],
        plan=_PLAN,
        pulses=2,
        on=2,
        off=1,
        signs=[Suffered(2.0, 50), *_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-twice",
        what="The primary is killed, and so is the one that replaces it.",
        faults=[All([PrimaryKilled(), PrimaryKilled()])],
        plan=_PLAN,
        on=2,
        signs=[Suffered(1.0, 50), *_RESTORED],
        expect=_MUST,
    ),
    Scenario(
        name="failover-at-random",
        what="The primary is replaced again and again, for all reasons at random.",
        faults=[
            PrimaryKilled(),
            PrimaryKilled(behind=0.0),
            PrimaryPaused(),
            PrimaryPaused(outdated=True),
            PrimaryCutOff(beside=("producer-1", "consumer-1")),
            PrimaryCutOff(beside=("producer-2",)),
            SteppedDown(),
            All([PrimaryKilled(), PrimaryKilled()]),
        ],
        plan=_PLAN,
        load=Load(clients=4),
        pulses=9,
        on=1,
        off=1,
        drawn=True,
        signs=[Counted("eventsvc_restored", 100), Alarmed("restored", "producer", 3)],
        expect=_MUST,
    ),
    # Producers that die at the same moment
    Scenario(
        name="replicas-and-producers-killed",
        what="With REDIS_DURABILITY=replicas, the primary and all producers are killed while the replicas lag.",
        faults=[PrimaryKilled(together=_PRODUCERS)],
        plan=Plan(
            producers=2,
            handlers=["log", "log"],
            sentinels=True,
            settings={"REDIS_DURABILITY": "replicas", "REDIS_MIN_REPLICAS": "2", "REDIS_WRITE_TIMEOUT": "2"},
        ),
        on=2,
        signs=[Suffered(0.3, 50)],
        expect=_ALONE,
    ),
    Scenario(
        name="disk-and-producers-killed",
        what="With REDIS_DURABILITY=disk, the power of Redis fails and all producers are killed.",
        faults=[PowerLost(together=_PRODUCERS)],
        plan=Plan(
            producers=2, handlers=["log", "log"], disk=True, redis=_ALWAYS, settings={"REDIS_DURABILITY": "disk"}
        ),
        on=1,
        signs=[Suffered(0.3, 50)],
        expect=_ALONE,
    ),
    # One server
    Scenario(
        name="power-lost-everysec",
        what="The power of Redis fails, which fsyncs once a second.",
        faults=[PowerLost()],
        plan=Plan(producers=2, handlers=["log", "log"], disk=True),
        pulses=3,
        on=1,
        off=2,
        signs=[Suffered(0.5, 50), *_RESTORED],
        expect=Expectations(in_order=False, all_ok=True),
    ),
    Scenario(
        name="power-lost-always",
        what="The power of Redis fails, which fsyncs always.",
        faults=[PowerLost()],
        plan=Plan(producers=2, handlers=["log", "log"], disk=True, redis=_ALWAYS),
        pulses=3,
        on=1,
        off=2,
        signs=[Suffered(0.5, 50)],
        expect=Expectations(in_order=False, all_ok=True),
    ),
    Scenario(
        name="backup-restored",
        what="Redis is stopped, and started with a copy of its data that is three seconds old.",
        faults=[BackupRestored()],
        plan=Plan(producers=2, handlers=["log", "log"]),
        on=1,
        signs=[Suffered(0.5, 50), *_RESTORED],
        expect=Expectations(in_order=False, all_ok=True),
    ),
)
