"""The honest jobs and the cheats, one after the other in one pool, and what became of them."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, TypeVar

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.records.verdict import Outcome
from creditledger.redemption.order import Order
from tests.benchmarks.split_model.kernels import NUMPY, TORCH
from tests.benchmarks.split_model.pool import ENGINES, SplitPool, Task

ROUNDS_AFTER: Final = 3
"""For checks that passed on, pay that waited for them, and vesting."""
Item = TypeVar("Item")


@dataclass(slots=True, kw_only=True)
class HonestTally:
    """What became of the honest jobs."""

    jobs: int = 0
    jobs_unpaid: int = 0
    """Not settled, or settled for less than the whole price."""
    receipts: int = 0
    receipts_unpaid: int = 0
    receipts_checked: int = 0
    verdicts: int = 0
    upheld: int = 0
    refuted: int = 0
    inconclusive: int = 0
    earned_micro: int = 0
    unvested_micro: int = 0
    owed_micro: int = 0
    """What all jobs are worth, less the levy."""
    ratio_share_median: float = 0.0
    """Of all verdicts, how far the ratio was on its way to the threshold: 1 is refuted."""
    ratio_share_max: float = 0.0
    refutals: list[dict[str, Any]] = field(default_factory=list)
    """Verdicts against honest receipts, and what was measured."""


@dataclass(slots=True, kw_only=True)
class CheatTally:
    """What became of one cheat in one process."""

    engine: str
    cheat: str
    positions: int
    jobs: int = 0
    refuted: int = 0
    """Receipts that at least one validator refuted."""
    paid: int = 0
    convicted: bool = False
    partner_unpaid: int = 0
    """Receipts of the honest node beside it that were not paid: what it is given may be unfit to check."""


def run_honest(
    pool: SplitPool, jobs: int, *, positions: Sequence[int], group: int, tell: Callable[[str], None]
) -> HonestTally:
    """``jobs`` jobs between the two honest nodes, ``group`` under one round; vested at the end.

    Once a node is suspended no more jobs are ordered: those left over are unpaid."""
    chance = random.Random(pool.seed)
    nodes = (pool.party(TORCH), pool.party(NUMPY))
    tasks = [
        Task(nodes=nodes, tokens=pool.prompt(f"honest {number}", chance.choice(positions)))
        for number in range(jobs)
    ]
    orders: list[Order] = []
    for some in _groups(tasks, group):
        if suspended(pool):
            break
        orders += pool.run(some)
        tell(f"{len(orders)} of {jobs} honest jobs, {len(pool.judgements)} checks")
    for _ in range(ROUNDS_AFTER):
        pool.settle()
    shares = [
        judged.ratio / judged.threshold for _, judged in pool.judgements if judged.ratio and judged.threshold
    ]
    tally = HonestTally(
        jobs=jobs,
        jobs_unpaid=jobs - len(orders),
        ratio_share_median=median(shares or [0.0]),
        ratio_share_max=max(shares, default=0.0),
    )
    with pool.ledger.read() as state:
        for order in orders:
            _count_honest(tally, state, order, pool)
        for node in nodes:
            _count_account(tally, state, node.account)
        tally.refutals = list(_refutals(pool, state, orders))
    return tally


def _refutals(pool: SplitPool, state: StateView, orders: Sequence[Order]) -> Iterator[dict[str, Any]]:
    numbers = {order.job.digest(pool.ledger.id): number for number, order in enumerate(orders)}
    for digest, judged in pool.judgements:
        receipt = reading.receipt_state(state, digest)
        if judged.outcome is Outcome.REFUTED and receipt is not None and judged.statistics is not None:
            yield {
                "job": numbers[receipt.job],
                "layer_start": receipt.layer_start,
                "reason": judged.reason.name,
                "ratio": round(judged.statistics.ratio, 3),
                "tail": round(judged.statistics.tail, 2),
                "position": judged.statistics.worst_position,
            }


def run_cheats(
    pool: SplitPool, *, positions: int, jobs: int, group: int, tell: Callable[[str], None]
) -> list[CheatTally]:
    """Up to ``jobs`` jobs for each cheat beside the other process's honest node, until it is convicted.

    None where an honest node is suspended: there is nobody to work beside."""
    tallies = [
        CheatTally(engine=engine, cheat=cheat, positions=positions)
        for engine in ENGINES
        for cheat in pool.cheats.get(engine, ())
    ]
    for number in range(0 if suspended(pool) else jobs):
        free = [tally for tally in tallies if not tally.convicted]
        for some in _groups(free, group):
            orders = pool.run([_cheating(pool, tally, number) for tally in some])
            pool.settle()
            with pool.ledger.read() as state:
                for tally, order in zip(some, orders, strict=True):
                    _count_cheat(tally, state, order, pool)
            tell(f"{sum(tally.convicted for tally in tallies)} of {len(tallies)} cheats are convicted")
    return tallies


def suspended(pool: SplitPool) -> list[str]:
    """The honest nodes that are suspended, by name."""
    found: list[str] = []
    with pool.ledger.read() as state:
        for engine in ENGINES:
            account = reading.account_state(state, pool.party(engine).account)
            found += [account.name] if account is not None and account.suspended else []
    return found


def _cheating(pool: SplitPool, tally: CheatTally, number: int) -> Task:
    one, two = (pool.party(engine, tally.cheat if engine == tally.engine else "") for engine in ENGINES)
    name = f"{tally.engine} {tally.cheat} {number}"
    return Task(nodes=(one, two), tokens=pool.prompt(name, tally.positions))


def _count_honest(tally: HonestTally, state: StateView, order: Order, pool: SplitPool) -> None:
    job = order.job.digest(pool.ledger.id)
    nets = pool.nets(order.job.max_positions)
    earned = 0
    for span, net in zip(order.job.plan, nets, strict=True):
        digests = [digest for _, digest in reading.job_receipts(state, job, span.layer_start)]
        found = [reading.receipt_state(state, digest) for digest in digests]
        tally.receipts += max(1, len(found))
        tally.receipts_unpaid += not found
        for receipt in filter(None, found):
            tally.receipts_unpaid += not (receipt.settled and receipt.has_passed)
            tally.receipts_checked += receipt.upheld + receipt.refuted + receipt.inconclusive > 0
        lot = reading.lot_state(state, job, span.layer_start)
        earned += lot is not None and lot.amount_micro == net
    tally.jobs_unpaid += earned < len(nets)
    tally.owed_micro += sum(nets)


def _count_account(tally: HonestTally, state: StateView, account: bytes) -> None:
    known, standing = reading.account_state(state, account), reading.node_standing(state, account)
    if known is None:
        raise AssertionError("an honest node has no account")
    tally.verdicts += standing.checks
    tally.upheld += standing.upheld
    tally.refuted += standing.refuted
    tally.inconclusive += standing.inconclusive
    tally.earned_micro += known.available_micro
    tally.unvested_micro += known.unvested_micro


def _count_cheat(tally: CheatTally, state: StateView, order: Order, pool: SplitPool) -> None:
    job = order.job.digest(pool.ledger.id)
    cheat = pool.party(tally.engine, tally.cheat).account
    tally.jobs += 1
    for span in order.job.plan:
        for _, digest in reading.job_receipts(state, job, span.layer_start):
            receipt = reading.receipt_state(state, digest)
            if receipt is None:
                raise AssertionError("a logged receipt has no state")
            is_paid = bool(receipt.settled and receipt.has_passed)
            if span.node == cheat:
                tally.refuted += receipt.outcome == Outcome.REFUTED
                tally.paid += is_paid
            else:
                tally.partner_unpaid += not is_paid
    account = reading.account_state(state, cheat)
    tally.convicted = account is not None and bool(account.suspended)


def _groups(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
