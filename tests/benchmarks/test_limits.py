"""What is left of a job without its rules: how near its goal anything could come that is written as this is.

`test_rows_alone` has what the store alone costs. specs/performance.md §3 draws the conclusions."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import StructMeta, structs

from benchmarks.comparison import Comparison, times
from benchmarks.sample_audits import (
    BATCHES,
    RECEIPTS,
    hash_published,
    published_pool,
    published_receipts,
    verify_each,
)
from benchmarks.sample_payments import Payments, check_signatures
from benchmarks.sample_receipts import LEDGER_ID, NODE, batch_over, receipt
from benchmarks.test_group_commit_speed import ALONE, EACH, SUBMITTERS
from benchmarks.test_rows_alone import Rewriter, Rows, committed
from creditledger.credits import reading
from creditledger.credits.state import MemoryState
from creditledger.ledger.clock import system_clock
from creditledger.ledger.directory import write_over
from creditledger.ledger.head import PLACE_BYTES
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.records.entry import Entry, Submission
from creditledger.records.kinds import Kind
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import signing_prefix
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.group_commit import GroupCommit
from creditledger.service.pool.steward import Steward
from creditledger.transparency.keys import verify_ed25519
from creditledger.transparency.merkle import leaf_hash, leaf_hashes, root_from_leaf_hashes
from ledger_pools import found

__all__ = ["committed"]
ROUNDS = 7


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with found(tmp_path / "pool", clock=system_clock) as opened:
        yield opened


def test_mint_one_unchecked(compare: Comparison) -> None:
    """The two records made by msgspec alone, whatever their fields hold."""
    built, fields = StructMeta.__call__, structs.asdict(receipt())
    batch_fields = structs.asdict(batch_over([receipt().encode()]))
    message = batch_over([receipt().encode()]).signing_bytes(LEDGER_ID)

    def mint() -> None:
        encoded = built(Receipt, **fields).encode()
        root = root_from_leaf_hashes(leaf_hashes([encoded]))
        batch = built(Batch, **batch_fields | {"root": root})
        NODE.sign(batch.signing_bytes(LEDGER_ID))

    compare(
        "mint one receipt, nothing checked",
        times(200, mint),
        against="raw sign",
        reference=times(200, lambda: NODE.sign(message)),
        items=200,
        goal=None,
    )


def test_flushes_of_one_append(
    compare: Comparison, ledger: Ledger, committed: list[Rows], tmp_path: Path
) -> None:
    """A transfer's rows put and committed, then the head signed, written over the older one and flushed."""
    payments, rounds = Payments(ledger), 200
    committed.clear()
    singles = [[payments.next()] for _ in range(rounds + 1)]
    for single in singles:
        check_signatures(ledger, single)
        ledger.submit(single)
    rewriter, head = Rewriter(tmp_path / "rows", committed), tmp_path / "head"
    head.write_bytes(bytes(2 * PLACE_BYTES))
    raw = iter([single[0].encode() for single in singles])
    with open(tmp_path / "raw", "ab", buffering=0) as file:

        def append_raw() -> None:
            file.write(next(raw))
            os.fdatasync(file.fileno())

        def put() -> None:
            rewriter.put_next()
            write_over(head, NODE.sign(bytes(100)).ljust(PLACE_BYTES, b"\0"), offset=0)

        compare(
            "rows of one transfer, a signed head, nothing else",
            put,
            against="raw append and fdatasync",
            reference=append_raw,
            goal=None,
            rounds=rounds,
        )


def test_signed_transfers_without_rules(
    compare: Comparison, ledger: Ledger, committed: list[Rows], tmp_path: Path
) -> None:
    """Signatures on both processors; then what each transfer is written as, and both its accounts; then the
    rows. Nothing is looked up, compared or refused."""
    payments = Payments(ledger)
    groups = [[payments.next() for _ in range(256)] for _ in range(ROUNDS + 1)]
    committed.clear()
    for group in groups:
        check_signatures(ledger, group)
        ledger.submit(group)
    rewriter = Rewriter(tmp_path / "rows", committed)
    with ledger.read() as state:
        account = reading.account_state(state, groups[0][0].record.payer)  # type: ignore[attr-defined]
    ours, theirs = iter(groups), iter(groups)
    with ThreadPoolExecutor(2) as threads:

        def verify(one: Submission) -> None:
            payer: bytes = one.record.payer  # type: ignore[attr-defined]
            message = one.record.signing_bytes(ledger.id)
            verify_ed25519(public_key=payer, message=message, signature=one.signature)

        def write(one: Submission) -> None:
            sha256(one.record.signing_bytes(ledger.id)).digest()
            leaf_hash(Entry(time_unix_ms=1, record=one.record, signature=one.signature).encode())
            for amount in (1, 2):
                structs.replace(account, available_micro=amount).encode()

        def verify_all(group: Sequence[Submission]) -> None:
            list(threads.map(verify, group, chunksize=16))

        def log() -> None:
            group = next(ours)
            verify_all(group)
            for one in group:
                write(one)
            rewriter.put_next()

        compare(
            "256 signed transfers without their rules",
            log,
            against="raw verify on 2 threads",
            reference=lambda: verify_all(next(theirs)),
            items=256,
            goal=None,
            rounds=ROUNDS,
        )


class Idle:
    """A ledger that takes everything and does nothing."""

    def submit(self, submissions: Sequence[Submission], **_: Any) -> list[Acknowledgement]:
        return [Acknowledgement(index=0, leaf_hash=bytes(32), repeated=False)] * len(submissions)


class IdleSteward(Steward):
    """Looks after an `Idle`."""

    def write(self, action: Callable[[Any], Any]) -> Any:
        return action(Idle())


def test_submitters_of_nothing(compare: Comparison, ledger: Ledger) -> None:
    """256 tasks whose records a thread takes and answers, beside one whose record is logged."""
    payments = Payments(ledger)
    busy = GroupCommit(Steward(ledger, events=EventLog(None)))
    idle = GroupCommit(IdleSteward(ledger, events=EventLog(None)))

    async def submit(group: GroupCommit, submissions: list[Submission]) -> None:
        for one in submissions:
            (outcome,) = await asyncio.wrap_future(group.submit([one], size=400))
            assert isinstance(outcome, Acknowledgement)

    async def submit_all(shares: Sequence[list[Submission]]) -> None:
        await asyncio.gather(*(submit(idle, share) for share in shares))

    crowd = [[payments.next() for _ in range(EACH)] for _ in range(SUBMITTERS)]
    alone = [[payments.next() for _ in range(ALONE)] for _ in range(ROUNDS + 1)]
    for share in alone:
        check_signatures(ledger, share)
    turns = iter(alone)
    busy.start()
    idle.start()
    with asyncio.Runner() as runner:
        compare(
            f"{SUBMITTERS} submitters, nothing logged",
            lambda: runner.run(submit_all(crowd)),
            against="one submitter, logged",
            reference=lambda: runner.run(submit(busy, next(turns))),
            items=SUBMITTERS * EACH,
            reference_items=ALONE,
            goal=None,
            rounds=ROUNDS,
        )
    busy.stop()
    idle.stop()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_pool(tmp_path_factory.mktemp("audit") / "pool", batches=BATCHES)


def replay_without_rules(pool: Path) -> None:
    """Read everything, hash each leaf and each record, decode each receipt, put its six rows into a dict."""
    hash_published(pool)
    prefix, state = signing_prefix(Kind.RECEIPT, LEDGER_ID), MemoryState()
    bodies = published_receipts(pool)
    for body, decoded in zip(bodies, Receipt.decode_all(bodies), strict=True):
        digest = sha256(prefix + body).digest()
        place = decoded.window_start.to_bytes(4, "big")
        for name in (b"m/a", b"d/a", b"m/r", b"d/r", b"f/"):
            state.put(name + digest, b"")
        state.put(b"c/" + decoded.job + place, digest)


@pytest.mark.parametrize("against", ["read all and hash every leaf", "decode and verify each signed"])
def test_audit_without_rules(compare: Comparison, pool: Path, against: str) -> None:
    is_signed = "signed" in against
    compare(
        "full audit without rules, per receipt",
        lambda: replay_without_rules(pool),
        against=against,
        reference=(lambda: verify_each(pool, count=256)) if is_signed else (lambda: hash_published(pool)),
        items=BATCHES * RECEIPTS,
        reference_items=256 if is_signed else 0,
        goal=None,
        rounds=ROUNDS,
    )


def test_hash_of_what_is_committed_to(compare: Comparison) -> None:
    """32 rows of 4,096 in bf16, hashed once, beside a goal of an eighth of TOPLOC's 0.61 ms."""
    rows = np.random.default_rng(0).integers(0, 2**16, (32, 4_096), np.uint16)
    compare.alone(
        "SHA-256 of 32 rows of 4,096 alone",
        times(10, lambda: sha256(rows).digest()),
        why="ten times; 8 x TOPLOC's build leaves 0.08 ms each",
    )
