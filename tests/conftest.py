"""Fixtures every part of the suite shares."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CREDITLEDGER_NO_SKIP is set, a skipped test is a failed one: nothing may be missing.

    Tests marked torch may be skipped unless the variable says ``torch``."""
    report = yield
    wanted = os.environ.get("CREDITLEDGER_NO_SKIP", "")
    excused = item.get_closest_marker("torch") is not None and wanted != "torch"
    if wanted and report.skipped and not hasattr(report, "wasxfail") and not excused:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be: {report.longrepr}"
    return report
