"""
Ends a process in order when a task of asyncio asks for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.reflect import safe_str


def outlive_exits(reactor: Any, fail: Callable[[str], object]) -> None:
    """
    Keep asyncio's loop running when a task raises C{SystemExit} or C{KeyboardInterrupt}, or stops it.

    asyncio raises these to whoever awaits the task, and out of the loop too: the
    reactor would stand still with its services, and the process would wait for
    its threads for ever.

    @param reactor: one that is not asyncio's is left alone.
    @param fail: called with a sentence, to end the process.
    """
    if not hasattr(reactor, "_asyncioEventloop"):
        return
    loop = reactor._asyncioEventloop
    run_loop = loop.run_forever

    def run_forever() -> None:
        while True:
            try:
                run_loop()
            except (SystemExit, KeyboardInterrupt) as error:
                fail(f"a task raised {type(error).__name__}: {safe_str(error)}: the process ends")
            if not reactor.running:
                return

    loop.run_forever = run_forever
