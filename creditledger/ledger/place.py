"""Where a reader of a log goes on: one index, kept between runs. Source: specs/ledger.md §14."""

from pathlib import Path
from typing import Final

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.directory import is_there, read_file, replace_file
from creditledger.transparency.checkpoint import parse_decimal

_SIZE_MAX: Final = 20


class Place:
    """The file that holds it: a decimal and LF."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def index(self) -> int:
        """0 before anything was kept. Raises StorageError, also for a file that holds no index."""
        if not is_there(self._path):
            return 0
        found = read_file(self._path, what="place in the log", most=_SIZE_MAX)
        try:
            return parse_decimal(found.removesuffix(b"\n"))
        except MalformedRecordError as error:
            raise StorageError(f"the place in the log is not readable: {self._path}"[-400:]) from error

    def keep(self, index: int) -> None:
        """Go on from ``index`` next time, durably. Raises StorageError."""
        replace_file(self._path, b"%d\n" % index)
