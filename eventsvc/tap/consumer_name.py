"""
Makes a name for a consumer without one.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import sys


def take_name(stream: str, group: str) -> str:
    """
    Return a name that no other process on this machine has in the group.

    It is the name of the host and the first free number.  A process that is
    started again gets the number it had, if it is the only one missing, and
    so finds the entries it had in flight.  A number is free once its process has
    ended, in whatever way.

    # Note [Names on one machine]

    A number is held by an abstract Unix socket, which only one process can
    bind.  It needs no file, no directory and no right, and is gone with its
    process.  Pods that share the network of their node share its host name and
    its abstract sockets alike.  Where there are none (they are Linux's), a
    random number makes the name unique, but it does not last.
    """
    host = socket.gethostname()
    if sys.platform != "linux":
        return f"{host}-{secrets.token_hex(4)}"
    digest = hashlib.sha256("\0".join((host, stream, group)).encode()).hexdigest()
    number = 0
    while not _hold(f"\0eventsvc-consumer-{digest}-{number}"):
        number += 1
    return f"{host}-{number}"


def _hold(address: str) -> bool:
    """Bind a socket for as long as this process lives; return whether it was free."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(address)
    except OSError:
        holder.close()
        return False
    holder.detach()  # the descriptor stays open until the process ends
    return True
