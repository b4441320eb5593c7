"""Every fuzz target for a few seconds, without coverage to guide it: `python -m tests.fuzz` runs longer.

K8, L17: whatever the bytes, they are read as themselves or refused with a typed error, in 64 MiB
and, where nothing else runs, 50 ms."""

import os

import pytest

from fuzz.campaign import TARGETS, run

SECONDS = float(os.environ.get("CREDITLEDGER_FUZZ_SECONDS", "2.5"))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_any_input_is_read_as_itself_or_refused(name: str) -> None:
    report = run(TARGETS[name], seconds=SECONDS, seed=1, slack=5)
    assert report.executions >= 50
    # Else this would speak of refusals only.
    assert report.read >= report.executions // 100
