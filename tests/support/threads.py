"""
A server of the standard library in a thread, for as long as a test needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer


@contextmanager
def serving_in_thread(server: BaseServer, released: threading.Event | None = None) -> Iterator[None]:
    """
    Serve until the end of the block.

    @param released: set at the end, if given, so that no request waits any longer.
    """
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield
    finally:
        if released is not None:
            released.set()
        server.shutdown()
        server.server_close()
