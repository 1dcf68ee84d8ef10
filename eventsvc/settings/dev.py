"""
The settings of the role C{dev}.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import SWITCH, TEXT
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class DevSettings:
    """The settings of C{dev} alone."""

    data_dir: str = setting(
        "DEV_DATA_DIR",
        TEXT,
        "",
        "Directory where the server keeps its data; default: it keeps them in memory, and they are gone at the end.",
        flag="data-dir",
    )
    chaos: bool = setting(
        "DEV_CHAOS", SWITCH, False, "Break the link to Redis every few seconds, to see it heal.", flag="chaos"
    )
    simulator: bool = setting(
        "DEV_SIMULATOR", SWITCH, True, "Post events, so that there is something to see.", flag="simulator"
    )
