"""``creditledger verify`` from its start to its answer, beside an interpreter that does nothing.

The ratio stands for a difference: the goal is at most 120 ms more than the bare interpreter took."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, within
from creditledger.ledger.prove import prover
from creditledger.records.receipt import Receipt
from ledger_pools import START_MS, found, working

ROUNDS = 15
LESS = (
    "import sys; sys.modules['py_arkworks_bls12381'] = None; from creditledger.cli.main import main; main()"
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A receipt's bundles at two levels, and the policy."""
    folder = tmp_path_factory.mktemp("startup")
    with found(folder / "pool") as ledger:
        work = working(ledger)
        batch = work.batch(2)
        ledger.append(batch)
        ledger.complete_round()
        digest = Receipt.decode(batch.bodies[0]).digest(ledger.id)
        with prover(ledger) as proving:
            (folder / "signed").write_bytes(proving.receipt(digest, most="signed"))
            (folder / "logged").write_bytes(proving.receipt(digest, most="certified"))
    return folder


def verify(pool: Path, level: str, program: tuple[str, ...] = ("-m", "creditledger")) -> None:
    policy = pool / "pool" / "policy"
    arguments = ["verify", pool / level, "--policy", policy, "--require", level, "--now", str(START_MS)]
    subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment(pool),
    )


def environment(pool: Path) -> dict[str, str]:
    """With compiled modules kept, as an installed package has them, also where this process keeps none."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.getcwd(), "PYTHONPYCACHEPREFIX": str(pool / "compiled")}


def bare() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


@pytest.mark.parametrize("level", ["signed", "logged"])
def test_verify_from_the_shell(compare: Comparison, pool: Path, level: str) -> None:
    """``logged`` carries a round's certificate: native BLS checks it."""
    compare(
        f"`creditledger verify --require {level}`",
        lambda: verify(pool, level),
        against="a bare interpreter",
        reference=bare,
        goal=within(0.120),
        rounds=ROUNDS,
    )


def test_verify_with_py_ecc(compare: Comparison, pool: Path) -> None:
    """Where the extra `native` is not installed."""
    compare(
        "`creditledger verify --require logged`, py-ecc",
        lambda: verify(pool, "logged", ("-c", LESS)),
        against="a bare interpreter",
        reference=bare,
        goal=None,
        rounds=3,
    )
