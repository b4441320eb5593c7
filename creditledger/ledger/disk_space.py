"""Whether what failed was room on the disk. Source: specs/service.md §1."""

import errno
from typing import Final

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_CAUSES_MAX: Final = 8


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
