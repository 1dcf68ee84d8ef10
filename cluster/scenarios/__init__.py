"""
The scenarios of C{python -m cluster}, in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cluster.scenarios import (
    eviction,
    external,
    growth,
    install,
    password,
    primary,
    resize,
    robustness,
    rollback,
    rolling,
    scaling,
    secured,
    uninstall,
)
from cluster.stage import Scenario

ALL: Final[Sequence[Scenario]] = (
    install.SCENARIO,
    robustness.SCENARIO,
    rolling.SCENARIO,
    rollback.SCENARIO,
    rollback.REPLICATED_ONE,
    resize.SCENARIO,
    primary.SCENARIO,
    primary.KILLED,
    eviction.SCENARIO,
    eviction.AWAY,
    growth.SCENARIO,
    external.SCENARIO,
    password.SCENARIO,
    scaling.SCENARIO,
    secured.SCENARIO,
    uninstall.SCENARIO,
    eviction.DRAINED,
)
