"""Fixtures every part of the suite shares."""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from postgres_server import running_server
from published_vectors import Tally, VectorTable

settings.register_profile(
    "creditledger", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
settings.register_profile("thorough", parent=settings.get_profile("creditledger"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "creditledger"))


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of external test data."""
    folder = os.environ.get("CREDITLEDGER_VECTORS")
    if folder is None:
        pytest.skip("CREDITLEDGER_VECTORS is not set: external vectors are not at hand")
    return Path(folder)


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an audit remembers of a log is forgotten between tests: their logs share names and keys."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, started for the run."""
    with running_server() as url:
        yield url


@pytest.fixture
def ran(request: pytest.FixtureRequest) -> Tally:
    """Says that a published suite was run to its end: it is counted in the table after the tests."""
    return Tally(request.node)


def pytest_configure(config: pytest.Config) -> None:
    """Count the published vectors."""
    config.pluginmanager.register(VectorTable(config))


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder that waits for no disk, for tests that write much and read it back while the machine runs."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(prefix="creditledger-", dir=memory) as folder:
        yield Path(folder)


EXCUSED = (
    "torch", "petals", "cuda", "ray", "strace", "gcc", "loop", "nbd", "go", "slurm", "chromium", "deploy"
)  # fmt: skip
"""What a test may ask for and be skipped without, unless CREDITLEDGER_NO_SKIP names it: `loop,nbd`."""


def _must_run(asks_for: set[str]) -> bool:
    """Whether a skipped test counts as a failed one: CREDITLEDGER_NO_SKIP is set and nothing excuses it."""
    wanted = os.environ.get("CREDITLEDGER_NO_SKIP", "")
    return bool(wanted) and not asks_for - set(wanted.split(","))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a test that was skipped has failed."""
    report = yield
    asks_for = {name for name in EXCUSED if item.get_closest_marker(name) is not None}
    if report.skipped and not hasattr(report, "wasxfail") and _must_run(asks_for):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself; its reason must name what it asks for."""
    report = yield
    asks_for = {name for name in EXCUSED if re.search(rf"\b{name}\b", str(report.longrepr))}
    if report.skipped and _must_run(asks_for):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped where nothing may be: {report.longrepr}"
    return report
