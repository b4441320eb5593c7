"""Whether what failed was room on the disk. Source: specs/service.md §1."""

import errno
import os
from pathlib import Path
from typing import Final

from creditledger.errors import StorageError

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_CAUSES_MAX: Final = 8


ROOM_MIN: Final = 4 * 1024 * 1024


def has_room(path: Path) -> bool:
    """Whether the file system at ``path`` has as much left as a group of records may need."""
    try:
        found = os.statvfs(path)
    except OSError:
        return True
    return found.f_bavail * found.f_frsize >= ROOM_MIN


def no_room(error: StorageError) -> StorageError:
    """``error`` as one that `is_out_of_space` tells."""
    told = StorageError("there is no room on the disk", expected="room", found=str(error))
    told.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return told


def is_out_of_space(error: BaseException) -> bool:
    """Whether ``error`` comes of a disk, quota or store that is full: with room it may not come again."""
    import lmdb

    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if cause is None:
            return False
        if isinstance(cause, lmdb.DiskError | lmdb.MapFullError):
            return True
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return True
        cause = cause.__cause__
    return False
