"""What every comparison uses."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.comparison import Comparison
from creditledger.credits import context


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Comparison:
    """Measures one job beside its limit or a peer."""
    return Comparison(benchmark)


@pytest.fixture(autouse=True)
def signatures_stay_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where signatures are checked before the clock runs, none is forgotten meanwhile."""
    monkeypatch.setattr(context, "REMEMBERED_MAX", 2**20)
