"""Trust policies: which lines, which quorum, whose signature, how old."""

from pathlib import Path

import pytest

from creditledger.errors import (
    MalformedBundleError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
)
from creditledger.transparency.certificate import Committee, CommitteeMember
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import (
    Ed25519NoteSigner,
    VerifierKey,
    add_signatures,
    parse_note,
)
from creditledger.transparency.quorum import KeyRange, PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.trust_policy import TrustPolicy

ORIGIN = "example.org/log"
LOG = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x01" * 32))
WITNESSES = [
    CosignatureSigner(f"w{number}.example", Ed25519Signer(bytes([16 + number]) * 32)) for number in range(4)
]
SELF = MlDsaCosignatureSigner(ORIGIN, b"\x09" * 32)
CHECKPOINT = Checkpoint(origin=ORIGIN, size=5, root=b"\x42" * 32)
NOTE = sign_checkpoint(CHECKPOINT, [LOG])

LINES = f"""\
# two of the three, and the fourth
log {LOG.vkey} https://example.org/log
witness A {WITNESSES[0].vkey} https://w0.example/
witness B {WITNESSES[1].vkey}
\twitness  C\t{WITNESSES[2].vkey}
witness D {WITNESSES[3].vkey}

group some 2 A B C
group every all some D
quorum every
#creditledger ledger {"ab" * 32}
#creditledger validator {"81" * 48} {"82" * 96}
#creditledger validator {"83" * 48} {"84" * 96}
#creditledger quorum 2
#creditledger max-age-ms 60000
#creditledge is a comment, and so is the next line
   # indented
"""
POLICY = TrustPolicy.parse(LINES.encode())


def cosigned(**times: int) -> bytes:
    lines = [
        WITNESSES["ABCD".index(name)].cosign(CHECKPOINT.text, timestamp=time).line
        for name, time in times.items()
    ]
    return add_signatures(NOTE, lines)


def test_the_parts_of_a_policy() -> None:
    assert POLICY.logs == (PolicyLog(vkey=LOG.vkey, url="https://example.org/log"),)
    assert POLICY.witnesses[0] == PolicyWitness(name="A", vkey=WITNESSES[0].vkey, url="https://w0.example/")
    assert POLICY.groups[0] == WitnessGroup(name="some", threshold=2, members=("A", "B", "C"))
    assert POLICY.groups[1].threshold == 2
    assert (POLICY.quorum, POLICY.ledger_id, POLICY.max_age_ms) == ("every", b"\xab" * 32, 60_000)
    assert POLICY.committee == Committee(
        members=(
            CommitteeMember(bls_key=b"\x81" * 48, proof_of_possession=b"\x82" * 96),
            CommitteeMember(bls_key=b"\x83" * 48, proof_of_possession=b"\x84" * 96),
        ),
        quorum=2,
    )


def test_parsing_undoes_serializing(tmp_path: Path) -> None:
    assert TrustPolicy.parse(POLICY.serialize()) == POLICY
    plain = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),))
    assert TrustPolicy.parse(plain.serialize()) == plain
    (tmp_path / "policy").write_bytes(POLICY.serialize())
    assert TrustPolicy.load(tmp_path / "policy") == TrustPolicy.load(f"{tmp_path}/policy") == POLICY


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(MalformedRecordError) as refusal:
        TrustPolicy.load(tmp_path / "none")
    assert refusal.value.exit_code == 2


def test_names_are_octets() -> None:
    """Source: tlog-policy: the Kelvin sign is not the letter K, and bytes need not be UTF-8."""
    text = (f"witness K {WITNESSES[0].vkey}\nwitness \u212a {WITNESSES[1].vkey}\nquorum \u212a\n").encode()
    assert TrustPolicy.parse(text).quorum == "\u212a"
    raw = text.replace("\u212a".encode(), b"\xff")
    assert TrustPolicy.parse(raw).serialize() == raw


A, B = str(WITNESSES[0].vkey), str(WITNESSES[1].vkey)
ONE = f"witness A {A}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ONE,
        ONE + "quorum A",
        ONE + "quorum A\nquorum A\n",
        ONE + "quorum B\n",
        ONE + "quorum\n",
        ONE + "quorum A A\n",
        "quorum A\n" + ONE,
        ONE + ONE + "quorum A\n",
        ONE + f"witness A {B}\nquorum A\n",
        ONE + f"witness B {A}\nquorum A\n",
        f"witness none {A}\nquorum none\n",
        f"witness A {LOG.vkey}\nquorum A\n",
        f"log {A}\nquorum none\n",
        f"log {LOG.vkey}\nlog {LOG.vkey}\nquorum none\n",
        f"log {LOG.vkey} url more\nquorum none\n",
        "log\nquorum none\n",
        "log example.org+00000000+AQ==\nquorum none\n",
        "logs x\nquorum none\n",
        ONE + "group g any B\nquorum g\n",
        ONE + "group g any A A\nquorum g\n",
        ONE + "group g any A\ngroup h any A\nquorum g\n",
        ONE + "group g any none\nquorum g\n",
        ONE + "group g any g\nquorum g\n",
        ONE + "group g 0 A\nquorum g\n",
        ONE + "group g 2 A\nquorum g\n",
        ONE + "group g 01 A\nquorum g\n",
        ONE + "group g +1 A\nquorum g\n",
        ONE + "group g some A\nquorum g\n",
        ONE + "group g any\nquorum g\n",
        ONE + "group A any A\nquorum A\n",
        ONE + f"group g any A B\nwitness B {B}\nquorum g\n",
        ONE + "quorum A\r\n",
        ONE + "quorum A\x00\n",
        ONE + "quorum\u00a0A\n",
        "quorum none\n#creditledger\n",
        "quorum none\n#creditledger colour red\n",
        "quorum none\n#creditledger:max-age-ms 5\n",
        "quorum none\n#creditledger log x\n",
        "quorum none\n#creditledger max-age-ms\n",
        "quorum none\n#creditledger max-age-ms 1 2\n",
        "quorum none\n#creditledger max-age-ms 1.5\n",
        "quorum none\n#creditledger max-age-ms 1\n#creditledger max-age-ms 1\n",
        "quorum none\n#creditledger ledger " + "ab" * 31 + "\n",
        "quorum none\n#creditledger ledger " + "AB" * 32 + "\n",
        "quorum none\n" + ("#creditledger ledger " + "ab" * 32 + "\n") * 2,
        "quorum none\n#creditledger quorum 1\n",
        "quorum none\n#creditledger validator " + "81" * 48 + " " + "82" * 96 + "\n",
        "quorum none\n#creditledger validator " + "81" * 48 + "\n#creditledger quorum 1\n",
        "quorum none\n#creditledger validator " + "81" * 48 + " " + "82" * 96 + "\n#creditledger quorum 2\n",
    ],
)
def test_malformed_policies_are_refused(text: str) -> None:
    TrustPolicy.parse((ONE + "group g any A\nquorum g\n").encode())
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(text.encode())


def test_one_key_under_two_types_is_one_vote() -> None:
    """vkeys that wrap one key are duplicates, whatever name and type they give it."""
    same = VerifierKey(name="other", key_type=4, public_key=LOG.vkey.public_key)
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(f"log {LOG.vkey}\nwitness A {same}\nquorum A\n".encode())
    again = VerifierKey(name="other", key_type=4, public_key=WITNESSES[0].vkey.public_key)
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(f"witness A {A}\nwitness B {again}\nquorum A\n".encode())


def test_a_policy_that_is_too_large_is_refused() -> None:
    TrustPolicy.parse(b"quorum none\n" + b"#" * 1000 + b"\n")
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(b"quorum none\n" + b"#" * 1_000_000 + b"\n")


@pytest.mark.parametrize(
    ("times", "since"),
    [
        ({"A": 100, "B": 90, "D": 95}, 90),
        ({"A": 100, "B": 90, "C": 10, "D": 95}, 90),
        ({"A": 7, "B": 8, "C": 9, "D": 10**9}, 8),
    ],
)
def test_a_quorum_and_since_when(times: dict[str, int], since: int) -> None:
    verified = POLICY.verify_checkpoint(cosigned(**times))
    assert verified.checkpoint == CHECKPOINT
    assert verified.cosigned_unix_ms == since * 1_000


@pytest.mark.parametrize("names", ["", "A", "AB", "ABC", "D", "AD"])
def test_less_than_the_quorum_is_refused(names: str) -> None:
    with pytest.raises(PolicyError, match="quorum"):
        POLICY.verify_checkpoint(cosigned(**dict.fromkeys(names, 100)))


def test_one_witness_many_lines_is_one_vote() -> None:
    """The later of its times counts, and only once."""
    line = [WITNESSES[0].cosign(CHECKPOINT.text, timestamp=time).line for time in (1, 2, 3)]
    with pytest.raises(PolicyError):
        POLICY.verify_checkpoint(add_signatures(cosigned(D=5), line))
    verified = POLICY.verify_checkpoint(add_signatures(cosigned(B=4, D=5), line))
    assert verified.cosigned_unix_ms == 3_000


def test_without_the_logs_signature_it_is_refused() -> None:
    parsed = parse_note(cosigned(A=9, B=9, D=9))
    unsigned = parsed.text + b"\n" + b"".join(line.line for line in parsed.signatures[1:])
    with pytest.raises(SignatureError, match="not signed by a log"):
        POLICY.verify_checkpoint(unsigned)


def test_the_logs_key_under_another_origin_is_refused() -> None:
    other = Checkpoint(origin="example.org/other", size=5, root=bytes(32))
    plain = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),))
    plain.verify_checkpoint(NOTE)
    with pytest.raises(SignatureError, match="own origin"):
        plain.verify_checkpoint(sign_checkpoint(other, [LOG]))


def test_a_failing_known_cosignature_is_refused() -> None:
    forged = cosigned(A=9, B=9, D=9) + WITNESSES[2].cosign(b"other\n", timestamp=9).line
    with pytest.raises(SignatureError):
        POLICY.verify_checkpoint(forged)


def test_bytes_that_are_no_checkpoint_are_refused() -> None:
    plain = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),))
    from creditledger.transparency.note import sign_note

    for note in (b"", NOTE[:-1], sign_note(b"example.org/log\nhello\n", [LOG])):
        with pytest.raises(MalformedRecordError):
            plain.verify_checkpoint(note)
        with pytest.raises(MalformedBundleError):
            plain.verify_checkpoint(note, only_known=True)


def test_the_empty_log_has_the_empty_root() -> None:
    plain = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),))
    from creditledger.transparency.merkle import EMPTY_ROOT

    good = Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT)
    assert plain.verify_checkpoint(sign_checkpoint(good, [LOG])).cosigned_unix_ms is None
    bad = Checkpoint(origin=ORIGIN, size=0, root=bytes(32))
    with pytest.raises(PolicyError):
        plain.verify_checkpoint(sign_checkpoint(bad, [LOG]))


def test_age_is_that_of_the_quorum() -> None:
    note = cosigned(A=100, B=200, C=150, D=190)
    POLICY.verify_checkpoint(note)
    for now in (150_000, 210_000, 90_000):
        assert POLICY.verify_checkpoint(note, now_unix_ms=now).cosigned_unix_ms == 150_000
    for now in (210_001, 10**15, 89_999, 0):
        with pytest.raises(PolicyError, match="fresh"):
            POLICY.verify_checkpoint(note, now_unix_ms=now)


def test_an_age_limit_without_a_quorum_cannot_be_met() -> None:
    policy = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),), max_age_ms=5)
    policy.verify_checkpoint(NOTE)
    with pytest.raises(PolicyError, match="fresh"):
        policy.verify_checkpoint(NOTE, now_unix_ms=5)


def test_the_logs_ml_dsa_self_cosignature_counts_as_a_required_witness() -> None:
    text = f"log {LOG.vkey}\nwitness self {SELF.vkey}\nwitness A {A}\ngroup g all self A\nquorum g\n"
    policy = TrustPolicy.parse(text.encode())
    with pytest.raises(PolicyError):
        policy.verify_checkpoint(cosigned(A=7))
    note = add_signatures(cosigned(A=7), [SELF.cosign(CHECKPOINT.text, timestamp=8).line])
    assert policy.verify_checkpoint(note).cosigned_unix_ms == 7_000
    assert TrustPolicy.parse(policy.serialize()) == policy


def test_in_a_bundle_each_line_is_a_known_keys_only_line() -> None:
    note = cosigned(A=9, B=9, D=9)
    POLICY.verify_checkpoint(note, only_known=True)
    stranger = CosignatureSigner("x.example", Ed25519Signer(b"\x55" * 32))
    for line in (
        stranger.cosign(CHECKPOINT.text, timestamp=9).line,
        WITNESSES[0].cosign(CHECKPOINT.text, timestamp=8).line,
    ):
        longer = add_signatures(note, [line])
        POLICY.verify_checkpoint(longer)
        with pytest.raises(MalformedBundleError):
            POLICY.verify_checkpoint(longer, only_known=True)


def test_a_group_counts_a_member_once_however_it_was_built() -> None:
    witnesses = tuple(
        PolicyWitness(name=name, vkey=witness.vkey) for name, witness in zip("AB", WITNESSES, strict=False)
    )
    with pytest.raises(MalformedRecordError):
        TrustPolicy(
            logs=(),
            witnesses=witnesses,
            groups=(WitnessGroup(name="g", threshold=2, members=("A", "A")),),
            quorum="g",
        )
    with pytest.raises(MalformedRecordError):
        WitnessGroup(name="g", threshold=3, members=("A", "B"))
    with pytest.raises(MalformedRecordError):
        TrustPolicy(logs=(), ledger_id=bytes(31))


LATER = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x02" * 32))
LOG_KEY, LATER_KEY = (signer.vkey.public_key.hex() for signer in (LOG, LATER))
ROTATED = f"""\
log {LOG.vkey}
log {LATER.vkey}
witness A {WITNESSES[0].vkey}
quorum A
#creditledger key {LOG_KEY} 0 5
#creditledger key {LATER_KEY} 5 0
"""


def at_size(size: int, *signers: Ed25519NoteSigner) -> bytes:
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=b"\x42" * 32)
    line = WITNESSES[0].cosign(checkpoint.text, timestamp=7).line
    return add_signatures(sign_checkpoint(checkpoint, signers), [line])


def test_a_key_counts_for_the_sizes_of_its_range() -> None:
    """L14: the policy lists key ranges; by the retired key at a later size, none accepted."""
    policy = TrustPolicy.parse(ROTATED.encode())
    for size in (1, 4, 5, 6, 2**63 - 1):
        right, wrong = (LOG, LATER) if size < 5 else (LATER, LOG)
        key = right.vkey.public_key
        assert policy.verify_checkpoint(at_size(size, right)).log_keys == {key}
        assert policy.verify_checkpoint(at_size(size, LOG, LATER)).log_keys == {key}
        with pytest.raises(SignatureError, match="does not sign for this size"):
            policy.verify_checkpoint(at_size(size, wrong))
        policy.for_any_size().verify_checkpoint(at_size(size, wrong))


def test_a_retired_key_asks_for_a_quorum() -> None:
    """L14: under quorum none its holder could show anybody any tree of an old size."""
    unwatched = TrustPolicy.parse(ROTATED.replace("quorum A", "quorum none").encode())
    with pytest.raises(PolicyError, match="retired key"):
        unwatched.verify_checkpoint(at_size(4, LOG))
    unwatched.verify_checkpoint(at_size(5, LATER))


def test_ranges_are_written_as_they_are_read() -> None:
    policy = TrustPolicy.parse(ROTATED.encode())
    assert [log.range for log in policy.logs] == [
        KeyRange(first_size=0, until_size=5),
        KeyRange(first_size=5, until_size=0),
    ]
    assert TrustPolicy.parse(policy.serialize()) == policy
    assert policy.serialize().count(b"#creditledger key ") == 2


@pytest.mark.parametrize(
    "line",
    [
        f"#creditledger key {LOG_KEY} 0 6",
        f"#creditledger key {'11' * 32} 0 0",
        f"#creditledger key {LOG_KEY.upper()} 0 5",
        "#creditledger key",
    ],
)
def test_a_range_is_of_one_earlier_key(line: str) -> None:
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(ROTATED.encode() + line.encode() + b"\n")


@pytest.mark.parametrize(
    "range_", ["5 5", "6 5", "05 0", "-1 0", "0 +5", "0", "0 5 6", "0 9223372036854775808"]
)
def test_a_range_is_two_ascending_decimals(range_: str) -> None:
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse(ROTATED.replace(f"{LOG_KEY} 0 5", f"{LOG_KEY} {range_}").encode())


def test_a_range_stands_below_its_log() -> None:
    lines = ROTATED.splitlines(keepends=True)
    with pytest.raises(MalformedRecordError):
        TrustPolicy.parse("".join([lines[4], *lines[:4], lines[5]]).encode())
