"""
Makes a name for a consumer whose settings give none.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import sys


def take_name(stream: str, group: str) -> str:
    """
    Return a name that no other process on this machine has in the group.

    The name is the host name and the first free number.  A restarted process
    gets its old number back if no lower one is free, and so finds the entries
    that it had in flight.  A number is free once its process has ended, however
    it ended.

    # Note [Names on one machine]

    A number is held by an abstract Unix socket, which only one process can
    bind.  It needs no file, directory or permission, and disappears with its
    process.  Pods that share the network of their node share both its host name
    and its abstract sockets.  Only Linux has abstract sockets.  Elsewhere a
    random number makes the name unique, but a restart changes it.
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
