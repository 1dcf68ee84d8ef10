"""
Evaluates expressions with Prometheus' own C{promtool}, on figures that processes have exported.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from tests.support.helm import GO_ENVIRONMENT, find_command

#: The samples between the first and the second look at a process, four a minute.
SAMPLES: Final = 40
#: When expressions are evaluated.
_END: Final = f"{SAMPLES // 4}m"

_TOLD: Final = re.compile(r'expr: "(.*)", time: \w+,?\s*exp: ?(\S*)\s*got: ?(.*)')
_VALUE: Final = re.compile(r"\{.*?\} (\S+?)(?:,|$)")

#: The figures of a process: values by name and labels.
Exported = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Exported:
    """Return the figures in an answer of C{/metrics}."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def record(first: Exported, second: Exported, **labels: str) -> dict[str, str]:
    """
    Return the series of a process in the notation of promtool, from one look to the other.

    @param labels: what Prometheus adds when it scrapes.
    """
    series = {}
    for (name, own), value in second.items():
        before = first.get((name, own), 0.0)
        pairs = ",".join(f'{label}="{text}"' for label, text in {**labels, **dict(own)}.items())
        series[f"{name}{{{pairs}}}"] = f"{before:f}{(value - before) / SAMPLES:+f}x{SAMPLES}"
    return series


def evaluate(expressions: Sequence[str], series: Mapping[str, str], directory: Path) -> dict[str, list[float]]:
    """Return the values of each expression at the end; those that are no number are left out."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        # Nothing is expected, so promtool tells all that there is.
        "promql_expr_test": [{"expr": each, "eval_time": _END, "exp_samples": []} for each in expressions],
    }
    (directory / "test.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    command = [find_command("promtool"), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, env=GO_ENVIRONMENT)
    told = done.stdout + done.stderr
    found: dict[str, list[float]] = {each: [] for each in expressions}
    for expression, _, got in _TOLD.findall(told):
        values = [float(value) for value in _VALUE.findall(got)]
        found[expression.replace('\\"', '"')] = [value for value in values if not math.isnan(value)]
    assert any(found.values()) == bool(done.returncode), told
    return found
