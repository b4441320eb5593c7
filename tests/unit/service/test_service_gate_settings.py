"""`service.toml`: what it may say, and that what it may not say is refused by name."""

from pathlib import Path

import pytest

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.records.parameters import Admission
from creditledger.service.pool.gate_settings import FILE_BYTES_MAX, AdmissionPolicy, GateSettings

WHOLE = b"""
[admission]
policy = "invite"

[reading]
private = true

[limits]
submissions_per_minute = 0
requests_per_minute = 10
"""


def test_a_whole_file_is_read() -> None:
    found = GateSettings.parse(WHOLE)
    assert found.policy is AdmissionPolicy.INVITE
    assert (found.is_private, found.are_metrics_private, found.is_submitting_private) == (True, True, True)
    assert (found.limits.submissions_per_minute, found.limits.requests_per_minute) == (0, 10)
    assert found.limits.anonymous_per_minute == GateSettings().limits.anonymous_per_minute


def test_without_a_file_or_with_an_empty_one_everybody_may_read(tmp_path: Path) -> None:
    assert GateSettings.load(tmp_path / "service.toml") == GateSettings() == GateSettings.parse(b"")
    assert not GateSettings().is_private


def test_parts_are_closed_one_by_one() -> None:
    found = GateSettings.parse(b"[metrics]\nprivate = true\n[submitting]\nprivate = true\n")
    assert (found.is_private, found.are_metrics_private, found.is_submitting_private) == (False, True, True)
    found = GateSettings.parse(b"[metrics]\nprivate = false\n[reading]\nprivate = true\n")
    assert found.are_metrics_private


@pytest.mark.parametrize(
    "content",
    [
        b"policy = 'open'",
        b"[admission]\npolice = 'open'",
        b"[admission]\npolicy = 'everybody'",
        b"[admission]\npolicy = 1",
        b"admission = 1",
        b"[reading]\nprivate = 1",
        b"[reading]\nprivate = 'yes'",
        b"[limits]\nsubmissions_per_minute = -1",
        b"[limits]\nsubmissions_per_minute = 1.5",
        b"[limits]\nsubmissions_per_minute = true",
        b"[limits]\nsubmissions_per_minute = 1_000_000_001",
        b"[limits]\nper_address = 5",
        b"[[limits]]\nsubmissions_per_minute = 1",
        b"[reading]\nprivate = true\nprivate = false",
        b"[reading",
        b"\xff",
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        GateSettings.parse(content)


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_bytes(b"#" * FILE_BYTES_MAX)
    GateSettings.load(tmp_path / "service.toml")
    (tmp_path / "service.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(StorageError):
        GateSettings.load(tmp_path / "service.toml")


def test_the_service_is_never_stricter_than_the_ledger_can_be() -> None:
    """Where the ledger's rules let anybody register, a service cannot say otherwise."""
    for policy in AdmissionPolicy:
        assert GateSettings(policy=policy).policy_for(Admission.APPROVAL) is policy
    assert GateSettings().policy_for(Admission.APPROVAL) is AdmissionPolicy.APPROVAL
    assert GateSettings().policy_for(Admission.OPEN) is AdmissionPolicy.OPEN
    assert GateSettings(policy=AdmissionPolicy.OPEN).policy_for(Admission.OPEN) is AdmissionPolicy.OPEN
    for policy in (AdmissionPolicy.INVITE, AdmissionPolicy.APPROVAL):
        with pytest.raises(MalformedRecordError, match="stricter"):
            GateSettings(policy=policy).policy_for(Admission.OPEN)
