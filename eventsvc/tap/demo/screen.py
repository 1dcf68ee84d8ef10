"""
The screen of a demo: a line of figures and the last events, below what is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, TextIO

import attrs
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eventsvc.dashboard import words
from eventsvc.tap.demo.account import Account

#: Seconds between two pictures, and over how many of them a rate is taken.
_EVERY: Final = 0.25
_WINDOW: Final = 8
#: Events that are shown.
_EVENTS: Final = 6


@attrs.define(eq=False, slots=False)
class Screen(Service):
    """
    Draws on a terminal while the demo runs.

    What others have to say is written above; they may call L{say} in any thread.

    @ivar account: what is counted; C{None} until the roles are there.
    """

    console: Console
    clock: IReactorTime
    account: Account | None = attrs.field(default=None, init=False)
    _link: Callable[[], str] = attrs.field(default=lambda: "", init=False)
    _live: Live = attrs.field(init=False)
    _events: deque[str] = attrs.field(factory=lambda: deque(maxlen=_EVENTS), init=False)
    _counts: deque[tuple[float, int, int]] = attrs.field(factory=lambda: deque(maxlen=_WINDOW), init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _handled_one: bool = attrs.field(default=False, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _lock: RLock = attrs.field(factory=RLock, init=False)
    #: columns of each line of the last picture, and those that the terminal had
    _drawn: list[int] = attrs.field(factory=list, init=False)
    _width: int = attrs.field(default=0, init=False)

    @_live.default
    def _make_live(self) -> Live:
        return Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def startService(self) -> None:
        super().startService()
        self._began = self.clock.seconds()
        self._live.start()
        self._tick()

    def stopService(self) -> None:
        """Draw for the last time, and write the account below."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.account is None:  # it ends before there was anything to see
            self._live.update(Text(), refresh=True)
            self._live.stop()
            return
        self._link = lambda: ""  # it is closed, in order
        self._draw()
        self._live.stop()
        self.say(self.account.summary())

    def show(self, account: Account, link: Callable[[], str]) -> None:
        """
        Tell of an account.

        @param link: returns why Redis is not connected; empty if it is.
        """
        self.account, self._link = account, link

    def say(self, text: str) -> None:
        """Write lines above the picture."""
        with self._lock:
            self._follow_width()
            self.console.print(Text.from_ansi(text), soft_wrap=True)

    def take_log(self, data: memoryview) -> int:
        """Write lines of a log; as C{os.write}."""
        self.say(bytes(data).decode("utf-8", "replace").removesuffix("\n"))
        return len(data)

    def take_events(self, data: memoryview) -> int:
        """Show lines of events; as C{os.write}."""
        self._events.extend(bytes(data).decode("utf-8", "replace").splitlines())
        return len(data)

    def _tick(self) -> None:
        self._timer = self.clock.callLater(_EVERY, self._tick)
        self._draw()

    def _draw(self) -> None:
        account = self.account
        if account is not None:
            self._counts.append((self.clock.seconds(), account.accepted, account.consumed.handled))
            if account.consumed.handled and not self._handled_one:
                self._handled_one = True
                self.say(f"First event handled {self.clock.seconds() - self._began:.2f} s after start ✓")
        lines = [self._figures(), *(_cut(Text.from_ansi(line)) for line in list(self._events))]
        # The last line is free: the terminal writes ^C where the cursor is, and would begin another after a full one.
        with self._lock:
            self._follow_width()
            self._live.update(Group(*lines, Text()), refresh=True)
            self._drawn = [min(line.cell_len, self._width) for line in lines[: self.console.height - 1]]

    def _follow_width(self) -> None:
        """
        Erase the rows that the last picture has more of, because the terminal became narrower and has wrapped it.

        C{rich} moves up by the rows that it wrote, so the first ones would stay above as if they were news.
        """
        width = self.console.width
        more = sum((columns - 1) // width for columns in self._drawn if columns > width)
        if more:
            self.console.control(Control(*[(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * more))
        self._drawn, self._width = [min(columns, width) for columns in self._drawn], width

    def _figures(self) -> Text:
        problem = self._link()
        redis = Text(f"✗ redis: {problem}", "bold red") if problem else Text("● redis connected", "green")
        if self.account is None:
            return Text("starting", "dim")
        (then, came, went), (now, accepted, handled) = self._counts[0], self._counts[-1]
        passed = max(now - then, _EVERY)
        dead = self.account.last.dead
        return _cut(Text.assemble(
            ("in ", "dim"), f"{accepted:,}", (f" {words.rate(round((accepted - came) / passed, 1))}/s", "cyan"),
            ("  out ", "dim"), f"{handled:,}", (f" {words.rate(round((handled - went) / passed, 1))}/s", "cyan"),
            ("  behind ", "dim"), self.account.describe_behind(),
            ("  dead ", "dim"), (words.count(dead), "red" if dead else ""), "  ", redis,
        ))  # fmt: skip


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def make_console(out: TextIO | None, coloured: bool, **more: Any) -> Console:
    """Return a console that draws on an output, be it a terminal or not."""
    system: Any = "standard" if coloured else None
    return Console(
        file=out, force_terminal=True, color_system=system, highlight=False, markup=False, emoji=False, **more
    )
