"""Measures what a simulator does: latency, thresholds, the file of the run, and what became of the events."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eventsvc import __version__
from eventsvc.event import format_timestamp
from eventsvc.outcome import Outcome
from eventsvc.redis.progress import StreamProgress
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.simulator.follower import CannotFollow, Follower
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.ledger import Ledger
from eventsvc.simulator.recorder import Recorder
from eventsvc.simulator.saved_run import Followed, Run, encode_run
from eventsvc.simulator.service import Simulator
from eventsvc.simulator.summary import describe_followed, has_held, judge, summarize
from eventsvc.simulator.thresholds import show_milliseconds
from eventsvc.tap.parts.connection import make_connection

#: The exit code of a run that did not meet its thresholds, as of k6.
NOT_MET: Final = 99


@attrs.define(eq=False, kw_only=True)
class Measuring:
    """
    The measures of a run.

    @ivar seed: of the simulator.
    @ivar wall_clock: returns nanoseconds since 1970.
    @ivar fail: ends the process with 1, for a reason.
    @ivar end_with: sets the exit code of the process.
    @ivar show: writes the summary for a person; C{None} if there is none.
    """

    simulator: Simulator
    settings: SimulatorSettings
    target: str
    seed: int
    wall_clock: Callable[[], int]
    fail: Callable[[str], None]
    end_with: Callable[[int], None]
    show: Callable[[str], object] | None
    recorder: Recorder = attrs.field(factory=lambda: Recorder(0.0), init=False)
    handled_after: Latencies = attrs.field(factory=Latencies, init=False)
    follower: Follower | None = attrs.field(default=None, init=False)
    _began: int = attrs.field(default=0, init=False)
    _log = Logger()

    def attach(self) -> None:
        """Measure the simulator."""
        self.simulator.observers.append(self.recorder.record)
        self.simulator.begin = self._begin
        self.simulator.describe = self._describe
        self.simulator.concluded = self._conclude
        if self.follower is not None:
            self.simulator.observers.append(self.follower.observe)
            self.simulator.settle = self.follower.settle
            self.simulator.finish = self.follower.finish

    async def _begin(self) -> None:
        if self.follower is not None:
            try:
                await self.follower.begin()
            except CannotFollow as why:
                self.fail(f"--follow: {why}")
                await Deferred()  # until the process stops
        self.recorder.start, self._began = self.simulator.clock.seconds(), self.wall_clock()

    def _describe(self) -> tuple[str, dict[str, object]]:
        latest = self.recorder.latest()
        values = {f"p{percent}": latest.percentile(percent) for percent in (50, 95, 99)} | {"max": latest.most}
        words = "".join(f", {name} {show_milliseconds(value)}" for name, value in values.items())
        details: dict[str, object] = {"latency": values}
        if self.follower is not None:
            ledger = self.follower.ledger
            words += f", {ledger.stored} seen in the stream, {ledger.handled} handled"
            details |= {"stored": ledger.stored, "handled": ledger.handled, "set_aside": ledger.set_aside}
        return words, details

    def _conclude(self) -> None:
        """Judge, save and show the run."""
        if self.simulator.began is None:
            return
        run = self.make_run()
        if not has_held(run):
            self.end_with(NOT_MET)
        for verdict in run.thresholds:
            tell = self._log.info if verdict.held else self._log.error
            held = "met" if verdict.held else "not met"
            tell("threshold {threshold} {held}: {shown}", threshold=verdict.threshold, held=held, shown=verdict.shown)
        if run.followed is not None:
            self._log.info("of the events answered 200: {words}", words=describe_followed(run.followed))
        saved = self.settings.save if self.settings.save and self._save(run) else ""
        if self.show is not None:
            self.show(f"\n{summarize(run, saved)}\n")

    def _save(self, run: Run) -> bool:
        try:
            Path(self.settings.save).write_bytes(encode_run(run))
        except OSError as error:
            self._log.error("cannot save the run in {path}: {error}", path=self.settings.save, error=error.strerror)
            self.end_with(1)
            return False
        return True

    def make_run(self) -> Run:
        """Return the run as it is now."""
        simulator, recorder, settings = self.simulator, self.recorder, self.settings
        tally = simulator.tally
        ended = simulator.clock.seconds() if simulator.ended is None else simulator.ended
        run = Run(
            version=__version__,
            target=self.target,
            settings={
                "rate": settings.rate,
                "arrival": settings.pattern.lower(),
                "batch": settings.batch,
                "form": simulator.events.form.lower(),
                "size": "-".join(map(str, dict.fromkeys(simulator.events.sizes))),
                "duration": settings.duration,
                "count": settings.count,
                "seed": self.seed,
            },
            began=format_timestamp(self._began),
            seconds=ended - (simulator.began or ended),
            sent=tally.sent,
            requests=recorder.requests,
            dropped=tally.dropped,
            ok=tally.outcomes[Outcome.OK],
            refused=tally.outcomes[Outcome.REFUSED],
            unknown=tally.outcomes[Outcome.UNKNOWN],
            percentiles={
                **{f"p{percent:g}": recorder.latency.percentile(percent) for percent in (50, 90, 95, 99, 99.9)},
                "max": recorder.latency.most,
            },
            latency=recorder.latency.encode(),
            service=recorder.service.encode(),
            step=recorder.step,
            intervals=recorder.intervals(),
            problems=dict(tally.reasons.most_common()),
            followed=self._followed(),
        )
        return msgspec.structs.replace(run, thresholds=judge(run, settings.thresholds))

    def _followed(self) -> Followed | None:
        if self.follower is None:
            return None
        ledger = self.follower.ledger
        is_lost = self.follower.is_sure and not ledger.trimmed
        return Followed(
            accepted=ledger.accepted,
            stored=ledger.stored,
            handled=ledger.handled,
            set_aside=ledger.set_aside,
            lost=ledger.unseen if is_lost else 0,
            unseen=0 if is_lost else ledger.unseen,
            handled_after=self.handled_after.encode(),
        )


def add_measuring(
    process: MultiService, reactor: Any, measuring: Measuring, follow: tuple[RedisSettings, str, str] | None
) -> None:
    """
    Put the measures of a run into a process; call it before the simulator is put there.

    @param follow: the settings of Redis, the stream and the group; C{None} to follow no events.
    @raise InvalidSettings: the run cannot be saved, or the file of CA certificates is invalid.
    """
    _check_path(measuring.settings.save)
    if follow is not None:
        redis, stream, group = follow
        connection = make_connection(reactor, redis, lasting=False)
        connection.setServiceParent(process)
        ledger = Ledger(measuring.handled_after.record)
        measuring.follower = Follower(StreamProgress(connection, stream, group), ledger, reactor)
        measuring.follower.setServiceParent(process)
    measuring.attach()


def show_on_terminal() -> Callable[[str], object] | None:
    """Return what writes to the terminal; C{None} if standard error is none."""
    stream = sys.__stderr__  # sys.stderr is redirected into the log
    return stream.write if stream is not None and stream.isatty() else None


def _check_path(path: str) -> None:
    """
    Check before the run that its file can be written after it.

    @raise InvalidSettings: it cannot.
    """
    if not path:
        return
    try:
        with open(path, "ab"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise InvalidSettings(f"SIMULATOR_SAVE={path!r}: expected a file that can be written ({reason})") from None
