"""A network witness's directory: its name, keys, logs and state. Source: specs/log.md §9."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from creditledger.errors import BusyError, ConflictError, IntegrityError, KeyFormatError
from creditledger.ledger.directory import (
    WriterLock,
    disk_errors,
    is_there,
    new_directory,
    read_file,
    replace_file,
    write_new,
)
from creditledger.ledger.keyring import KeyFile, KeyRole, load_key, save_key
from creditledger.service.witness_state import LmdbWitnessState
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.log_list import HEADER, LOG_LIST_SIZE_MAX, WatchedLog, parse_log_list
from creditledger.transparency.note import VerifierKey, require_key_name
from creditledger.transparency.witness import Witness

KEY: Final = "witness.key"
ML_DSA_KEY: Final = "witness-ml-dsa-44.key"
NAME: Final = "name"
LOGS: Final = "logs"
STATE: Final = "state"
LOCK: Final = "lock"


class WitnessDirectory:
    """One witness, open in one process only."""

    def __init__(self, path: Path) -> None:
        """Open what `create` made. Raises BusyError while another process has it open, StorageError,
        KeyFormatError, MalformedRecordError for its list of logs."""
        self._path = path
        self._lock = _locked(path)
        try:
            self.name = _read_name(path)
            self.signer = CosignatureSigner(
                self.name, load_key(path / KEY, roles=(KeyRole.WITNESS,)).ed25519()
            )
            self.second = self._load_second()
            self.logs = parse_log_list(self._log_list())
            self.state = LmdbWitnessState(path / STATE)
        except BaseException:
            self._lock.close()
            raise

    @classmethod
    def create(cls, path: Path, *, name: str, random_bytes: Callable[[int], bytes]) -> None:
        """Make a witness with a fresh key that watches no log, whole or not at all.

        Raises KeyFormatError for a name that no key may have; StorageError, also if ``path`` is taken."""
        require_key_name(name)
        with new_directory(path) as building:
            save_key(building / KEY, KeyFile.new(KeyRole.WITNESS, random_bytes=random_bytes))
            write_new(building / NAME, name.encode() + b"\n")
            write_new(building / LOGS, HEADER.encode() + b"\n")
            write_new(building / LOCK, b"")
            LmdbWitnessState.create(building / STATE)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a witness at ``path``, be it a damaged one. Raises StorageError."""
        return is_there(path / KEY) or is_there(path / NAME)

    def require_name(self, name: str) -> None:
        """Raises ConflictError if the witness was made under another name."""
        if name != self.name:
            raise ConflictError("the witness has another name", expected=self.name, found=ascii(name))

    def witness(self) -> Witness:
        """The rules over this directory's keys and state."""
        return Witness(self.signer, self.state, second=self.second)

    def watch(self, vkeys: Iterable[VerifierKey]) -> None:
        """Add logs by their keys, durably; those that are listed already stay as they are.

        Raises MalformedRecordError for another kind of key, StorageError."""
        listed = {log.vkey for log in self.logs}
        new = [WatchedLog(vkey=vkey, origin=vkey.name) for vkey in dict.fromkeys(vkeys) if vkey not in listed]
        if not new:
            return
        content = self._log_list()
        content += b"" if content.endswith(b"\n") else b"\n"
        content += b"".join(b"\n" + log.encode() for log in new)
        logs = parse_log_list(content)
        replace_file(self._path / LOGS, content)
        self.logs = logs

    def add_ml_dsa(self, *, random_bytes: Callable[[int], bytes]) -> None:
        """Give the witness a second key, if it has none. Raises StorageError."""
        if self.second is None:
            key = KeyFile.new(KeyRole.COSIGNER, random_bytes=random_bytes)
            # Replaced into place, not written there: a crash must not leave half a key.
            replace_file(self._path / ML_DSA_KEY, key.encode(), mode=0o600)
            self.second = self._load_second()

    def close(self) -> None:
        """Let another process have it; a second call does nothing."""
        self.state.close()
        self._lock.close()

    def _load_second(self) -> MlDsaCosignatureSigner | None:
        path = self._path / ML_DSA_KEY
        if not is_there(path):
            return None
        return load_key(path, roles=(KeyRole.COSIGNER,)).ml_dsa(self.name)

    def _log_list(self) -> bytes:
        return read_file(self._path / LOGS, what="list of logs", most=LOG_LIST_SIZE_MAX)


def _locked(path: Path) -> WriterLock:
    with disk_errors(path):
        (path / LOCK).stat()
    try:
        return WriterLock(path / LOCK)
    except BusyError as error:
        raise BusyError("another process runs this witness", found=error.found) from error


def _read_name(path: Path) -> str:
    content = read_file(path / NAME, what="name of the witness", most=1_024)
    try:
        name = content.removesuffix(b"\n").decode()
        return require_key_name(name)
    except (UnicodeDecodeError, KeyFormatError) as error:
        raise IntegrityError("the witness's name cannot be read", found=ascii(content[:60])) from error
