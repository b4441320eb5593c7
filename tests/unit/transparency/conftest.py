"""Whatever these tests verify, the second implementation verifies too, and must agree."""

import pytest

from second_reader import BOTH


@pytest.fixture(autouse=True)
def two_readers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts both behind every verifier that the test's module has imported by name.

    Not where a test measures how cheaply the package refuses."""
    if "cheap" in request.node.name:
        return
    for name in BOTH.keys() & vars(request.module).keys():
        monkeypatch.setattr(request.module, name, BOTH[name])
