"""
A directory that loses what was not fsynced when its power fails.

C{python -m chaos.disk DIRECTORY} serves it until the process ends.  Creating,
renaming and removing files is lasting at once, as in a journal; their content is
lasting once C{fsync} has returned.
"""

from __future__ import annotations

import errno
import stat
import sys
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import attrs

#: Touching this file makes the power fail.
POWER: Final = "power"
#: The output once the directory is there.
MOUNTED: Final = "mounted"


@attrs.define(eq=False)
class File:
    """
    A file.

    @ivar content: what readers see.
    @ivar lasting: what is left if the power fails.
    @ivar changes: offsets and bytes that were written since the last fsync; C{None} for a file that was cut there.
    """

    content: bytearray = attrs.field(factory=bytearray)
    lasting: bytearray = attrs.field(factory=bytearray)
    changes: list[tuple[int, bytes | None]] = attrs.field(factory=list)

    def change(self, offset: int, data: bytes | None) -> None:
        """Write bytes at an offset, or cut the file there."""
        self.changes.append((offset, data))
        _apply(self.content, offset, data)

    def sync(self) -> None:
        """Make all changes lasting."""
        for offset, data in self.changes:
            _apply(self.lasting, offset, data)
        self.changes.clear()

    def lose(self) -> int:
        """Lose the changes that are not lasting, and return the number of bytes that had been written."""
        lost = sum(len(data or b"") for _, data in self.changes)
        self.changes.clear()
        self.content[:] = self.lasting
        return lost


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


class Disk:
    """The operations of a file system, called by the kernel one at a time; see C{mfusepy.Operations}."""

    use_ns = True

    def __init__(self) -> None:
        self.files = {f"/{POWER}": File()}
        self.directories = {"/"}
        self.open_files: dict[int, File] = {}
        self.handles = count(1)

    def init(self, path: str) -> None:
        print(MOUNTED, flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path in self.directories:
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        file = self._find(path, fh)
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": len(file.content)}

    def readdir(self, path: str, fh: int) -> Sequence[str]:
        inside = path.rstrip("/") + "/"
        paths = [*self.files, *self.directories - {"/"}]
        names = [each.removeprefix(inside) for each in paths if each.startswith(inside)]
        return [".", "..", *(name for name in names if "/" not in name)]

    def mkdir(self, path: str, mode: int) -> None:
        self.directories.add(path)

    def rmdir(self, path: str) -> None:
        self.directories.discard(path)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self.files[path] = File()
        return self.open(path, 0)

    def open(self, path: str, flags: int) -> int:
        handle = next(self.handles)
        self.open_files[handle] = self._find(path)
        return handle

    def release(self, path: str, fh: int) -> int:
        self.open_files.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.open_files[fh].content[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.open_files[fh].change(offset, bytes(data))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self._find(path, fh).change(length, None)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self.open_files[fh].sync()
        return 0

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def unlink(self, path: str) -> None:
        self.files.pop(path, None)

    def chmod(self, path: str, mode: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        if path == f"/{POWER}":
            lost = sum(file.lose() for file in self.files.values())
            print(f"the power failed: {lost} bytes that were written are lost", flush=True)
        return 0

    def _find(self, path: str, fh: int | None = None) -> File:
        file = self.open_files.get(fh) if fh else self.files.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, path)
        return file


if __name__ == "__main__":
    import mfusepy  # may be missing, or lack its library

    mfusepy.FUSE(Disk(), sys.argv[1], foreground=True, nothreads=True, attr_timeout=0, entry_timeout=0)
