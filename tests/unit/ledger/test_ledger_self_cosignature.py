"""A log with a second key signs every checkpoint with ML-DSA-44, and nobody can be shown less."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import BusyError, PolicyError, RoleError, SignatureError
from creditledger.ledger.audit import audit
from creditledger.ledger.founding import create
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import LOG_KEY, OPERATOR_KEY, WITNESS_KEY, Ledger
from creditledger.ledger.prove import prover
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.note import (
    TYPE_COSIGNATURE,
    TYPE_COSIGNATURE_ML_DSA_44,
    Note,
    VerifierKey,
    parse_note,
)
from creditledger.transparency.quorum import NO_QUORUM, PolicyLog
from creditledger.transparency.tlog_proof import verify_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from ledger_pools import (
    OPERATOR,
    ORIGIN,
    START_MS,
    VALIDATOR,
    WITNESS,
    FixedClock,
    fill,
    found,
    pool_parameters,
    registration,
    seed,
    signer,
)

LOG_FILE = KeyFile(role=KeyRole.LOG, secret=seed("log"))
SECOND = LOG_FILE.ml_dsa(ORIGIN)


def founded(
    path: Path,
    *,
    keeps: bool = True,
    ml_dsa: MlDsaCosignatureSigner = SECOND,
    requires: bool = True,
    clock: FixedClock | None = None,
) -> Ledger:
    """A ledger whose log has a second key; ``keeps``: its file lies with the others."""
    keys = {OPERATOR_KEY: OPERATOR, WITNESS_KEY: WITNESS, "validator-0.key": VALIDATOR}
    return create(
        path,
        origin=ORIGIN,
        operator=OPERATOR.ed25519(),
        parameters=pool_parameters(),
        witness=WITNESS.ed25519(),
        ml_dsa=ml_dsa,
        requires_ml_dsa=requires,
        keys=keys | {LOG_KEY: LOG_FILE} if keeps else keys,
        clock=clock or FixedClock(),
    )


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    made = founded(tmp_path / "pool", clock=clock)
    made.append(registration(made.id, "alice"))
    made.complete_round()
    yield made
    made.close()


def without(note: bytes, vkey: VerifierKey) -> bytes:
    """The note with the line of a key struck out."""
    parsed = parse_note(note)
    kept = tuple(line for line in parsed.signatures if line.key_id != vkey.key_id)
    assert len(kept) == len(parsed.signatures) - 1
    return Note(text=parsed.text, signatures=kept).encode()


def ed25519_only(policy: TrustPolicy) -> TrustPolicy:
    """The policy of a reader who knows nothing of the second key."""
    return replace(policy, witnesses=policy.witnesses[:1], groups=(), quorum="local")


def test_the_policy_asks_for_both_cosigners(ledger: Ledger) -> None:
    policy, note = ledger.policy(), ledger.checkpoint()
    assert [entry.vkey.key_type for entry in policy.witnesses] == [
        TYPE_COSIGNATURE,
        TYPE_COSIGNATURE_ML_DSA_44,
    ]
    assert policy.witnesses[1].vkey == SECOND.vkey
    assert SECOND.vkey.name == ledger.origin
    verified = policy.verify_checkpoint(note)
    assert (verified.checkpoint.size, verified.cosigned_unix_ms) == (ledger.size, START_MS)
    for entry in policy.witnesses:
        with pytest.raises(PolicyError, match="quorum"):
            policy.verify_checkpoint(without(note, entry.vkey))
    assert ed25519_only(policy).verify_checkpoint(without(note, SECOND.vkey))


def test_every_publication_is_signed_anew_and_audits(ledger: Ledger, clock: FixedClock) -> None:
    fill(ledger, 300)
    clock.now = START_MS + 60_000
    note = ledger.publish()
    verified = ledger.policy().verify_checkpoint(note)
    assert (verified.checkpoint.size, verified.cosigned_unix_ms) == (300, START_MS + 60_000)
    report = audit(ledger.path, now_unix_ms=START_MS + 60_000)
    assert (report.problem, report.entries) == ("", 300)


def test_the_key_is_found_where_it_is_kept(ledger: Ledger) -> None:
    ledger.close()
    with Ledger.open(ledger.path, clock=FixedClock()) as opened:
        assert ledger.policy().verify_checkpoint(opened.publish())


def test_without_the_key_nothing_less_is_published(tmp_path: Path) -> None:
    founded(tmp_path / "pool", keeps=False).close()
    with Ledger.open(tmp_path / "pool", clock=FixedClock()) as opened:
        opened.append(registration(opened.id, "alice"))
        before = opened.checkpoint()
        with pytest.raises(BusyError, match="quorum"):
            opened.publish()
        assert opened.checkpoint() == before
    with Ledger.open(tmp_path / "pool", ml_dsa=SECOND, clock=FixedClock()) as opened:
        assert opened.policy().verify_checkpoint(opened.publish()).checkpoint.size == 2


def test_a_key_of_another_role_name_or_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RoleError, match="own origin"):
        founded(tmp_path / "pool", ml_dsa=LOG_FILE.ml_dsa("another.example"))
    assert not (tmp_path / "pool").exists()
    founded(tmp_path / "pool", keeps=False).close()
    path = tmp_path / "pool" / "keys" / LOG_KEY
    for key in (WITNESS, replace(LOG_FILE, ledger_id=bytes(32))):
        save_key(path, key)
        with pytest.raises(RoleError):
            Ledger.open(tmp_path / "pool")
        path.unlink()


def test_a_log_key_is_no_other_key_and_no_other_key_is_one() -> None:
    with pytest.raises(RoleError, match="kind"):
        LOG_FILE.ed25519()
    with pytest.raises(RoleError):
        WITNESS.ml_dsa(ORIGIN)
    fresh = KeyFile.new(KeyRole.LOG, random_bytes=os.urandom)
    assert KeyFile.decode(fresh.encode()) == fresh
    assert fresh.secret.hex() not in repr(fresh)


def test_a_bundle_carries_what_its_reader_knows(ledger: Ledger) -> None:
    policy, account = ledger.policy(), signer("alice").public_key
    for reader, lines in ((policy, 3), (ed25519_only(policy), 2)):
        with prover(ledger, reader) as prove:
            encoded = prove.account(account)
            proof, entry = prove.tlog_proof(1), prove.log.entry_bytes(1)
        assert len(parse_note(Bundle.decode(encoded).checkpoint).signatures) == lines
        assert verify_bundle(encoded, reader).reached == ("certified",)
        # A proof in text has the checkpoint as it was published: its readers ignore what they do not know.
        assert proof.checkpoint == ledger.checkpoint()
        assert verify_tlog_proof(proof.encode(), entry=entry, policy=reader).index == 1
    assert len(encoded) < 4_096
    with pytest.raises(PolicyError, match="quorum"):
        verify_bundle(encoded, policy)
    with prover(ledger) as prove:
        assert len(parse_note(prove.note).signatures) == 3


def test_a_second_key_that_is_not_asked_for_signs_and_stays_out_of_bundles(tmp_path: Path) -> None:
    """Its line is checked wherever it is, and costs nobody 3,300 bytes who does not ask for it."""
    with founded(tmp_path / "pool", requires=False) as ledger:
        ledger.append(registration(ledger.id, "alice"))
        ledger.complete_round()
        policy, note = ledger.policy(), ledger.checkpoint()
        assert policy.quorum == "local"
        assert len(parse_note(note).signatures) == 3
        assert policy.verify_checkpoint(note) == policy.verify_checkpoint(without(note, SECOND.vkey))
        with prover(ledger) as prove:
            encoded = prove.account(signer("alice").public_key)
        assert len(parse_note(Bundle.decode(encoded).checkpoint).signatures) == 2
        assert verify_bundle(encoded, policy).reached == ("certified",)
    parsed = parse_note(note)
    spoilt = tuple(
        replace(line, body=line.body[:-1] + bytes([line.body[-1] ^ 1]))
        if line.key_id == SECOND.vkey.key_id
        else line
        for line in parsed.signatures
    )
    with pytest.raises(SignatureError):
        policy.verify_checkpoint(Note(text=parsed.text, signatures=spoilt).encode())


def test_no_bundle_for_a_reader_who_knows_nobody(ledger: Ledger) -> None:
    stranger = VerifierKey(name=ORIGIN, key_type=1, public_key=signer("stranger").public_key)
    policy = TrustPolicy(logs=(PolicyLog(vkey=stranger),), quorum=NO_QUORUM)
    with pytest.raises(PolicyError, match="knows nobody"), prover(ledger, policy):
        pass


def test_a_ledger_without_the_key_is_as_before(tmp_path: Path) -> None:
    with found(tmp_path / "pool") as plain:
        assert plain.policy().quorum == "local"
        assert len(parse_note(plain.checkpoint()).signatures) == 2
