"""
Runs wrk, the client of all HTTP benchmarks, and parses its output.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import attrs

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class BadRun(Exception):
    """The run had errors, so its figures are not valid."""


@attrs.frozen
class Run:
    """
    The result of a run of wrk.

    @ivar p50: median latency in seconds.
    @ivar p99: 99th percentile of the latency in seconds.
    """

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def run_wrk(url: str, body: bytes, connections: int, seconds: float) -> Run:
    """
    Post a body repeatedly.

    @param seconds: duration, rounded to whole seconds.
    @raise BadRun: an answer was not 2xx, or there was none.
    """
    with tempfile.TemporaryDirectory() as directory:
        payload, script = Path(directory, "body"), Path(directory, "post.lua")
        payload.write_bytes(body)
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f'wrk.body = io.open("{payload}", "rb"):read("*a")\n'
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "--latency"]
        text = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=True).stdout
    problem = re.search(r"Non-2xx.*|Socket errors: (?!connect 0, read 0, write 0, timeout 0).*", text)
    total = re.search(r"(\d+) requests in ([\d.]+[a-z]+)", text)
    if problem or total is None or total[1] == "0":
        raise BadRun(f"{url}: {problem[0] if problem else text}")
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", text, re.M))
    return Run(int(total[1]), _seconds(total[2]), _seconds(latency["50"]), _seconds(latency["99"]))
