"""The log as double entry: what each entry moved between which accounts.

Source: specs/redemption.md §8."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from creditledger.credits.fold import FoldContext, apply_entry
from creditledger.credits.postings import Posting, postings
from creditledger.credits.state import MemoryState, Overlay, StateView
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Entry
from creditledger.transparency.certificate import Committee

_AT_ONCE: Final = 16
"""Entries that are read together: with their bodies they fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One entry, folded: the state before it and after it. Until the next one is asked for."""

    index: int
    entry: Entry
    digest: bytes
    """The record's id, 32 bytes."""
    before: StateView
    after: Overlay
    postings: tuple[Posting, ...]
    """What it moved; they sum to zero."""


def movements(ledger: Ledger) -> Iterator[Movement]:
    """Every entry of the log in order, folded on an empty state: one replay, entry by entry.

    Signatures are not checked again, since the ledger admitted nothing unsigned. Keeps the folded state in
    memory, and a few of the entries."""
    state = MemoryState()
    for index, entry, bodies in _entries(ledger):
        context = FoldContext(
            ledger_id=ledger.id,
            index=index,
            log_root=lambda at=index: _root_at(ledger, at),  # type: ignore[misc]
            verifier=_ADMITTED,
        )
        changes = Overlay(state)
        apply_entry(changes, entry, bodies, context)
        yield Movement(
            index=index,
            entry=entry,
            digest=entry.record.digest(ledger.id),
            before=state,
            after=changes,
            postings=postings(state, changes),
        )
        changes.merge()


def _entries(ledger: Ledger) -> Iterator[tuple[int, Entry, tuple[bytes, ...]]]:
    """All entries that the log has now, with what travels beside them.

    Whoever takes them may be slow, and a store cannot grow while it is read: so a few at a time."""
    size = ledger.size
    for start in range(0, size, _AT_ONCE):
        with ledger.snapshot() as snapshot:
            found = []
            for index in range(start, min(start + _AT_ONCE, size)):
                entry = Entry.decode(snapshot.log.entry_bytes(index))
                found.append((index, entry, snapshot.log.bodies(entry.record)))
        yield from found


def _root_at(ledger: Ledger, size: int) -> bytes:
    with ledger.snapshot() as snapshot:
        return snapshot.log.root_at(size)


class _Admitted:
    """Takes every signature for good: for entries that a ledger has admitted already."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Never raises."""

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Never raises."""

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        """Never raises."""


_ADMITTED: Final = _Admitted()
