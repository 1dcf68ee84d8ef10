"""
The scenarios: the faults, their duration, the load, the signs, and the promises
that must hold.
"""

from __future__ import annotations

from typing import Final

from chaos.scenario import Scenario
from chaos.scenarios.failover import FAILOVER
from chaos.scenarios.gateway import GATEWAY
from chaos.scenarios.handlers import HANDLERS
from chaos.scenarios.links import LINKS
from chaos.scenarios.server import SERVER
from chaos.scenarios.services import SERVICES
from chaos.scenarios.surroundings import SURROUNDINGS

SCENARIOS: Final[tuple[Scenario, ...]] = (*LINKS, *SERVER, *SERVICES, *HANDLERS, *SURROUNDINGS, *GATEWAY, *FAILOVER)
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
