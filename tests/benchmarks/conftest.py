"""What every comparison uses."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.comparison import Comparison


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Comparison:
    """Measures one job beside its limit or a peer."""
    return Comparison(benchmark)
