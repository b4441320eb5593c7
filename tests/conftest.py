"""Fixtures every part of the suite shares."""

import os
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
