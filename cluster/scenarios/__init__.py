"""
The scenarios of C{python -m cluster}, in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cluster.scenarios import eviction, install, primary, resize, robustness, rollback, rolling, secured, uninstall
from cluster.stage import Scenario

ALL: Final[Sequence[Scenario]] = (
    install.SCENARIO,
    robustness.SCENARIO,
    rolling.SCENARIO,
    rollback.SCENARIO,
    resize.SCENARIO,
    primary.SCENARIO,
    primary.KILLED,
    eviction.SCENARIO,
    eviction.AWAY,
    eviction.DRAINED,
    secured.SCENARIO,
    uninstall.SCENARIO,
)
