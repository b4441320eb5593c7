"""Random commands: the published log, read back and folded by a stranger, gives every balance. Threat I10."""

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from command_model import CommandModel
from crash_pools import in_memory
from creditledger.ledger.audit import audit
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource
from creditledger.transparency.trust_policy import TrustPolicy

COMMANDS: Final = int(os.environ.get("CREDITLEDGER_COMMANDS", "2000"))
"""Under hashed signatures; the long tier sets 1,000,000."""
SIGNED_COMMANDS: Final = int(os.environ.get("CREDITLEDGER_SIGNED_COMMANDS", "500"))
"""Under real ones; the long tier sets 50,000."""
A_LEDGER: Final = 25_000
"""Commands that one ledger takes; then the next begins, with another seed."""


@pytest.mark.parametrize(
    ("is_signed", "commands"), [(False, COMMANDS), (True, SIGNED_COMMANDS)], ids=["hashed", "signed"]
)
def test_the_exported_log_folds_to_the_balances_and_a_plain_model_agrees(
    is_signed: bool, commands: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    entries = 0
    for seed, first in enumerate(range(0, commands, A_LEDGER)):
        folder = in_memory(tmp_path)
        try:
            model = CommandModel(folder=folder, seed=seed, is_signed=is_signed)
            model.run(min(A_LEDGER, commands - first))
            entries += require_same_when_read_back(model)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tried += model.tried
        refused += model.refused
    assert len(refused) >= 6
    with capsys.disabled():
        print(f"\n{commands} commands, {entries} entries: {dict(tried)}, refused {dict(refused)}")


def require_same_when_read_back(model: CommandModel) -> int:
    """Fold what is published, with nothing else at hand; how many entries it was."""
    with model.ledger as ledger, ledger.read() as state:
        ours, size, path = dict(state.scan(b"")), ledger.size, ledger.path
    source, policy = DirectorySource(path / "public"), TrustPolicy.load(path / "policy")
    replica = Replica(source, policy, verifier=model.verifier)
    replica.follow(model.clock())
    assert replica.size == size
    model.check_state(replica.state)
    assert dict(replica.state.scan(b"")) == ours
    if model.is_signed:
        report = audit(path, now_unix_ms=model.clock())
        assert report.ok, report.problem
    return size
