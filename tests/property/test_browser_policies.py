"""Checkpoints and policies, damaged in every place: the page's verifier takes what the package takes."""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from browser_reader import BrowserReader, agree_on, browser_reader, damaged, takes
from creditledger.errors import CreditLedgerError
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.merkle import EMPTY_ROOT
from creditledger.transparency.note import Ed25519NoteSigner, NoteSignature
from creditledger.transparency.quorum import KeyRange, PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import ed25519
from fakes.committee import fake_digest

pytestmark = pytest.mark.chromium

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="module")
def reader() -> Iterator[BrowserReader]:
    with browser_reader() as started:
        yield started


LOG, TIME = ed25519("browser log"), 1_800_000_000
ORIGIN = "pool.example/log"
SIGNER = Ed25519NoteSigner(ORIGIN, LOG)
WITNESSES = {name: CosignatureSigner(name, ed25519(name)) for name in ("w1", "w2", "w3")}
POST_QUANTUM = MlDsaCosignatureSigner("pq", fake_digest("pq"))
ROOT = base64.b64encode(bytes(range(32))).decode()
EMPTY = base64.b64encode(EMPTY_ROOT).decode()
POLICY = TrustPolicy(
    logs=(PolicyLog(vkey=SIGNER.vkey),),
    witnesses=tuple(PolicyWitness(name=name, vkey=signer.vkey) for name, signer in WITNESSES.items()),
    groups=(WitnessGroup(name="two", threshold=2, members=("w1", "w2", "w3")),),
    quorum="two",
)
HEAD = """async ([policy, note, now]) => {
  const trusted = await parsePolicy(bytes(policy)), head = await openHead(trusted, bytes(note));
  await verifyLog(trusted, head);
  return verifyAge(trusted, await verifyWitnesses(trusted, head), now);
}"""


def head_taken(asked: tuple[TrustPolicy, bytes, int | None]) -> bool:
    policy, note, now = asked

    def read(_: object) -> None:
        policy.verify_checkpoint(note, now_unix_ms=now, only_known=True)
        lines = note.rpartition(b"\n\n")[2].splitlines()
        if lines != sorted(lines):
            raise CreditLedgerError("lines of a bundle's checkpoint ascend")

    return takes(read, None)


def heads_agree(reader: BrowserReader, heads: Sequence[tuple[TrustPolicy, bytes, int | None]]) -> int:
    asked = [[policy.serialize().hex(), note.hex(), now] for policy, note, now in heads]
    return agree_on(reader, HEAD, asked, [head_taken(one) for one in heads])


def noted(text: str | bytes, *lines: NoteSignature | bytes, order: bool = True) -> bytes:
    text = text if isinstance(text, bytes) else text.encode()
    written = [line if isinstance(line, bytes) else line.line for line in lines]
    return text + b"\n" + b"".join(sorted(written) if order else written)


def signed(text: str | bytes, *names: str) -> list[NoteSignature]:
    """The log's line, and those of witnesses, whatever the text is."""
    raw = text if isinstance(text, bytes) else text.encode()
    cosigned = [WITNESSES[name].cosign(raw, timestamp=TIME) for name in names]
    return [SIGNER.sign(raw), *cosigned]


TEXTS: Sequence[str | bytes] = (
    f"{ORIGIN}\n5\n{ROOT}\n",
    f"{ORIGIN}\n05\n{ROOT}\n",
    f"{ORIGIN}\n\n{ROOT}\n",
    f"{ORIGIN}\n+5\n{ROOT}\n",
    f"{ORIGIN}\n{2**63 - 1}\n{ROOT}\n",
    f"{ORIGIN}\n{2**63}\n{ROOT}\n",
    f"{ORIGIN}\n0\n{ROOT}\n",
    f"{ORIGIN}\n0\n{EMPTY}\n",
    f"{ORIGIN}\n5\n{EMPTY}\n",
    f"{ORIGIN}\n5\n{ROOT}\nmore\n",
    f"{ORIGIN}\n5\n",
    f"{ORIGIN}\n5\n{ROOT}",
    f"\n5\n{ROOT}\n",
    f"{ORIGIN}\n5\n{ROOT[:-1]}\n",
    f"{ORIGIN}\n5\n{ROOT[:-2]}9=\n",
    f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n",
    f"{ORIGIN}\n5\n{base64.b64encode(bytes(33)).decode()}\n",
    f"{ORIGIN}\n5\n {ROOT}\n",
    f"{ORIGIN}\r\n5\n{ROOT}\n",
    f"other\n5\n{ROOT}\n",
    f"{'o' * 255}\n5\n{ROOT}\n",
    f"{'o' * 256}\n5\n{ROOT}\n",
    f"{ORIGIN}\n\uff15\n{ROOT}\n",
    f"\ufeff{ORIGIN}\n5\n{ROOT}\n",
    f"{ORIGIN}\x7f\n5\n{ROOT}\n",
    f"{ORIGIN}\t\n5\n{ROOT}\n",
    b"\xff\n5\n" + ROOT.encode() + b"\n",
)


def test_checkpoints_of_every_text(reader: BrowserReader) -> None:
    """All are signed as they stand: it is the text that is wrong."""
    heads = [(POLICY, noted(text, *signed(text, "w1", "w2")), None) for text in TEXTS]
    named = [
        (replace(POLICY, logs=(PolicyLog(vkey=Ed25519NoteSigner(origin, LOG).vkey),)), origin)
        for origin in ("o" * 255, "o" * 256)
    ]
    for policy, origin in named:
        text = f"{origin}\n5\n{ROOT}\n"
        own = Ed25519NoteSigner(origin, LOG).sign(text.encode())
        heads.append((policy, noted(text, own, *signed(text, "w1", "w2")[1:]), None))
    assert heads_agree(reader, heads) == 5


GOOD = str(TEXTS[0])


def dated(time: int) -> NoteSignature:
    """A cosignature by the second witness, at a time that none may name too."""
    message = b"cosignature/v1\ntime %d\n%s" % (time, GOOD.encode())
    vkey = WITNESSES["w2"].vkey
    body = time.to_bytes(8, "big") + ed25519("w2").sign(message)
    return NoteSignature(name=vkey.name, key_id=vkey.key_id, body=body)


def _lines() -> Iterator[list[NoteSignature | bytes]]:
    log, one, two = signed(GOOD, "w1", "w2")
    stranger = CosignatureSigner("w4", ed25519("w4")).cosign(GOOD.encode(), timestamp=TIME)
    later = WITNESSES["w1"].cosign(GOOD.encode(), timestamp=TIME + 1)
    yield [log, one, two]
    yield [log, one]
    yield [one, two]
    yield [log]
    yield []
    yield [log, one, two, stranger]
    yield [log, one, two, two]
    yield [log, log, one, two]
    yield [log, one, later, two]
    yield [log, *([one] * 99)]
    yield [log, *([one] * 100)]
    for spoiled in (
        replace(two, body=two.body[:-1]),
        replace(two, body=two.body + b"\0"),
        replace(two, body=bytes(8) + two.body[8:]),
        replace(two, body=b"\x80" + two.body[1:]),
        replace(two, body=two.body[:8] + bytes(64)),
        replace(two, key_id=bytes(4)),
        replace(log, body=log.body[:-1]),
        replace(log, body=bytes(64)),
        replace(two, body=b""),
    ):
        kept = [line for line in (log, one, two) if line.name != spoiled.name]
        yield [*kept, spoiled]
    for time in (1, 0, 2**63 - 1, 2**63):
        yield [log, one, dated(time)]
    line = two.line
    for raw in (
        line[:-1],
        line[:-2] + b"\n",
        line.replace(b"=", b""),
        line.replace(b" w2 ", b"  w2 "),
        line.replace(b" w2 ", b" w2"),
        line.replace(b"\xe2\x80\x94", b"-"),
        line[:-1] + b" \n",
        line.replace(b" w2 ", b" \xc2\x85 "),
        line.replace(b"w2", b"w+2"),
        line.replace(b"w2", "w\u3000".encode()),
        line.replace(b"w2", "w\ufeff".encode()),
        line.replace(b"w2", b"w\xff"),
        line.replace(b"w2", b"w" * 257),
        line.replace(b"w2", b""),
        line[:-1] + b"\r\n",
        b"\n",
        b"\xe2\x80\x94 w2 AAAA\n",
        b"\xe2\x80\x94 w2 AAAAAA==\n",
        b"\xe2\x80\x94 w2 AAAAAB==\n",
    ):
        yield [log, one, raw]


def test_checkpoints_of_every_signature(reader: BrowserReader) -> None:
    heads = [(POLICY, noted(GOOD, *lines), None) for lines in _lines()]
    whole = signed(GOOD, "w1", "w2")
    heads += [
        (POLICY, noted(GOOD, *whole[::-1], order=False), None),
        (POLICY, noted(GOOD, *whole).replace(b"\n\n", b"\n"), None),
        (POLICY, noted(GOOD, *whole)[:-1], None),
        (POLICY, noted(GOOD, *whole) + b"\n", None),
        (POLICY, noted(GOOD, *whole) + b"and more", None),
        (POLICY, b"\n" + noted(GOOD, *whole), None),
        (POLICY, b"", None),
        (POLICY, noted("a text\n" * 142_858, *whole), None),
    ]
    assert heads_agree(reader, heads) == 3
    chance = random.Random(41)
    note = noted(GOOD, *whole)
    flips = [(POLICY, damaged(note, chance), None) for _ in range(200)]
    assert heads_agree(reader, flips) < 60


def test_a_note_has_a_hundred_lines(reader: BrowserReader) -> None:
    """And not one more, although the policy knows them all."""
    crowd = [CosignatureSigner(f"c{at}", ed25519(f"crowd {at}")) for at in range(100)]
    everybody = tuple(PolicyWitness(name=one.vkey.name, vkey=one.vkey) for one in crowd)
    policy = replace(POLICY, witnesses=everybody, groups=(), quorum="c0")
    lines = [SIGNER.sign(GOOD.encode()), *(one.cosign(GOOD.encode(), timestamp=TIME) for one in crowd)]
    assert (
        heads_agree(reader, [(policy, noted(GOOD, *lines[:100]), None), (policy, noted(GOOD, *lines), None)])
        == 1
    )


def test_quorums_of_every_sort(reader: BrowserReader) -> None:
    """Who must have cosigned, since when, and which of the log's keys may have signed."""
    subsets = [[], ["w1"], ["w2", "w3"], ["w1", "w2"], ["w1", "w2", "w3"]]
    groups = (WitnessGroup(name="pair", threshold=2, members=("w1", "w2")),)
    nested = (*groups, WitnessGroup(name="any", threshold=1, members=("pair", "w3")))
    policies = [
        POLICY,
        replace(POLICY, quorum="none"),
        replace(POLICY, quorum="w2"),
        replace(POLICY, groups=nested, quorum="any"),
        replace(POLICY, groups=nested, quorum="pair"),
        *(
            replace(
                POLICY,
                quorum=quorum,
                logs=(replace(POLICY.logs[0], range=KeyRange(first_size=first, until_size=until)),),
            )
            for quorum in ("none", "two")
            for first, until in ((0, 0), (5, 0), (6, 0), (0, 5), (0, 6))
        ),
    ]
    heads: list[tuple[TrustPolicy, bytes, int | None]] = []
    for policy in policies:
        heads += [(policy, noted(GOOD, *signed(GOOD, *names)), None) for names in subsets]
    text = GOOD.encode()
    spread = [SIGNER.sign(text), *(WITNESSES[f"w{at}"].cosign(text, timestamp=TIME + at) for at in (1, 2, 3))]
    for age in (0, 999, 1_000, 1_001):
        aged = replace(POLICY, max_age_ms=age)
        heads += [(aged, noted(GOOD, *spread), 1_000 * TIME + ahead) for ahead in range(0, 4_001, 500)]
        heads.append((replace(aged, quorum="none"), noted(GOOD, *spread), 1_000 * TIME))
    assert heads_agree(reader, heads) > 40


def test_a_witness_that_no_browser_can_check(reader: BrowserReader) -> None:
    """A quorum that needs ML-DSA is left open, never ticked; one that does not is, whatever its line says."""
    text = GOOD.encode()
    own = PolicyWitness(name="pq", vkey=POST_QUANTUM.vkey)
    pair = WitnessGroup(name="two", threshold=2, members=("w1", "pq"))
    needs = replace(POLICY, witnesses=(POLICY.witnesses[0], own), groups=(pair,), quorum="two")
    spares = replace(needs, groups=(replace(pair, threshold=1),))
    log, one, late = *signed(GOOD, "w1"), POST_QUANTUM.cosign(text, timestamp=TIME + 60)
    forged = replace(late, body=late.body[:-1] + bytes([late.body[-1] ^ 1]))
    aged = replace(spares, max_age_ms=1_000)
    asked = [
        [policy.serialize().hex(), noted(GOOD, log, one, line).hex(), now]
        for policy, line, now in (
            (needs, late, None),
            (needs, forged, None),
            (spares, late, None),
            (aged, late, 1_000 * (TIME + 60)),
            (aged, late, 1_000 * TIME),
            (needs, replace(late, body=late.body[:-1]), None),
        )
    ]
    call = HEAD.replace(
        "return verifyAge",
        "const seen = await verifyWitnesses(trusted, head); return seen.isVerified && verifyAge",
    )
    told = f"async (one) => ({{ told: await ({call})(one) }})"
    found = reader.ask(told, asked)
    assert [None if one is None else one["told"] for one in found] == [False, False, True, False, True, None]


RANGES = ((7, 0), (7, 6), (7, 7), (7, 8), (0, 0))


def _policies() -> Iterator[bytes]:
    chance = random.Random(42)
    for name, field in (("trust-policy", "policy"), ("trust-policy-key-ranges", "witnessed")):
        text = json.loads((VECTORS / "log" / f"{name}.json").read_text())[field].encode()
        lines = text.splitlines(keepends=True)
        yield text
        yield text[:-1]
        yield text.replace(b"\n", b"\r\n")
        yield text.replace(b" ", b"\t ")
        for at in range(len(lines)):
            yield b"".join([*lines[:at], *lines[at + 1 :]])
            yield b"".join([*lines[: at + 1], *lines[at:]])
            yield b"".join([*lines[:at], *lines[at + 1 :], lines[at]])
            yield b"".join([*lines[:at], lines[at].rstrip() + b" more\n", *lines[at + 1 :]])
        for _ in range(150):
            yield damaged(text, chance)
    good = POLICY.serialize()
    for line in (
        b"# \xff\xfe said",
        b"#creditledger",
        b"#creditledger ",
        b"#creditledgers",
        b"# creditledger",
        b"witness w\xff " + bytes(1),
        b"witness \xff " + str(CosignatureSigner("x", ed25519("x")).vkey).encode(),
        b"log ",
        b"log x",
        b"quorum none",
        b"witness w9 " + str(SIGNER.vkey).encode(),
        b"log " + str(WITNESSES["w1"].vkey).encode(),
        b"group none 1 w1",
        b"witness none " + str(CosignatureSigner("x", ed25519("x")).vkey).encode(),
        b"group h 1 none",
        b"group h 1 nobody",
        *(b"group h %d two" % count for count in (0, 1, 2)),
        *(b"#creditledger key %s %d %d" % (LOG.public_key.hex().encode(), *sizes) for sizes in RANGES),
        b"log " + str(Ed25519NoteSigner("x", ed25519("w1")).vkey).encode(),
        b"#creditledger ledger " + b"0" * 63,
        b"\x7f",
        b"\x0c",
        b"#creditledger ledger " + b"A" * 64,
        b"#creditledger ledger " + b"0" * 64,
        b"#creditledger max-age-ms 01",
        b"#creditledger validator " + b"1" * 96 + b" " + b"2" * 192,
        b"#creditledger quorum 1",
        b"#creditledger validator " + b"1" * 96 + b" " + b"2" * 192 + b"\n#creditledger quorum 1",
        b"#creditledger validator " + b"1" * 96 + b" " + b"2" * 192 + b"\n#creditledger quorum 2",
        (b"#creditledger validator " + b"1" * 96 + b" " + b"2" * 192 + b"\n") * 2 + b"#creditledger quorum 1",
        b"#creditledger validator " + b"1" * 95 + b" " + b"2" * 192 + b"\n#creditledger quorum 1",
        b"log \xc2\x85+" + str(SIGNER.vkey).split("+", 1)[1].encode(),
        b"log " + str(SIGNER.vkey).replace("+", "++", 1).encode(),
    ):
        yield good + line + b"\n"
    yield (
        b"".join(b"#creditledger validator %096x %0192x\n" % (at, at) for at in range(1_025))
        + good
        + b"#creditledger quorum 1\n"
    )
    yield (
        b"".join(b"#creditledger validator %096x %0192x\n" % (at, at) for at in range(1_024))
        + good
        + b"#creditledger quorum 1\n"
    )
    yield good + b"#" * (1_000_000 - len(good) - 1) + b"\n"
    yield good + b"#" * (1_000_000 - len(good)) + b"\n"
    for key in json.loads((VECTORS / "log" / "refused-keys.json").read_text())["keys"].values():
        yield good + b"log " + _vkey("x", 1, bytes.fromhex(key)).encode() + b"\n"
    for kind, size in ((1, 31), (1, 33), (4, 32), (6, 1_312), (6, 1_311), (2, 32), (0xFF, 32)):
        public = ed25519("other").public_key.ljust(size, b"\1")[:size]
        yield good + b"log " + _vkey("x", kind, public).encode() + b"\n"
        yield good + b"witness x " + _vkey("x", kind, public).encode() + b"\n"
    for name in (
        "x" * 256,
        "x" * 257,
        "\U0001f600" * 256,
        "",
        "a\u00a0",
        "a\ufeff",
        "a\u180e",
        "a\x85",
        "a\u2028",
    ):
        yield good + b"witness x " + _vkey(name, 4, ed25519("other").public_key).encode() + b"\n"


def _vkey(name: str, kind: int, public: bytes) -> str:
    """As it would be spelt, were it one."""
    typed = bytes([kind]) + public
    identity = sha256(name.encode() + b"\n" + typed).digest()[:4]
    return f"{name}+{identity.hex()}+{base64.b64encode(typed).decode()}"


def test_policies_of_every_sort(reader: BrowserReader) -> None:
    texts = list(_policies())
    call = "async (one) => (await parsePolicy(bytes(one))).quorum"
    expected = [takes(TrustPolicy.parse, one) for one in texts]
    assert 30 < agree_on(reader, call, [one.hex() for one in texts], expected) < len(texts)
