"""The end of a soak: the published log, replayed, against what everybody was told."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.fsck import check
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource
from creditledger.records.entry import Entry
from creditledger.transparency.merkle import leaf_hash
from fakes.cast import ed25519
from soak.books import differences, purses
from soak.soak_scene import Scene


def audited(scene: Scene, lines: list[dict[str, Any]]) -> tuple[dict[str, int], list[str]]:
    """Figures, and everything that is not as it must be. The server has ended."""
    replica = Replica(DirectorySource(LedgerDirectory(scene.pool).public), scene.policy)
    digests: list[str] = []
    leaves: list[str] = []
    for _, entry in replica.steps(int(time.time() * 1000)):
        digests.append(entry.record.digest(scene.genesis.ledger_id).hex())
        leaves.append(_leaf(entry))
    acks = [line for line in lines if "ack" in line]
    lost = [ack for ack in acks if _is_lost(ack, digests, leaves)]
    twice = [digest for digest, count in Counter(digests).items() if count > 1]
    wrong = [f"lost: {ack}" for ack in lost] + [f"logged twice: {digest}" for digest in twice]
    wrong += [f"{line['party']}: {line}" for line in lines if "wrong" in line]
    wrong += _wrong_balances(replica, lines)
    if check(scene.pool) != len(digests):
        wrong.append("fsck finds another size")
    figures = {
        "entries": len(digests),
        "acknowledged": len(acks),
        "acknowledged and lost": len(lost),
        "logged twice": len(twice),
        "rounds certified": reading.tip(replica.state).certified_round,
    }
    return figures, wrong


def _leaf(entry: Entry) -> str:
    return leaf_hash(entry.encode()).hex()


def _is_lost(ack: dict[str, Any], digests: list[str], leaves: list[str]) -> bool:
    index = ack["index"]
    return index >= len(digests) or (digests[index], leaves[index]) != (ack["ack"], ack["leaf"])


def _wrong_balances(replica: Replica, lines: Iterable[dict[str, Any]]) -> list[str]:
    state = replica.state
    check_invariant(state)
    expected, burned = purses(lines)
    wrong = []
    for name, purse in expected.items():
        found = reading.account_state(state, ed25519(name).public_key)
        if found is None:
            wrong.append(f"{name} has no account")
            continue
        shown = {field: getattr(found, field) for field in found.__struct_fields__}
        if other := differences(purse, shown):
            wrong.append(f"{name} has (expected, found) {other}")
    if reading.totals(state).burned_micro != burned:
        wrong.append(f"burned: expected {burned}, found {reading.totals(state).burned_micro}")
    return wrong
