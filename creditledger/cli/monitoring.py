"""`monitor`: what a log says about my key, and whether it keeps its promises. Source: specs/cli.md §17."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.options import INPUT_FILE, json_option, key_file, published_argument
from creditledger.cli.output import as_line, note, shown
from creditledger.cli.published import (
    as_finding,
    source_of,
    trusted,
)
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    RoleError,
    VerificationError,
)

if TYPE_CHECKING:
    from creditledger.ledger.acknowledged import Acknowledged, Standing
    from creditledger.ledger.monitor import Event
    from creditledger.ledger.source import LogSource
    from creditledger.transparency.checkpoint import Checkpoint
    from creditledger.transparency.trust_policy import TrustPolicy

Row = dict[str, Any]
_WIDEST_TURN_S: Final = 86_400


@click.command()
@published_argument
@click.option(
    "--key",
    "key_path",
    required=True,
    type=INPUT_FILE,
    callback=key_file,
    help="Key file, private or public.",
)
@click.option("--policy", "policy_path", type=click.Path(path_type=Path), help="Default: LEDGER/policy.")
@click.option(
    "--acks", "acks_path", type=INPUT_FILE, help="Lines ACK INDEX LEAF-HASH, as append --ack prints them."
)
@click.option("--once", is_flag=True, help="End after one look; so it does without --every.")
@click.option(
    "--every", type=click.IntRange(1, _WIDEST_TURN_S), metavar="SECONDS", help="Look again and again."
)
@click.option(
    "--from",
    "start",
    type=click.IntRange(0, 2**63 - 1),
    metavar="INDEX",
    help="Report from here. Default: where the last run for this key ended.",
)
@click.option(
    "--seen", "seen_path", type=click.Path(path_type=Path), help="Where last checkpoint and place are kept."
)
@click.option("--evidence", "evidence_path", type=click.Path(path_type=Path), help="Where a fork is written.")
@json_option
def monitor(
    ledger: Path | str,
    key_path: Path,
    policy_path: Path | None,
    acks_path: Path | None,
    once: bool,
    every: int | None,
    start: int | None,
    seen_path: Path | None,
    evidence_path: Path | None,
    as_json: bool,
) -> None:
    """Report every entry that names a key or its account, every change of the rules, and what was
    acknowledged and is not in the published tree.

    LEDGER is a directory or the URL of its public folder; it is audited on the way. A second run reports
    only what is new."""
    from creditledger.ledger.keyring import load_public_side

    if once and every is not None:
        raise click.UsageError("say --once or --every SECONDS")
    key, bound_to = load_public_side(key_path)
    policy = trusted(ledger, policy_path)
    with source_of(ledger) as source:
        watch = _Watch(ledger, source, policy, key=key, bound_to=bound_to, start=start, acks_path=acks_path)
        from creditledger.ledger.reader_folders import seen_folder

        watch.remember(seen_path or seen_folder(), evidence_path)
        try:
            while True:
                for row in _patiently(watch.turn(), is_patient=every is not None):
                    click.echo(as_line(row) if as_json else _as_text(row))
                if watch.broken:
                    raise VerificationError(
                        "the log broke its promise: acknowledged entries are not where it said",
                        expected="0 contradicted",
                        found=f"{watch.broken}",
                    )
                if every is None:
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            if every is None:
                raise
            note("stopped")


def _patiently(rows: Iterator[Row], *, is_patient: bool) -> Iterator[Row]:
    """Where another look follows, a source that is away now is no end."""
    try:
        yield from rows
    except BusyError as error:
        if not is_patient:
            raise
        note(f"waiting: {error}")


class _Watch:
    """What one run of the verb goes by, from turn to turn."""

    def __init__(
        self,
        ledger: Path | str,
        source: "LogSource",
        policy: "TrustPolicy",
        *,
        key: bytes,
        bound_to: bytes | None,
        start: int | None,
        acks_path: Path | None,
    ) -> None:
        self._ledger, self._source, self._policy = ledger, source, policy
        self._key, self._bound_to, self._start = key, bound_to, start
        self._acks_path = acks_path
        self._told: dict[tuple[int, bytes], Standing] = {}
        self._uncovered = 0
        self.broken = 0
        """Acknowledgements that the tree contradicts."""

    def remember(self, folder: Path, evidence_path: Path | None) -> None:
        """Go on from what is kept in ``folder``: the last checkpoint seen, and this key's place."""
        from creditledger.ledger.last_seen import LastSeen
        from creditledger.ledger.monitor import Monitor
        from creditledger.ledger.place import Place
        from creditledger.ledger.replica import Replica

        self._seen, self._evidence_path = LastSeen(folder, self._policy), evidence_path
        kept = self._seen.path
        self._place = Place(kept.with_name(f"{kept.name}.monitor-{sha256(self._key).hexdigest()[:16]}"))
        self._replica = Replica(self._source, self._policy, memory=self._seen)
        first = self._place.index() if self._start is None else self._start
        self._monitor = Monitor(self._replica, self._source, key=self._key, start=first)

    def turn(self) -> Iterator[Row]:
        """One look at the log: rows in the order of specs/cli.md §17."""
        from creditledger.ledger.clock import system_clock

        now, start = system_clock(), self._monitor.next_index
        with self._findings():
            for event in self._monitor.turn(now):
                yield _event(event, self._replica.ledger_id)
            checkpoint = self._accepted()
        self._require_own_ledger()
        # After the last row: who is stopped in between is told again, never too little.
        self._place.keep(min(self._monitor.next_index, self._replica.size))
        yield from self._promises(checkpoint)
        yield {"event": "checkpoint", "size": checkpoint.size, "from": start}

    def _accepted(self) -> "Checkpoint":
        if self._replica.checkpoint is None:
            raise VerificationError("nothing was read", expected="a checkpoint")
        return self._replica.checkpoint

    @contextmanager
    def _findings(self) -> Iterator[None]:
        """What goes wrong in here is the log's fault, not that of a file the caller named."""
        try:
            yield
        except CreditLedgerError as error:
            raise as_finding(error, self._seen, self._evidence_path) from error

    def _require_own_ledger(self) -> None:
        if self._bound_to not in (None, self._replica.ledger_id):
            raise RoleError(
                "key belongs to another ledger",
                expected=self._replica.ledger_id.hex(),
                found=(self._bound_to or b"").hex(),
            )

    def _promises(self, checkpoint: "Checkpoint") -> Iterator[Row]:
        from creditledger.ledger.acknowledged import Standing, standing_of
        from creditledger.ledger.verified_tiles import VerifiedTiles

        with self._findings():
            tiles = VerifiedTiles(self._source, checkpoint)
        for promise in self._acknowledged():
            with self._findings():
                standing = standing_of(promise, tiles, size=checkpoint.size)
            mark = (promise.index, promise.leaf_hash)
            if self._told.get(mark) is standing:
                continue
            self._told[mark] = standing
            self.broken += standing is Standing.CONTRADICTED
            yield {
                "event": "ack",
                "index": promise.index,
                "leaf_hash": promise.leaf_hash,
                "status": standing.value,
            }
        yield from self._beyond(checkpoint.size)

    def _acknowledged(self) -> "Iterator[Acknowledged]":
        from creditledger.ledger.acknowledged import LINE_SIZE_MAX, parse_acknowledgements

        if self._acks_path is None:
            return
        with self._acks_path.open("rb") as file:
            yield from parse_acknowledgements(iter(lambda: file.readline(LINE_SIZE_MAX), b""))

    def _beyond(self, size: int) -> Iterator[Row]:
        """What the store beside the published tree has acknowledged beyond it."""
        from creditledger.cli.opening import reading
        from creditledger.ledger.acknowledged import beyond
        from creditledger.ledger.directory import LedgerDirectory

        if not isinstance(self._ledger, Path) or not LedgerDirectory(self._ledger).store.exists():
            return
        with reading(self._ledger) as opened:
            for promise in beyond(opened, max(size, self._uncovered)):
                self._uncovered = promise.index + 1
                yield {"event": "uncovered", "index": promise.index, "leaf_hash": promise.leaf_hash}


def _event(event: "Event", ledger_id: bytes) -> Row:
    from creditledger.ledger.monitor import Named

    place = {"index": event.index, "time_unix_ms": event.time_unix_ms}
    if isinstance(event, Named):
        kind, digest = event.record.KIND.name.lower(), event.record.digest(ledger_id)
        return {"event": "named", **place, "kind": kind, "fields": event.fields, "digest": digest}
    return {
        "event": "parameters",
        **place,
        "sequence": event.parameters.sequence,
        "quorum": event.parameters.quorum,
        "committee": [member.bls_key for member in event.parameters.committee],
        "committee_changed": event.is_new_committee,
        "digest": event.parameters.digest(ledger_id),
    }


def _as_text(row: Row) -> str:
    """One line: the event, then what there is to say of it."""
    said = (f"{name.replace('_', ' ')} {shown(value)}" for name, value in row.items() if name != "event")
    return f"{row['event']}: {', '.join(said)}"
