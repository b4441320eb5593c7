"""Storage check: whether every byte kept is the one that was logged. Source: specs/ledger.md §10.

The check runs in a process of its own: a damaged LMDB file can crash whoever reads it."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from creditledger.credits.fold import FoldContext, TransparencyVerifier, apply_entry
from creditledger.credits.state import MemoryState, StateView
from creditledger.errors import CreditLedgerError, IntegrityError, RollbackError, StorageError
from creditledger.ledger.directory import BUILDING, LedgerDirectory, disk_errors, read_file
from creditledger.ledger.failed_ids import FAILED
from creditledger.ledger.head import HeadFile, require_not_rolled_back
from creditledger.ledger.local_witness import WitnessFile
from creditledger.ledger.node_rows import NODE, row_count, row_hashes, row_key
from creditledger.ledger.operator_keys import OperatorAt, operator_at
from creditledger.ledger.publish import CHECKPOINT, published_files
from creditledger.ledger.store_place import database_of, open_store
from creditledger.ledger.stored_log import (
    BESIDE,
    BODIES,
    ENTRY,
    LOG,
    STATE,
    StoredLog,
    body_names,
    state_of,
)
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.merkle import HASH_SIZE, append_nodes
from creditledger.transparency.tile import TILE_WIDTH, encode_entry_bundle, parse_tile_path, tile_hashes
from creditledger.transparency.trust_policy import TrustPolicy

_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckReport:
    """What the check found."""

    entries: int
    """Entries that are whole; 0 unless all are."""
    error: CreditLedgerError | None
    """The first thing that is not as it was written; it names the key or file."""

    @property
    def ok(self) -> bool:
        """Whether everything is whole."""
        return self.error is None

    @property
    def problem(self) -> str:
        """The error in words; empty if there is none."""
        return "" if self.error is None else str(self.error)


def fsck(path: str | Path) -> FsckReport:
    """Check a ledger's directory while nobody writes it. Changes nothing.

    Raises StorageError if there is no ledger or the disk fails."""
    if not LedgerDirectory(Path(path)).store.exists():
        raise StorageError("there is no ledger here", expected="a ledger's directory", found=str(path)[-100:])
    child = subprocess.run(
        [sys.executable, "-m", "creditledger.ledger.fsck", os.fspath(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if child.returncode < 0:
        error = IntegrityError(
            "the store is damaged: reading it ends the process",
            expected="a readable store",
            found=f"signal {-child.returncode}",
        )
        return FsckReport(entries=0, error=error)
    return _report(child.stdout, child.stderr)


def check(path: Path) -> int:
    """Check in this process; the number of entries. Raises for the first fault: see `fsck`."""
    directory = LedgerDirectory(path)
    if database_of(directory.store) is None:
        _check_pages(directory.store)
    store = open_store(directory.store, read_only=True)
    try:
        with store.read() as view:
            log = StoredLog(view)
            _check_keys(view, log)
            _check_tree(log)
            genesis = _check_replay(view, log)
            _check_head(directory, log, genesis, operator_at(state_of(view)))
            _check_public(directory, log, operator_at(state_of(view)))
            _check_sealed(directory)
            return log.size
    finally:
        store.close()


def _check_pages(store: Path) -> None:
    """LMDB's pages are sound, read without LMDB: damage is named here instead of ending the process."""
    try:
        from lmdb.verify import VerifyError, verify
    except ImportError:
        # Versions below 3 have no such check; damage that ends the process is found by the parent.
        return
    try:
        with disk_errors(store):
            problems: list[str] = verify(store)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        problems = [str(error)]
    if problems:
        raise IntegrityError(f"the store is damaged: {problems[0]}", found=f"{len(problems)} problems")


def _check_keys(view: StateView, log: StoredLog) -> None:
    """Every row is found by its key, of a known kind, with its checksum; the log's size gives how many."""
    counts = {ENTRY: 0, NODE: 0, BODIES: 0, STATE: 0, LOG: 0, FAILED: 0, BESIDE: 0}
    for key, value in view.scan(b""):
        if view.get(key) != value:
            # A damaged branch of the store's tree: whoever asks for the key would take it for absent.
            raise IntegrityError("a row is not found by its key", found=f"key {key[:60].hex()}")
        if key[:1] not in counts:
            raise IntegrityError("the store has a key of no known kind", found=key[:60].hex())
        counts[key[:1]] += 1
        if key[:1] == NODE and len(value) != HASH_SIZE * row_hashes(key, log.size):
            raise IntegrityError(
                "a row of tree nodes has another length",
                expected=f"{row_hashes(key, log.size)} hashes",
                found=f"{len(value)} bytes at key {key.hex()}",
            )
    expected = (log.size, row_count(log.size))
    if (counts[ENTRY], counts[NODE]) != expected:
        raise IntegrityError(
            "entries and rows of tree nodes are not as many as the log's size asks for",
            expected=f"{expected[0]} and {expected[1]}",
            found=f"{counts[ENTRY]} and {counts[NODE]}",
        )


def _check_tree(log: StoredLog) -> None:
    """Every entry is its leaf, and every node the hash over its children."""
    leaves = (_leaf(log, index) for index in range(log.size))
    for level, index, computed in append_nodes(log.node, 0, leaves):
        if log.node(level, index) != computed:
            raise IntegrityError(
                f"tree node {level}/{index} is not the hash over its children",
                expected=computed.hex(),
                found=f"key {row_key(level, index).hex()}",
            )
    log.require_sound_edge()


def _leaf(log: StoredLog, index: int) -> bytes:
    log.entry_bytes(index)
    return log.node(0, index)


def _check_replay(view: StateView, log: StoredLog) -> Genesis:
    """The state is what folding all entries gives, and every body kept belongs to one."""
    state, named, verifier = MemoryState(), set[bytes](), TransparencyVerifier()
    genesis = Entry.decode(log.entry_bytes(0)).record if log.size else None
    if not isinstance(genesis, Genesis):
        raise IntegrityError("entry 0 is not a genesis", found=f"{log.size} entries")
    for index in range(log.size):
        entry = Entry.decode(log.entry_bytes(index))
        context = FoldContext(
            ledger_id=genesis.ledger_id,
            index=index,
            log_root=lambda size=index: log.root_at(size),  # type: ignore[misc]
            verifier=verifier,
        )
        try:
            apply_entry(state, entry, log.bodies(entry.record), context)
        except CreditLedgerError as error:
            raise IntegrityError(
                f"entry {index} does not fold: {error}", expected=error.expected, found=error.found
            ) from error
        named.update(name for name, _ in body_names(entry.record))
    for key, _ in view.scan(BODIES):
        if key[1:] not in named:
            raise IntegrityError("bodies that no entry names", found=f"key {key.hex()}")
    _require_same(state.scan(b""), state_of(view).scan(b""))
    return genesis


def _require_same(replayed: Iterator[tuple[bytes, bytes]], stored: Iterator[tuple[bytes, bytes]]) -> None:
    end = (b"", b"")
    while True:
        wanted, found = next(replayed, end), next(stored, end)
        if wanted != found:
            key = min(key for key, _ in (wanted, found) if key)
            raise IntegrityError(
                f"the state is not what the log gives at key {key[:80]!r}",
                expected=f"{wanted[0][:20].hex()} = {wanted[1][:40].hex()}",
                found=f"{found[0][:20].hex()} = {found[1][:40].hex()}",
            )
        if wanted == end:
            return


def _check_head(
    directory: LedgerDirectory, log: StoredLog, genesis: Genesis, operator_at: OperatorAt
) -> None:
    head = HeadFile(directory.head, origin=genesis.origin, operator=genesis.operator).read(operator_at)
    require_not_rolled_back(log, head)
    seen = WitnessFile(directory.witness).get(genesis.origin)
    if seen is not None and (seen.size > log.size or log.root_at(seen.size) != seen.root):
        raise RollbackError(
            "the local witness has seen another log", expected=f"{seen.size} entries", found=str(log.size)
        )


def _check_public(directory: LedgerDirectory, log: StoredLog, operator_at: OperatorAt) -> None:
    """What the checkpoint promises is there, and every file is what the log says."""
    if not (directory.public / CHECKPOINT).exists():
        return
    note = read_file(directory.public / CHECKPOINT, what="checkpoint")
    verified = TrustPolicy.load(directory.policy).for_any_size().verify_checkpoint(note)
    published = verified.checkpoint
    _require_published(log, published)
    if operator_at(published.size) not in verified.log_keys:
        raise IntegrityError(
            "the published checkpoint is not signed by the operator's key for its size",
            expected=operator_at(published.size).hex(),
            found=f"size {published.size}",
        )
    missing = {path for path, _ in published_files(log.at(published.size), old_size=0)}
    for file in sorted(directory.public.rglob("*")):
        path = file.relative_to(directory.public).as_posix()
        missing.discard(path)
        if file.is_dir() or path == CHECKPOINT or file.name.startswith(BUILDING):
            continue
        if read_file(file, what="published file", most=17 * 1024 * 1024) != _content(log, path):
            raise IntegrityError("a published file is not what the log says", found=path)
    if missing:
        raise IntegrityError("a published file is missing", found=min(missing))


def _require_published(log: StoredLog, published: Checkpoint) -> None:
    if published.size > log.size or log.root_at(published.size) != published.root:
        raise RollbackError(
            "the published checkpoint is of another log",
            expected=f"{published.size} entries, root {published.root.hex()}",
            found=f"{log.size} entries",
        )


def _content(log: StoredLog, path: str) -> bytes | None:
    """What the log says ``path`` holds; None if nothing."""
    if path.startswith("batch/"):
        digits = path.removeprefix("batch/")
        name = bytes.fromhex(digits) if _HEX.fullmatch(digits) else b""
        return log.body_file(name)
    tile = parse_tile_path(path)
    if tile.level is not None:
        return tile_hashes(log.node, tile)
    start = tile.index * TILE_WIDTH
    return encode_entry_bundle([log.entry_bytes(start + offset) for offset in range(tile.width)])


def _check_sealed(directory: LedgerDirectory) -> None:
    """Sealed sketches may be gone after their window; those that are there are whole."""
    for file in sorted(directory.sealed.glob("*")):
        if file.name.startswith(BUILDING):
            continue
        if hashlib.sha256(read_file(file, what="sealed sketches")).hexdigest() != file.name:
            raise IntegrityError("sealed sketches are not what was admitted", found=file.name)


def _report(stdout: bytes, stderr: bytes) -> FsckReport:
    try:
        found = json.loads(stdout)
    except ValueError:
        raise StorageError("the check ended early", found=stderr[-150:].decode(errors="replace")) from None
    if "error" not in found:
        return FsckReport(entries=found["entries"], error=None)
    if found["error"] == StorageError.__name__:
        raise StorageError(found["message"], expected=found["expected"], found=found["found"])
    kind = RollbackError if found["error"] == RollbackError.__name__ else IntegrityError
    error = kind(found["message"], expected=found["expected"], found=found["found"])
    return FsckReport(entries=0, error=error)


def _main(path: str) -> None:
    try:
        print(json.dumps({"entries": check(Path(path))}))
    except CreditLedgerError as error:
        fault = {"error": _kind_of(error).__name__, "message": str(error)}
        print(json.dumps({**fault, "expected": error.expected, "found": error.found}))


def _kind_of(error: CreditLedgerError) -> type[CreditLedgerError]:
    """Whether the disk failed or what it holds is wrong: a file that is not there is."""
    is_missing = isinstance(error.__cause__, FileNotFoundError)
    if type(error) is StorageError and error.__cause__ is not None and not is_missing:
        return StorageError
    return RollbackError if isinstance(error, RollbackError) else IntegrityError


if __name__ == "__main__":
    _main(sys.argv[1])
