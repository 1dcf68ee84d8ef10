"""
Publishes the metrics of a process in the text format of Prometheus.

Nothing is counted here.  The parts of a process keep plain numbers, and a
L{Figure} says how to read one, so a metric costs nothing until it is scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Literal

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from eventsvc.histogram import Histogram

#: The value of a figure; C{None} if it is not known at present.
Reading = float | Histogram | Mapping[Any, float | Histogram] | None

_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


@attrs.frozen
class Figure:
    """
    One metric.

    @ivar name: the name without the C{_total} that a counter gets.
    @ivar read: returns the present number, or one for each value of C{label}.
    @ivar label: the name of the label, or of several.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    read: Callable[[], Reading]
    label: str | tuple[str, ...] = ()


class Metrics(Collector):
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._figures: list[Figure] = []
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, figures: list[Figure]) -> None:
        """Publish more figures; those with the same name differ in their label."""
        self._figures += figures

    def describe(self) -> list[Metric]:
        """Return nothing, because the figures are not known yet when the registry calls this."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read all figures."""
        families: dict[str, Any] = {}
        for figure in self._figures:
            if figure.name not in families:
                labels = [figure.label] if isinstance(figure.label, str) else figure.label
                families[figure.name] = _FAMILIES[figure.kind](figure.name, figure.help, labels=labels)
            _add(families[figure.name], figure.read())
        yield from families.values()

    def text(self) -> bytes:
        """Return all figures as they are now, in version 0.0.4 of the text format."""
        return generate_latest(self._registry)


def _add(family: Any, reading: Reading) -> None:
    match reading:
        case None:
            pass
        case Mapping():
            for value, number in reading.items():
                _add_sample(family, (value,) if isinstance(value, str) else value, number)
        case _:
            _add_sample(family, (), reading)


def _add_sample(family: Any, labels: Sequence[str], number: float | Histogram) -> None:
    if isinstance(number, Histogram):
        bounds = [*map(str, map(float, number.bounds)), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(number.counts))), number.total)
    else:
        family.add_metric(labels, number)
