"""Monitors: what a log says about one key, and whether it keeps what it acknowledged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import InclusionProofError, MalformedRecordError, VerificationError
from creditledger.ledger.acknowledged import (
    Acknowledged,
    Standing,
    beyond,
    parse_acknowledgements,
    standing_of,
)
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.monitor import Event, Monitor, Named, RulesChanged
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.receipt import ChainHead, Delivery
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.keys import Ed25519Signer
from ledger_pools import (
    OPERATOR,
    START_MS,
    VALIDATOR,
    fill,
    found,
    grant,
    registration,
    signed,
    signer,
    working,
)

NOW = START_MS + 1_000


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A pool where a client ordered, a node worked, the client confirmed, and a stranger stood by."""
    with found(tmp_path_factory.mktemp("monitored") / "pool") as made:
        work = working(made)
        made.append(registration(made.id, "stranger"))
        made.append(work.batch(2))
        head = ChainHead(node=signer("node").public_key, layer_start=0, receipt=work.heads[-1], positions=512)
        delivery = Delivery(client=signer("client").public_key, job=work.job, heads=(head,), closes=1)
        made.append(signed(made.id, delivery, signer("client")))
        made.complete_round()
        with made.read() as state:
            in_force = reading.parameters_in_force(state)
        changed = in_force.replace(sequence=in_force.sequence + 1, levy_ppm=1)
        made.append(signed(made.id, changed, OPERATOR.ed25519()))
        made.complete_round()
        yield made


def monitor(ledger: Ledger, key: bytes, start: int = 0) -> Monitor:
    source = DirectorySource(ledger.directory.public)
    return Monitor(Replica(source, ledger.policy()), source, key=key, start=start)


def named(events: list[Event]) -> list[tuple[str, set[str]]]:
    return [
        (event.record.KIND.name.lower(), set(event.fields)) for event in events if isinstance(event, Named)
    ]


def test_a_client_is_told_of_all_that_touches_it(ledger: Ledger) -> None:
    """Also where only the job is named, as in the node's receipts."""
    events = list(monitor(ledger, signer("client").public_key).turn(NOW))
    assert named(events) == [
        ("registration", {"account", "signature"}),
        ("grant", {"account"}),
        ("job", {"client", "signature"}),
        ("hold", {"holder", "job", "signature"}),
        ("batch", {"receipt.job"}),
        ("delivery", {"client", "job", "heads.receipt", "signature"}),
    ]


def test_a_node_is_told_of_plans_holds_and_payments(ledger: Ledger) -> None:
    found = dict(named(list(monitor(ledger, signer("node").public_key).turn(NOW))))
    assert found["job"] == {"plan.node"}
    assert found["hold"] == {"job"}
    assert found["batch"] == {"node", "signature", "receipt.node", "receipt.job"}
    assert found["delivery"] == {"job", "heads.node", "heads.receipt"}
    assert "grant" not in found


def test_a_stranger_is_told_of_its_registration_only(ledger: Ledger) -> None:
    events = list(monitor(ledger, signer("stranger").public_key).turn(NOW))
    assert named(events) == [("registration", {"account", "signature"})]
    assert named(list(monitor(ledger, signer("nobody").public_key).turn(NOW))) == []


def test_an_operator_is_told_of_what_its_key_signed(ledger: Ledger) -> None:
    found = named(list(monitor(ledger, OPERATOR.ed25519().public_key).turn(NOW)))
    assert ("genesis", {"operator", "signature"}) in found
    assert ("grant", {"signature"}) in found
    assert not {"job", "batch", "delivery", "registration"} & {kind for kind, _ in found}


def test_a_validator_is_told_of_its_seat_and_its_acts(ledger: Ledger) -> None:
    found = named(list(monitor(ledger, VALIDATOR.bls().public_key).turn(NOW)))
    assert ("genesis", {"parameters.committee.bls_key"}) in found
    assert ("parameters", {"committee.bls_key"}) in found
    assert ("attestation", {"signature"}) in found
    assert not {"grant", "job", "batch"} & {kind for kind, _ in found}


def test_everybody_is_told_of_new_rules(ledger: Ledger) -> None:
    changes = [
        event
        for event in monitor(ledger, signer("nobody").public_key).turn(NOW)
        if isinstance(event, RulesChanged)
    ]
    assert [(change.parameters.sequence, change.is_new_committee) for change in changes] == [(1, False)]


def test_a_new_committee_is_told_apart_from_other_rules(tmp_path: Path) -> None:
    from creditledger.ledger.founding import member_of
    from creditledger.ledger.keyring import KeyFile, KeyRole

    second = member_of(KeyFile(role=KeyRole.VALIDATOR, secret=b"\0" + b"\7" * 31, audit_secret=b"\5" * 32))
    with found(tmp_path / "pool") as ledger:
        parameters = ledger.genesis.parameters
        changed = parameters.replace(sequence=1, committee=(*parameters.committee, second))
        ledger.append(signed(ledger.id, changed, OPERATOR.ed25519()))
        ledger.publish()
        (change,) = monitor(ledger, signer("nobody").public_key).turn(NOW)
        assert isinstance(change, RulesChanged)
        assert change.is_new_committee


def test_a_later_turn_tells_only_what_is_new(tmp_path: Path) -> None:
    with found(tmp_path / "pool") as ledger:
        fill(ledger, 300)
        ledger.publish()
        watching = monitor(ledger, signer("filler").public_key)
        assert len(list(watching.turn(NOW))) == 299
        assert (list(watching.turn(NOW)), watching.next_index) == ([], 300)
        fill(ledger, 305)
        ledger.publish()
        assert [event.index for event in watching.turn(NOW)] == [300, 301, 302, 303, 304]
        resumed = monitor(ledger, signer("filler").public_key, start=303)
        assert [event.index for event in resumed.turn(NOW)] == [303, 304]


def test_bodies_are_checked_again_when_they_are_read_again(ledger: Ledger) -> None:
    """A server that shows one batch to be folded and another to be reported."""

    class TwoFaced(DirectorySource):
        __slots__ = ("asked",)

        def bodies(self, name: bytes) -> bytes:
            content = super().bodies(name)
            self.asked += 1
            return content if self.asked == 1 else content[:-1] + bytes([content[-1] ^ 1])

    source = TwoFaced(ledger.directory.public)
    source.asked = 0
    watching = Monitor(Replica(source, ledger.policy()), source, key=signer("node").public_key, start=0)
    with pytest.raises((InclusionProofError, MalformedRecordError)):
        list(watching.turn(NOW))


def test_acknowledgements_are_covered_early_or_broken(tmp_path: Path) -> None:
    with found(tmp_path / "pool") as ledger:
        fill(ledger, 300)
        ledger.publish()
        size = parse_checkpoint_note(ledger.checkpoint()).size
        early = ledger.append(grant(ledger.id, "filler", 1, number=10**6))
        checkpoint = parse_checkpoint_note(ledger.checkpoint())
        tiles = VerifiedTiles(DirectorySource(ledger.directory.public), checkpoint)
        with ledger.snapshot() as snapshot:
            leaves = [snapshot.log.node(0, index) for index in range(size)]
        for index, leaf in enumerate(leaves):
            promise = Acknowledged(index=index, leaf_hash=leaf)
            assert standing_of(promise, tiles, size=size) is Standing.COVERED
        moved = Acknowledged(index=298, leaf_hash=leaves[299])
        assert standing_of(moved, tiles, size=size) is Standing.CONTRADICTED
        promise = Acknowledged(index=early.index, leaf_hash=early.leaf_hash)
        assert standing_of(promise, tiles, size=size) is Standing.NOT_YET
        assert list(beyond(ledger, size)) == [promise]


def test_acknowledgements_as_append_prints_them() -> None:
    leaf = "ab" * 32
    lines = [f"ACK 7 {leaf}\n".encode(), b"REFUSED 3 ConflictError\n", f"ACK 0 {leaf}\n".encode()]
    assert [promise.index for promise in parse_acknowledgements(lines)] == [7, 0]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"ACK 7 " + b"ab" * 32,
        b"ACK 07 " + b"ab" * 32 + b"\n",
        b"ACK 9223372036854775808 " + b"ab" * 32 + b"\n",
        b"ACK +7 " + b"ab" * 32 + b"\n",
        "ACK \uff17 ".encode() + b"ab" * 32 + b"\n",
        b"ACK 7 " + b"AB" * 32 + b"\n",
        b"ACK 7 " + b"ab" * 31 + b"\n",
        b"ACK 7 " + b"ab" * 32 + b"\r\n",
        b"ack 7 " + b"ab" * 32 + b"\n",
        b"REFUSED x ConflictError\n",
    ],
)
def test_other_lines_are_no_acknowledgements(line: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        list(parse_acknowledgements([line]))


def test_a_log_that_does_not_hold_is_not_reported_on(tmp_path: Path) -> None:
    with found(tmp_path / "pool") as ledger:
        fill(ledger, 300)
        ledger.publish()
        path = ledger.directory.public / "tile" / "entries" / "001.p" / "44"
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        watching = monitor(ledger, Ed25519Signer(b"\1" * 32).public_key)
        with pytest.raises(VerificationError):
            list(watching.turn(NOW))
        assert watching.next_index == 0
