"""Verbs that need the extra ``service`` say so where a part of it is missing."""

import pytest

from creditledger.cli import listening
from creditledger.errors import StorageError


def test_where_all_of_it_is_there_nothing_is_said() -> None:
    listening.require_service("a server")


@pytest.mark.parametrize("missing", listening.SERVICE_PACKAGES)
def test_each_package_is_looked_for(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = listening.find_spec
    monkeypatch.setattr(listening, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(StorageError, match="creditledger\\[service\\]") as refusal:
        listening.require_service("a server")
    assert refusal.value.found == f"no {missing}"
