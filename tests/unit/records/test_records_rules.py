"""Rules between a record's fields: each refusal beside its nearest acceptance.

Source: specs/records.md §6 to §14."""

import json
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records import canonical
from creditledger.records.entry import LOGGED, Entry, Submission, record_from_values
from creditledger.records.job import Job, PlanSpan
from creditledger.records.kinds import Kind
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import ChainHead
from creditledger.records.record import Record
from creditledger.records.transfer import Hold, HoldPurpose
from record_strategies import RECORDS

FOLDER = Path(__file__).parents[2] / "vectors" / "records"
OTHER = b"\x01" * 32


def sample(name: str) -> Any:
    """The record of a vector."""
    vector = json.loads((FOLDER / f"{name}.json").read_text())
    return RECORDS[name].decode(bytes.fromhex(vector["encoded"]))


def plan(*edges: int) -> tuple[PlanSpan, ...]:
    return tuple(
        PlanSpan(layer_start=start, layer_stop=stop, node=OTHER)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    )


def heads(*starts: int) -> tuple[ChainHead, ...]:
    return tuple(ChainHead(node=OTHER, layer_start=start, receipt=OTHER, positions=1) for start in starts)


def parameters() -> Parameters:
    record: Parameters = sample("parameters")
    return record


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("registration", {"role": 1}),
    ("registration", {"role": 3}),
    ("registration", {"role": 4}),
    ("job", {"plan": plan(5, 6)}),
    ("job", {"plan": tuple(span for start in range(256) for span in plan(start, start + 1))}),
    ("job", {"max_positions": 1}),
    ("receipt", {"layer_start": 21, "layer_stop": 22}),
    ("receipt", {"window_start": 0, "positions": 1}),
    ("receipt", {"positions": 256}),
    ("receipt", {"output_kind": 1, "sampler": ZERO_DIGEST}),
    ("receipt", {"output_kind": 2, "sampler": ZERO_DIGEST}),
    ("batch", {"count": 1}),
    ("batch", {"count": 4096}),
    ("delivery", {"heads": heads(0)}),
    ("delivery", {"closes": 0}),
    ("parameters", {"quorum": 1}),
    ("parameters", {"quorum": 3}),
    ("parameters", {"admission": 1, "levy_use": 3, "transfers_allowed": 0}),
    ("parameters", {"models": (), "hardware": (), "profiles": ()}),
    ("verdict", {"outcome": 1, "reason": 1}),
    ("verdict", {"outcome": 3, "reason": 9}),
    ("verdict", {"outcome": 2, "reason": 10}),
    ("transfer", {"amount_micro": 2**63 - 1}),
    ("hold", {"amount_micro": 1}),
    ("account_state", {"available_micro": 1, "overdrawn_micro": 0}),
    ("account_state", {"available_micro": 0, "overdrawn_micro": 1}),
]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("registration", {"role": 0}),
    ("registration", {"role": 5}),
    ("job", {"plan": ()}),
    ("job", {"plan": plan(5, 5)}),
    ("job", {"plan": plan(6, 5)}),
    ("job", {"plan": plan(0, 5, 6, 7)}),
    ("job", {"plan": plan(0, 5, 4, 7)}),
    ("job", {"plan": plan(5, 7, 0, 5)}),
    ("job", {"plan": tuple(span for start in range(257) for span in plan(start, start + 1))}),
    ("job", {"max_positions": 0}),
    ("receipt", {"layer_start": 22, "layer_stop": 22}),
    ("receipt", {"layer_start": 23, "layer_stop": 22}),
    ("receipt", {"window_start": 255}),
    ("receipt", {"window_start": 1}),
    ("receipt", {"positions": 0}),
    ("receipt", {"positions": 257}),
    ("receipt", {"output_kind": 0}),
    ("receipt", {"output_kind": 3}),
    ("receipt", {"output_kind": 1, "sampler": OTHER}),
    ("batch", {"count": 0}),
    ("batch", {"count": 4097}),
    ("delivery", {"heads": ()}),
    ("delivery", {"heads": heads(0, 0)}),
    ("delivery", {"heads": heads(1, 0)}),
    ("delivery", {"closes": 2}),
    ("parameters", {"quorum": 0}),
    ("parameters", {"quorum": 4}),
    ("parameters", {"committee": (), "quorum": 1}),
    ("parameters", {"committee": (parameters().committee[0],) * 3}),
    ("parameters", {"admission": 0}),
    ("parameters", {"admission": 3}),
    ("parameters", {"levy_use": 0}),
    ("parameters", {"levy_use": 4}),
    ("parameters", {"transfers_allowed": 2}),
    ("parameters", {"models": parameters().models[::-1]}),
    ("parameters", {"models": parameters().models[:1] * 2}),
    ("parameters", {"hardware": parameters().hardware[::-1]}),
    ("parameters", {"profiles": parameters().profiles[::-1]}),
    ("genesis", {"parameters": parameters()}),
    ("verdict", {"outcome": 0}),
    ("verdict", {"outcome": 4}),
    ("verdict", {"reason": 0}),
    ("verdict", {"reason": 11}),
    ("transfer", {"amount_micro": 0}),
    ("transfer", {"payee": sample("transfer").payer}),
    ("hold", {"amount_micro": 0}),
    ("hold", {"queue": ZERO_DIGEST}),
    ("hold", {"job": OTHER}),
    ("account_state", {"available_micro": 1, "overdrawn_micro": 1}),
]


@pytest.mark.parametrize(("name", "changes"), ACCEPTED, ids=str)
def test_a_record_within_its_rules_is_accepted(name: str, changes: dict[str, Any]) -> None:
    record = sample(name).replace(**changes)
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize(("name", "changes"), REFUSED, ids=[f"{name} {[*c]}" for name, c in REFUSED])
def test_a_record_outside_its_rules_is_refused(name: str, changes: dict[str, Any]) -> None:
    """Neither built nor read: the bytes are made past the check, by hand."""
    record = sample(name)
    with pytest.raises(MalformedRecordError):
        record.replace(**changes)
    forged = forge(record, changes)
    with pytest.raises(MalformedRecordError):
        type(record).decode(forged)


def forge(record: Record, changes: dict[str, Any]) -> bytes:
    """The encoding of ``record`` with fields that it refuses."""
    names = list(record.__struct_fields__)
    values = list(record.to_values())
    for name, value in changes.items():
        values[2 + names.index(name)] = plain(value)
    return canonical.encode(values)


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [item.to_values() for item in value]
    return value.to_values() if isinstance(value, Record) else value


def test_partial_sums_are_rounded_or_not() -> None:
    numerics = sample("receipt").numerics
    assert numerics.replace(bf16_partials=1).bf16_partials == 1
    with pytest.raises(MalformedRecordError):
        numerics.replace(bf16_partials=2)


def test_a_hold_is_for_a_job_or_for_a_voucher() -> None:
    voucher: Hold = sample("hold")
    job = voucher.replace(job=OTHER, queue=ZERO_DIGEST)
    assert (voucher.purpose, job.purpose) == (HoldPurpose.VOUCHER, HoldPurpose.JOB)


def test_a_plan_finds_the_span_that_begins_at_a_layer() -> None:
    job: Job = sample("job")
    assert job.span_of(11) == job.plan[1]
    assert job.span_of(12) is None


def test_parameters_answer_for_what_they_list() -> None:
    record = parameters()
    model, price, profile = record.models[1], record.hardware[1], record.profiles[1]
    assert record.model_terms(model.model) == model
    assert record.model_terms(ZERO_DIGEST) is None
    assert record.hardware_price("h100") == price
    assert record.hardware_price("h1000") is None
    assert record.profile_digest(profile.model, profile.layer_stop) == profile.profile
    assert record.profile_digest(profile.model, profile.layer_stop + 1) is None


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(LOGGED)))
def test_other_kinds_do_not_stand_in_the_log(kind: Kind) -> None:
    """Receipts and verdicts are bodies, states are derived, quotes are offers, the rest is reserved."""
    record = RECORDS.get(kind.name.lower())
    values = sample(kind.name.lower()).to_values() if record else [int(kind), 1]
    with pytest.raises(MalformedRecordError):
        record_from_values(values)


@pytest.mark.parametrize("name", sorted(record.KIND.name.lower() for record in LOGGED.values()))
def test_logged_kinds_do(name: str) -> None:
    record = sample(name)
    assert record_from_values(record.to_values()) == record


@pytest.mark.parametrize("values", [7, b"", [], [[48]], [b"0"], [999, 1], [True, 1], ()])
def test_what_is_no_record_is_refused(values: Any) -> None:
    with pytest.raises(MalformedRecordError):
        record_from_values(values)


@pytest.mark.parametrize("length", [64, 96])
def test_a_signature_is_as_long_as_its_scheme_says(length: int) -> None:
    entry = Entry(time_unix_ms=0, record=sample("grant"), signature=bytes(length))
    assert Entry.decode(entry.encode()) == entry
    submission = Submission(record=sample("grant"), signature=bytes(length))
    assert Submission.decode(submission.encode()) == submission


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), bytes(95), bytes(97), "a" * 64, None])
def test_a_signature_of_another_length_is_neither_written_nor_read(signature: Any) -> None:
    with pytest.raises(MalformedRecordError):
        Entry(time_unix_ms=0, record=sample("grant"), signature=signature)
    with pytest.raises(MalformedRecordError):
        Submission(record=sample("grant"), signature=signature)
    if isinstance(signature, bytes):
        values = sample("grant").to_values()
        with pytest.raises(MalformedRecordError):
            Entry.decode(canonical.encode([1, 1, 0, values, signature]))
        with pytest.raises(MalformedRecordError):
            Submission.decode(canonical.encode([[values, signature], []]))


@pytest.mark.parametrize("record", [sample("receipt"), sample("quote"), sample("key_state"), None, [48, 1]])
def test_only_a_loggable_record_is_submitted(record: Any) -> None:
    with pytest.raises(MalformedRecordError):
        Submission(record=record, signature=bytes(64))
    with pytest.raises(MalformedRecordError):
        Entry(time_unix_ms=0, record=record, signature=bytes(64))


@pytest.mark.parametrize("time", [-1, 2**63, True, 1.0, None])
def test_an_entry_time_is_a_time(time: Any) -> None:
    assert Entry(time_unix_ms=2**63 - 1, record=sample("grant"), signature=bytes(64)).encode()
    with pytest.raises(MalformedRecordError):
        Entry(time_unix_ms=time, record=sample("grant"), signature=bytes(64))


@pytest.mark.parametrize("bodies", [[b"a"], ("a",), (1,), (bytearray(b"a"),), (None,), None])
def test_bodies_are_bytes(bodies: Any) -> None:
    assert Submission(record=sample("batch"), signature=bytes(64), bodies=(b"a", b"")).encode()
    with pytest.raises(MalformedRecordError):
        Submission(record=sample("batch"), signature=bytes(64), bodies=bodies)


GRANT = sample("grant").to_values()


@pytest.mark.parametrize(
    "values",
    [
        [1, 1, 0, GRANT], [1, 1, 0, GRANT, bytes(64), 0], [2, 1, 0, GRANT, bytes(64)],
        [1, 2, 0, GRANT, bytes(64)], [1, 1, b"", GRANT, bytes(64)], [1, 1, [], GRANT, bytes(64)],
        [1, 1, 0, canonical.encode(GRANT), bytes(64)], [1, 1, 0, [], bytes(64)],
        [1, 1, 0, GRANT, [0] * 64], 7,
    ],
)  # fmt: skip
def test_an_entry_has_five_parts(values: Any) -> None:
    assert Entry.decode(canonical.encode([1, 1, 0, GRANT, bytes(64)])).time_unix_ms == 0
    with pytest.raises(MalformedRecordError):
        Entry.decode(canonical.encode(values))


@pytest.mark.parametrize(
    "values",
    [
        [[GRANT, bytes(64)]], [[GRANT, bytes(64)], [], []], [[GRANT], []], [[GRANT, bytes(64), 0], []],
        [[GRANT, bytes(64)], b""], [[GRANT, bytes(64)], [1]], [[GRANT, bytes(64)], [[b""]]],
        [GRANT, bytes(64), []], [[GRANT, [0] * 64], []], [b"", []], 7,
    ],
)  # fmt: skip
def test_a_submission_has_a_signed_record_and_bodies(values: Any) -> None:
    assert Submission.decode(canonical.encode([[GRANT, bytes(64)], [b""]])).bodies == (b"",)
    with pytest.raises(MalformedRecordError):
        Submission.decode(canonical.encode(values))


def test_an_entry_has_at_most_65535_bytes() -> None:
    """A record that fits alone may be too long once it carries its time and signature."""
    levy = sample("levy")
    share = levy.shares[0]
    overhead = len(levy.encode()) + 200
    most = levy.replace(shares=(share,) * ((65_535 - overhead) // len(canonical.encode(share.to_values()))))
    assert Entry(time_unix_ms=0, record=most, signature=bytes(64)).encode()
    brim = most.replace(shares=most.shares + (share,) * 5)
    assert brim.encode()
    with pytest.raises(MalformedRecordError, match="long"):
        Entry(time_unix_ms=2**40, record=brim, signature=bytes(96)).encode()
