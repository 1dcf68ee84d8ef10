"""
What the services and Redis count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from chaos import GROUP, STREAM


def read_figures(ports: Iterable[int], client: Any) -> Mapping[str, float]:
    """
    Return the sums of the services' metrics since their last start, by name,
    and how often Redis has executed each command.

    @param ports: the port of each service.
    """
    sums: dict[str, float] = defaultdict(float)
    for port in ports:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        for figure, value in re.findall(r"^(\w+?)(?:_total)?(?:{[^}]*})? (\d\S*)$", text, re.MULTILINE):
            sums[figure] += float(value)
    for command, counts in client.info("commandstats").items():
        sums[f"redis_{command.removeprefix('cmdstat_')}"] = counts["calls"]
    return sums


def is_drained(client: Any) -> bool:
    """Return whether the group has read and acknowledged all entries."""
    newest = client.xinfo_stream(STREAM)["last-generated-id"]
    for group in client.xinfo_groups(STREAM):
        if group["name"] == GROUP.encode():
            return bool(group["last-delivered-id"] == newest and group["pending"] == 0)
    return False
