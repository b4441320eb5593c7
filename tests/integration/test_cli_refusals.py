"""Bad input to every verb: one line on stderr or one JSON object, the documented code, nothing changed."""

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli_pools import Stage, ask, cli, content_of, copy_of, frames
from creditledger.records.registration import Role
from creditledger.records.transfer import Quote
from creditledger.redemption.signed_quote import SignedQuote
from ledger_pools import grant, registration

Arguments = Callable[["Props"], list[object]]
HUGE = 2 * 1024 * 1024
TERMS = ["--cap", 5, "--until", 10**14, "--queue", "gpu"]
"""What a delegation says."""


@dataclass(slots=True)
class Props:
    """A pool in which everything has happened once, and files with something wrong."""

    stage: Stage
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def pool(self) -> Path:
        return self.stage.pool

    def __truediv__(self, name: str) -> Path:
        return self.stage.folder / name

    def key(self, name: str) -> Path:
        return self.stage.folder / f"{name}.key"

    def write(self, name: str, content: bytes) -> None:
        (self / name).write_bytes(content)


@pytest.fixture(scope="module")
def props(tmp_path_factory: pytest.TempPathFactory) -> Props:
    stage = Stage(tmp_path_factory.mktemp("refusals"))
    made = Props(stage)
    for role in ("operator", "witness", "validator", "client", "node"):
        ask("key", "new", stage / f"loose-{role}.key", "--role", role)
    foreign = json.loads((stage / "loose-client.key").read_text()) | {"ledger": "ee" * 32}
    (stage / "foreign.key").write_text(json.dumps(foreign))
    (stage / "other").mkdir()
    other = Stage(stage / "other")
    made.write("thin.toml", b"[rates]\ncheck_floor_ppm = 2_000\n")
    made.ids["grant"] = "0a" * 16
    stage.grant("bob", "5", "--id", made.ids["grant"])
    made.ids["transfer"] = "0b" * 16
    ask("transfer", stage.pool, "bob", "1", "--key", stage / "alice.key", "--id", made.ids["transfer"])
    made.ids["hold"] = stage.hold()
    made.ids["captured"] = stage.hold("captured")
    made.ids["capture"] = "0c" * 16
    captured = [made.ids["captured"], 1_000, "--key", stage / "gpu.key", "--id", made.ids["capture"]]
    made.ids["captured at"] = ask("capture", stage.pool, *captured)["capture"]
    made.ids["ended"] = stage.hold("ended")
    ask("release", stage.pool, made.ids["ended"], "--key", stage / "gpu.key")
    made.ids["granted"] = stage.grant("bob", "1")["grant"]
    stage.add("gpu2", "queue")
    stage.quote()
    stage.quote("old quote", valid=1)
    stage.quote("dear quote", seconds=10**9)
    ask(
        "hold",
        stage.pool,
        stage / "quote",
        "--key",
        stage / "alice.key",
        "-o",
        stage / "spare",
        "--id",
        "0d" * 16,
    )
    stage.quote("second quote", seconds=30)
    made.write("plan", b"0:4 n1\n")
    made.write("gapped plan", b"0:2 n1\n3:4 n1\n")
    made.write("bad plan", b"0-4 n1\n")
    made.write("plan of nobody", b"0:4 nobody\n")
    made.write("plan of a client", b"0:4 bob\n")
    made.write("deep plan", b"0:9 n1\n")
    order = ["--model", "tiny", "--plan", stage / "plan", "--positions", 256, "--max-price", 100]
    ask("order", stage.pool, *order, "--key", stage / "alice.key", "-o", stage / "job")
    other_order = ["--model", "tiny", "--plan", made / "other plan", "--positions", 256, "--max-price", 100]
    made.write("other plan", b"0:4 n1\n")
    ask("order", other.pool, *other_order, "--key", other / "alice.key", "-o", stage / "foreign job")
    ask("prove", stage.pool, "alice", "-o", stage / "bundle")
    made.write("other policy", other.policy.read_bytes())
    made.write("truncated bundle", (stage / "bundle").read_bytes()[:-1])
    made.write("altered bundle", _altered((stage / "bundle").read_bytes()))
    made.write("truncated voucher", (stage / "voucher").read_bytes()[:-1])
    made.write("truncated quote", (stage / "quote").read_bytes()[:-1])
    forged = SignedQuote(quote=Quote.decode((stage / "second quote").read_bytes()), signature=bytes(64))
    made.write("forged quote", forged.encode())
    made.write("truncated signed quote", forged.encode()[:-1])
    made.write("truncated job", (stage / "job").read_bytes()[:-1])
    made.write("truncated.key", (stage / "alice.key").read_bytes()[:40])
    made.write("huge", bytes(HUGE))
    made.write("huge.key", bytes(HUGE))
    made.write("truncated policy", stage.policy.read_bytes()[:-9])
    made.write("empty", b"")
    made.write("no evidence", b"cl/evd1\0" + bytes(40))
    (stage / "no ledger").mkdir()
    (stage / "spoiled outbox").mkdir()
    made.write("spoiled outbox/shipping.json", b'{"delivered": "many"}')
    (stage / "bad slurm").mkdir()
    made.write("bad slurm/settings.json", b'{"cluster": "test"}')
    readable = copy_of(stage.pool, stage / "readable")
    (readable / "keys" / "operator.key").unlink()
    stuck = copy_of(stage.pool, stage / "stuck")
    (stuck / "lock").unlink()
    (stuck / "lock").mkdir()
    _write_arrays(made)
    _write_parameters(made)
    while not _is_old(stage):
        time.sleep(0.1)
    ask("export", made.pool, "--format", "archive", "-o", stage / "archive")
    return made


def _is_old(stage: Stage) -> bool:
    return Quote.decode((stage / "old quote").read_bytes()).expires_unix_ms < time.time() * 1_000


def _altered(bundle: bytes) -> bytes:
    place = bundle.index(b"alice")
    return bundle[:place] + b"malic" + bundle[place + 5 :]


def _write_arrays(props: Props) -> None:
    import numpy as np

    rows = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
    np.save(props / "rows.npy", rows)
    np.save(props / "narrow.npy", rows[:, :16])
    np.save(props / "double.npy", rows.astype(np.float64))
    np.save(props / "nan.npy", np.full((64, 32), np.nan, np.float32))
    np.save(props / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(props / "archive.npy", rows=rows)
    (props / "archive.npy.npz").rename(props / "archive.npy")
    content = (props / "rows.npy").read_bytes()
    props.write("truncated.npy", content[:-1])
    props.write("boasting.npy", content.replace(b"(64, 32)", b"(99999999999, 32)"))


def _write_parameters(props: Props) -> None:
    for name, text in {
        "broken": "[committee",
        "unknown": "colour = 'red'",
        "unknown inside": "[levy]\npercent = 1",
        "negative": "grace_ms = -1",
        "float": "[levy]\nppm = 0.5",
        "overflow": "[vesting]\nvalue = 9223372036854775808",
        "negative amount": "[vesting]\nvalue = '-1credits'",
        "members missing": "[committee]\nmembers = ['nowhere.pub']\nquorum = 1",
        "members of a client": "[committee]\nmembers = ['loose-client.key.pub']\nquorum = 1",
        "members truncated": "[committee]\nmembers = ['truncated.pub']\nquorum = 1",
        "quorum": "[committee]\nmembers = ['loose-validator.key.pub']\nquorum = 2",
        "nobody": "[committee]\nmembers = []\nquorum = 1",
        "use": "[levy]\nuse = 'members'",
        "rule set": "rule_set = 99",
        "model": "[[models]]\nname = 'm'",
        "profile": "profiles = ['empty']",
        "profile missing": "profiles = ['nowhere']",
    }.items():
        props.write(f"{name}.toml", text.encode())
    props.write("truncated.pub", (props / "loose-validator.key.pub").read_bytes()[:-30])


def _order(props: Props, *changes: object, **named: object) -> list[object]:
    given = {
        "--model": "tiny",
        "--plan": props / "plan",
        "--positions": 256,
        "--max-price": 100,
        "--key": props.key("alice"),
        "-o": props / "new job",
    } | {(name if name == "-o" else f"--{name.replace('_', '-')}"): value for name, value in named.items()}
    return ["order", props.pool, *(part for pair in given.items() for part in pair), *changes]


def _quote(props: Props, **named: object) -> list[object]:
    given = {"queue": "gpu", "class": "cpu", "gpus": 1, "seconds": 60} | named
    flags = [part for name, value in given.items() if name != "o" for part in (f"--{name}", value)]
    return ["quote", props.pool, *flags, "-o", named.get("o", props / "new quote")]


def _hold(props: Props, quote: str = "second quote", key: str = "alice", *more: object) -> list[object]:
    return [
        *("hold", props.pool, props / quote, "--key", props.key(key)),
        *(more if "-o" in more else (*more, "-o", props / "new voucher")),
    ]


def _init(props: Props, target: object = None, *more: object, origin: str = "pool.example/x") -> list[object]:
    return ["init", target or props / "new pool", "--origin", origin, *more]


def _run(props: Props, voucher: str = "voucher", *more: object, key: str = "gpu") -> list[object]:
    return [
        *("run", props.pool, "--queue", "local", "--voucher", props / voucher, "--key", props.key(key)),
        *(more or ("--", "true")),
    ]


def _slurm(props: Props, verb: str, *more: object, queue: str = "gpu") -> list[object]:
    where = ("--queue", queue, "--cluster", "test", "--directory", props / "new slurm")
    return ["queue", verb, props.pool, "slurm", *where, *more]


def _compare(props: Props, claimed: str, *more: object) -> list[object]:
    rows = props / "rows.npy"
    return ["compare", props / claimed, rows, rows, *(more or ("--input", rows))]


def _parameters(name: str) -> Arguments:
    return lambda p: _init(p, None, "--parameters", p / f"{name}.toml")


def _simulated(name: str) -> Arguments:
    """Refused before anything is simulated: at the defaults that would take minutes."""
    return lambda p: ["sim", "--seed", 1, "--fold-receipts", 0, "--config", p / f"{name}.toml"]


def _page_link(url: str, node: str, *more: object, key: str = "n1") -> Arguments:
    return lambda p: ["page-link", url, node, "--key", p.key(key), *more]


REFUSED: dict[str, tuple[Arguments, int, str]] = {
    "no such verb": (lambda p: ["mine"], 2, "UsageError"),
    # init
    "init: taken directory": (lambda p: _init(p, p.pool), 5, "StorageError"),
    "init: below a file": (lambda p: _init(p, p / "plan" / "pool"), 5, "StorageError"),
    "init: no parent": (lambda p: _init(p, p / "nowhere" / "pool"), 5, "StorageError"),
    "init: origin": (lambda p: _init(p, origin="Not An Origin"), 2, "MalformedRecordError"),
    "init: no origin": (lambda p: ["init", p / "new pool"], 2, "UsageError"),
    "init: parameters missing": (lambda p: _init(p, None, "--parameters", p / "nowhere"), 2, "UsageError"),
    "init: parameters oversize": (
        lambda p: _init(p, None, "--parameters", p / "huge"),
        2,
        "MalformedRecordError",
    ),
    "init: parameters broken": (_parameters("broken"), 2, "MalformedRecordError"),
    "init: unknown key": (_parameters("unknown"), 2, "MalformedRecordError"),
    "init: unknown key inside": (_parameters("unknown inside"), 2, "MalformedRecordError"),
    "init: negative": (_parameters("negative"), 2, "MalformedRecordError"),
    "init: float": (_parameters("float"), 2, "MalformedRecordError"),
    "init: overflow": (_parameters("overflow"), 2, "MalformedRecordError"),
    "init: negative amount": (_parameters("negative amount"), 6, "AmountError"),
    "init: member file missing": (_parameters("members missing"), 2, "UsageError"),
    "init: member of another role": (_parameters("members of a client"), 6, "RoleError"),
    "init: member file truncated": (_parameters("members truncated"), 2, "KeyFormatError"),
    "init: quorum": (_parameters("quorum"), 2, "MalformedRecordError"),
    "init: no members": (_parameters("nobody"), 2, "MalformedRecordError"),
    "init: levy use": (_parameters("use"), 6, "RefusedError"),
    "init: rule set": (_parameters("rule set"), 6, "RefusedError"),
    "init: model": (_parameters("model"), 2, "MalformedRecordError"),
    "init: profile": (_parameters("profile"), 2, "MalformedRecordError"),
    "init: profile missing": (_parameters("profile missing"), 2, "UsageError"),
    # key
    "key new: there already": (lambda p: ["key", "new", p.key("alice")], 5, "StorageError"),
    "key new: public side there": (lambda p: ["key", "new", p / "sided.key"], 5, "StorageError"),
    "key new: below a file": (lambda p: ["key", "new", p / "plan" / "k"], 5, "StorageError"),
    "key new: role": (lambda p: ["key", "new", p / "k", "--role", "king"], 2, "UsageError"),
    "key show: missing": (lambda p: ["key", "show", p / "nowhere"], 2, "UsageError"),
    "key show: truncated": (lambda p: ["key", "show", p.key("truncated")], 2, "KeyFormatError"),
    "key show: oversize": (lambda p: ["key", "show", p.key("huge")], 2, "KeyFormatError"),
    # register
    "register: no ledger": (
        lambda p: ["register", p / "no ledger", "x", "--key", p.key("loose-node")],
        2,
        "UsageError",
    ),
    "register: URL": (
        lambda p: ["register", "https://pool.example/", "x", "--key", p.key("loose-node")],
        2,
        "UsageError",
    ),
    **{
        f"register: {role}": (
            lambda p, role=role: ["register", p.pool, "x", "--key", p.key(f"loose-{role}")],
            6,
            "RoleError",
        )
        for role in ("operator", "witness", "validator")
    },
    "register: another ledger's key": (
        lambda p: ["register", p.pool, "x", "--key", p.key("foreign")],
        6,
        "RoleError",
    ),
    "register: key missing": (lambda p: ["register", p.pool, "x", "--key", p / "nowhere"], 2, "UsageError"),
    "register: key truncated": (
        lambda p: ["register", p.pool, "x", "--key", p.key("truncated")],
        2,
        "KeyFormatError",
    ),
    "register: key oversize": (
        lambda p: ["register", p.pool, "x", "--key", p.key("huge")],
        2,
        "KeyFormatError",
    ),
    "register: name taken": (
        lambda p: ["register", p.pool, "bob", "--key", p.key("loose-node")],
        6,
        "ConflictError",
    ),
    "register: again as another": (
        lambda p: ["register", p.pool, "eve", "--key", p.key("alice")],
        6,
        "ConflictError",
    ),
    "register: name": (
        lambda p: ["register", p.pool, "No Name", "--key", p.key("loose-node")],
        2,
        "MalformedRecordError",
    ),
    "register: no operator's key": (
        lambda p: ["register", p / "readable", "x", "--key", p.key("loose-node")],
        6,
        "RoleError",
    ),
    "register: unwritable ledger": (
        lambda p: ["register", p / "stuck", "x", "--key", p.key("loose-node")],
        5,
        "StorageError",
    ),
    # token, invite, admissions, admit
    "token new: no ledger": (lambda p: ["token", "new", p / "no ledger"], 2, "UsageError"),
    "token new: scope": (lambda p: ["token", "new", p.pool, "--scope", "join"], 2, "UsageError"),
    "token new: time": (lambda p: ["token", "new", p.pool, "--valid", "90"], 2, "UsageError"),
    "token new: no time": (lambda p: ["token", "new", p.pool, "--valid", "0d"], 2, "UsageError"),
    "token new: for ever": (
        lambda p: ["token", "new", p.pool, "--valid", "3661d"],
        2,
        "MalformedRecordError",
    ),
    "token new: name": (lambda p: ["token", "new", p.pool, "--name", "No Name"], 2, "MalformedRecordError"),
    "token new: file there": (
        lambda p: ["token", "new", p.pool, "-o", p / "plan"],
        5,
        "StorageError",
    ),
    "token new: unwritable": (
        lambda p: ["token", "new", p.pool, "-o", p / "plan" / "t"],
        5,
        "StorageError",
    ),
    "token list: no ledger": (lambda p: ["token", "list", p / "nowhere"], 2, "UsageError"),
    "token list: URL": (lambda p: ["token", "list", "https://pool.example/"], 2, "UsageError"),
    "token revoke: unknown": (lambda p: ["token", "revoke", p.pool, "ab" * 8], 6, "UnknownIdError"),
    "token revoke: id": (lambda p: ["token", "revoke", p.pool, "ab"], 2, "UsageError"),
    "invite: no uses": (lambda p: ["invite", p.pool, "--uses", 0], 2, "UsageError"),
    "invite: role": (lambda p: ["invite", p.pool, "--role", "operator"], 2, "UsageError"),
    "invite: time": (lambda p: ["invite", p.pool, "--valid", "soon"], 2, "UsageError"),
    "admissions: no ledger": (lambda p: ["admissions", p / "no ledger"], 2, "UsageError"),
    "admit: nobody": (lambda p: ["admit", p.pool, "nobody"], 6, "UnknownIdError"),
    "admit: unknown id": (lambda p: ["admit", p.pool, "ab" * 32], 6, "UnknownIdError"),
    "admit: no account": (lambda p: ["admit", p.pool], 2, "UsageError"),
    # shipping
    "shipping: no ledger": (lambda p: ["shipping", p / "no ledger"], 2, "UsageError"),
    "shipping: no outbox": (lambda p: ["shipping", p.pool, "--outbox", p / "nowhere"], 2, "UsageError"),
    "shipping: report": (
        lambda p: ["shipping", p.pool, "--outbox", p / "spoiled outbox"],
        2,
        "MalformedRecordError",
    ),
    # credit-line, slash, clawback
    "credit-line: unknown account": (lambda p: ["credit-line", p.pool, "nobody", 5], 6, "UnknownIdError"),
    "credit-line: negative": (lambda p: ["credit-line", p.pool, "bob", "-1"], 6, "AmountError"),
    "credit-line: overflow": (lambda p: ["credit-line", p.pool, "bob", 2**63], 6, "AmountError"),
    "credit-line: amount": (lambda p: ["credit-line", p.pool, "bob", "much"], 2, "MalformedRecordError"),
    "slash: not a node": (lambda p: ["slash", p.pool, "bob", 5, "--reason", "x"], 6, "RoleError"),
    "slash: unknown node": (lambda p: ["slash", p.pool, "nobody", 5, "--reason", "x"], 6, "UnknownIdError"),
    "slash: overflow": (lambda p: ["slash", p.pool, "n1", 2**64, "--reason", "x"], 6, "AmountError"),
    "slash: no reason": (lambda p: ["slash", p.pool, "n1", 5], 2, "UsageError"),
    "clawback: unknown lot": (
        lambda p: ["clawback", p.pool, "ab" * 32, "n1", 5, "--reason", "x"],
        6,
        "UnknownIdError",
    ),
    "clawback: job": (lambda p: ["clawback", p.pool, "zz", "n1", 5, "--reason", "x"], 2, "UsageError"),
    # refund
    "refund: unknown capture": (
        lambda p: ["refund", p.pool, "ab" * 32, 5, "--reason", "x", "--key", p.key("gpu")],
        6,
        "UnknownIdError",
    ),
    "refund: more than was captured": (
        lambda p: ["refund", p.pool, p.ids["captured at"], 10**9, "--reason", "x", "--key", p.key("gpu")],
        6,
        "AmountError",
    ),
    "refund: another queue": (
        lambda p: ["refund", p.pool, p.ids["captured at"], 5, "--reason", "x", "--key", p.key("gpu2")],
        1,
        "SignatureError",
    ),
    "refund: a client's key": (
        lambda p: ["refund", p.pool, p.ids["captured at"], 5, "--reason", "x", "--key", p.key("bob")],
        6,
        "RoleError",
    ),
    "refund: no key at hand": (
        lambda p: ["refund", p.pool, p.ids["captured at"], 5, "--reason", "x"],
        2,
        "UsageError",
    ),
    # levy
    "levy: burned": (lambda p: ["levy", p.pool], 6, "RefusedError"),
    "levy-payee: not a validator's key": (
        lambda p: ["levy-payee", p.pool, "bob", "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "levy-payee: not on the committee": (
        lambda p: ["levy-payee", p.pool, "bob", "--key", p / "loose-validator.key"],
        6,
        "RoleError",
    ),
    "levy-payee: unknown account": (
        lambda p: ["levy-payee", p.pool, "nobody", "--key", p.pool / "keys" / "validator-0.key"],
        6,
        "UnknownIdError",
    ),
    # grant
    "grant: unknown account": (
        lambda p: ["grant", p.pool, "nobody", 5, "--reason", "x"],
        6,
        "UnknownIdError",
    ),
    "grant: unknown id": (lambda p: ["grant", p.pool, "ab" * 32, 5, "--reason", "x"], 6, "UnknownIdError"),
    "grant: negative": (lambda p: ["grant", p.pool, "bob", "-5", "--reason", "x"], 6, "AmountError"),
    "grant: negative with unit": (
        lambda p: ["grant", p.pool, "bob", "-5gpu-h", "--reason", "x"],
        6,
        "AmountError",
    ),
    "grant: overflow": (lambda p: ["grant", p.pool, "bob", 2**63, "--reason", "x"], 6, "AmountError"),
    "grant: sum overflows": (
        lambda p: ["grant", p.pool, "bob", 2**63 - 1, "--reason", "x"],
        6,
        "AmountError",
    ),
    "grant: amount": (lambda p: ["grant", p.pool, "bob", "1.5", "--reason", "x"], 2, "MalformedRecordError"),
    "grant: reason": (lambda p: ["grant", p.pool, "bob", 5, "--reason", "NO!"], 2, "MalformedRecordError"),
    "grant: id": (lambda p: ["grant", p.pool, "bob", 5, "--reason", "x", "--id", "zz"], 2, "UsageError"),
    "grant: id with other content": (
        lambda p: ["grant", p.pool, "bob", 6, "--reason", "seed", "--id", p.ids["grant"]],
        6,
        "ConflictError",
    ),
    "grant: no operator's key": (
        lambda p: ["grant", p / "readable", "bob", 5, "--reason", "x"],
        6,
        "RoleError",
    ),
    # append
    "append: no --ack": (lambda p: ["append", p.pool, "--stdin"], 2, "UsageError"),
    "append: no ledger": (lambda p: ["append", p / "nowhere", "--stdin", "--ack"], 2, "UsageError"),
    # status, checkpoint, audit, fsck
    "status: no ledger": (lambda p: ["status", p / "no ledger"], 2, "UsageError"),
    "checkpoint: no ledger": (lambda p: ["checkpoint", p / "nowhere"], 2, "UsageError"),
    "checkpoint: unwritable": (lambda p: ["checkpoint", p / "stuck"], 5, "StorageError"),
    "audit: no ledger": (lambda p: ["audit", p / "plan"], 2, "UsageError"),
    "monitor: once and every": (
        lambda p: ["monitor", p.pool, "--key", p.stage / "gpu.key", "--once", "--every", "1"],
        2,
        "UsageError",
    ),
    "rotate: to the same key": (
        lambda p: ["rotate", p.pool, "--key", p.stage / "gpu.key", "--next", p.stage / "gpu.key"],
        6,
        "RoleError",
    ),
    "fsck: no ledger": (lambda p: ["fsck", p / "no ledger"], 2, "UsageError"),
    "forget: no ledger": (lambda p: ["forget", p / "no ledger"], 2, "UsageError"),
    "forget: no operator's key": (lambda p: ["forget", p / "readable"], 6, "RoleError"),
    # balance, statement
    "balance: unknown": (lambda p: ["balance", p.pool, "nobody"], 6, "UnknownIdError"),
    "balance: unknown id": (lambda p: ["balance", p.pool, "ab" * 32], 6, "UnknownIdError"),
    "balance: no account": (lambda p: ["balance", p.pool], 2, "UsageError"),
    "balance: strange name": (lambda p: ["balance", p.pool, "é\n\x1b[31m"], 6, "UnknownIdError"),
    "standing: unknown": (lambda p: ["standing", p.pool, "nobody"], 6, "UnknownIdError"),
    "standing: a client": (lambda p: ["standing", p.pool, "alice"], 6, "UnknownIdError"),
    "canary: no such receipt": (lambda p: ["canary", "plant", p.pool, "ab" * 32], 6, "UnknownIdError"),
    "canary: not a digest": (lambda p: ["canary", "plant", p.pool, "ab"], 2, "UsageError"),
    "canary: no operator's key": (lambda p: ["canary", "plant", p / "readable"], 6, "RoleError"),
    "canary open: no ledger": (lambda p: ["canary", "open", p / "no ledger"], 2, "UsageError"),
    "statement: unknown": (lambda p: ["statement", p.pool, "nobody"], 6, "UnknownIdError"),
    "statement: day": (
        lambda p: ["statement", p.pool, "alice", "--from", "2026-02-30"],
        2,
        "MalformedRecordError",
    ),
    "statement: backwards": (
        lambda p: ["statement", p.pool, "alice", "--from", "2026-02-02", "--to", "2026-02-01"],
        2,
        "UsageError",
    ),
    "statement: format": (lambda p: ["statement", p.pool, "alice", "--format", "xlsx"], 2, "UsageError"),
    "statement: table into a file": (
        lambda p: ["statement", p.pool, "alice", "-o", p / "new statement"],
        2,
        "UsageError",
    ),
    "statement: unwritable": (
        lambda p: ["statement", p.pool, "alice", "--format", "csv", "-o", p / "plan" / "s"],
        5,
        "StorageError",
    ),
    "statement: unknown, into a file": (
        lambda p: ["statement", p.pool, "nobody", "--format", "csv", "-o", p / "new statement"],
        6,
        "UnknownIdError",
    ),
    # export, leaderboard, prices
    "export: no format": (lambda p: ["export", p.pool], 2, "UsageError"),
    "export: format": (lambda p: ["export", p.pool, "--format", "table"], 2, "UsageError"),
    "export: unwritable": (
        lambda p: ["export", p.pool, "--format", "jsonl", "-o", p / "plan" / "e"],
        5,
        "StorageError",
    ),
    "export: no ledger": (lambda p: ["export", p / "no ledger", "--format", "csv"], 2, "UsageError"),
    "leaderboard: by": (lambda p: ["leaderboard", p.pool, "--by", "luck"], 2, "UsageError"),
    "leaderboard: no weeks": (lambda p: ["leaderboard", p.pool, "--weeks", 0], 2, "UsageError"),
    "leaderboard: too many weeks": (lambda p: ["leaderboard", p.pool, "--weeks", 10**9], 2, "UsageError"),
    "prices: no ledger": (lambda p: ["prices", p / "no ledger"], 2, "UsageError"),
    # order
    "order: model": (lambda p: _order(p, model="gpt"), 6, "UnknownIdError"),
    "order: plan missing": (lambda p: _order(p, plan=p / "nowhere"), 2, "UsageError"),
    "order: plan oversize": (lambda p: _order(p, plan=p / "huge"), 2, "MalformedRecordError"),
    "order: plan's form": (lambda p: _order(p, plan=p / "bad plan"), 2, "MalformedRecordError"),
    "order: plan with a gap": (lambda p: _order(p, plan=p / "gapped plan"), 2, "MalformedRecordError"),
    "order: empty plan": (lambda p: _order(p, plan=p / "empty"), 2, "MalformedRecordError"),
    "order: unknown node": (lambda p: _order(p, plan=p / "plan of nobody"), 6, "UnknownIdError"),
    "order: a client as node": (lambda p: _order(p, plan=p / "plan of a client"), 6, "RoleError"),
    "order: layers the model lacks": (lambda p: _order(p, plan=p / "deep plan"), 6, "RefusedError"),
    "order: no positions": (lambda p: _order(p, positions=0), 2, "UsageError"),
    "order: negative price": (lambda p: _order(p, max_price="-5"), 6, "AmountError"),
    "order: overflowing price": (lambda p: _order(p, max_price=2**63), 6, "AmountError"),
    "order: beyond credit": (lambda p: _order(p, max_price="1000credits"), 6, "InsufficientCreditError"),
    "order: no price": (lambda p: _order(p, max_price=0), 2, "MalformedRecordError"),
    "order: expired": (lambda p: _order(p, expires=1), 6, "ExpiredError"),
    "order: a node's key": (lambda p: _order(p, key=p.key("n1")), 6, "RoleError"),
    "order: another ledger's key": (lambda p: _order(p, key=p.key("foreign")), 6, "RoleError"),
    "order: unregistered key": (lambda p: _order(p, key=p.key("loose-client")), 6, "UnknownIdError"),
    "order: key truncated": (lambda p: _order(p, key=p.key("truncated")), 2, "KeyFormatError"),
    "order: job file there": (lambda p: _order(p, **{"-o": p / "job"}), 5, "StorageError"),
    "order: unwritable": (lambda p: _order(p, **{"-o": p / "plan" / "job"}), 5, "StorageError"),
    # confirm
    "confirm: missing": (
        lambda p: ["confirm", p.pool, p / "nowhere", "--key", p.key("alice")],
        2,
        "UsageError",
    ),
    "confirm: truncated": (
        lambda p: ["confirm", p.pool, p / "truncated job", "--key", p.key("alice")],
        2,
        "MalformedRecordError",
    ),
    "confirm: oversize": (
        lambda p: ["confirm", p.pool, p / "huge", "--key", p.key("alice")],
        2,
        "MalformedRecordError",
    ),
    "confirm: another ledger's job": (
        lambda p: ["confirm", p.pool, p / "foreign job", "--key", p.key("alice")],
        6,
        "UnknownIdError",
    ),
    "confirm: a queue's key": (
        lambda p: ["confirm", p.pool, p / "job", "--key", p.key("gpu")],
        6,
        "RoleError",
    ),
    "confirm: nothing yet": (
        lambda p: ["confirm", p.pool, p / "job", "--key", p.key("alice")],
        3,
        "BusyError",
    ),
    # prove
    "prove: unknown": (lambda p: ["prove", p.pool, "ab" * 32, "-o", p / "b"], 6, "UnknownIdError"),
    "prove: unknown name": (lambda p: ["prove", p.pool, "nobody", "-o", p / "b"], 6, "UnknownIdError"),
    "prove: no bundle for a grant": (
        lambda p: ["prove", p.pool, p.ids["granted"], "-o", p / "b"],
        6,
        "UnknownIdError",
    ),
    "prove: not absent": (
        lambda p: ["prove", p.pool, "--absent", p.ids["hold"], "-o", p / "b"],
        6,
        "UnknownIdError",
    ),
    "prove: absence of a name": (
        lambda p: ["prove", p.pool, "--absent", "alice", "-o", p / "b"],
        2,
        "UsageError",
    ),
    "prove: a text of an absence": (
        lambda p: ["prove", p.pool, "--absent", "ab" * 32, "--format", "tlog-proof", "-o", p / "b"],
        2,
        "UsageError",
    ),
    "prove: a text of an account": (
        lambda p: ["prove", p.pool, "alice", "--format", "tlog-proof", "-o", p / "b"],
        6,
        "UnknownIdError",
    ),
    "prove: a text of an entry beyond": (
        lambda p: ["prove", p.pool, "999999", "--format", "tlog-proof", "-o", p / "b"],
        6,
        "UnknownIdError",
    ),
    "prove: no such policy": (
        lambda p: ["prove", p.pool, "alice", "--policy", p / "nowhere", "-o", p / "b"],
        2,
        "MalformedRecordError",
    ),
    "prove: unwritable": (lambda p: ["prove", p.pool, "alice", "-o", p / "plan" / "b"], 5, "StorageError"),
    "prove: into a directory": (lambda p: ["prove", p.pool, "alice", "-o", p / "no ledger"], 2, "UsageError"),
    "prove: no ledger": (lambda p: ["prove", p / "no ledger", "alice", "-o", p / "b"], 2, "UsageError"),
    # evidence
    "evidence: no ledger": (
        lambda p: ["evidence", p / "no ledger", "ab" * 32, "--key", p.key("alice"), "-o", p / "e"],
        2,
        "UsageError",
    ),
    "evidence: receipt": (
        lambda p: ["evidence", p.pool, "n1", "--key", p.key("loose-node"), "-o", p / "e"],
        2,
        "UsageError",
    ),
    "evidence: unknown receipt": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("n1"), "-o", p / "e"],
        6,
        "UnknownIdError",
    ),
    "evidence: key of a client": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("alice"), "-o", p / "e"],
        6,
        "RoleError",
    ),
    "evidence: key truncated": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("truncated"), "-o", p / "e"],
        2,
        "KeyFormatError",
    ),
    "evidence: key oversize": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("huge"), "-o", p / "e"],
        2,
        "KeyFormatError",
    ),
    "evidence: member": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("n1"), "-o", p / "e", "--member", "-1"],
        2,
        "UsageError",
    ),
    "evidence: below a file": (
        lambda p: ["evidence", p.pool, "ab" * 32, "--key", p.key("n1"), "-o", p / "plan" / "e"],
        5,
        "StorageError",
    ),
    "evidence: policy truncated": (
        lambda p: [
            *("evidence", p.pool, "ab" * 32, "--key", p.key("n1"), "-o", p / "e"),
            *("--policy", p / "truncated policy"),
        ],
        2,
        "MalformedRecordError",
    ),
    "verify: evidence that is none": (
        lambda p: ["verify", p / "no evidence", "--policy", p.stage.policy],
        1,
        "MalformedBundleError",
    ),
    "verify: evidence, requirement": (
        lambda p: ["verify", p / "no evidence", "--policy", p.stage.policy, "--require", "upheld"],
        2,
        "UsageError",
    ),
    # verify
    "verify: missing": (
        lambda p: ["verify", p / "nowhere", "--policy", p.stage.policy],
        2,
        "UsageError",
    ),
    "verify: truncated": (
        lambda p: ["verify", p / "truncated bundle", "--policy", p.stage.policy],
        1,
        "MalformedBundleError",
    ),
    "verify: oversize": (
        lambda p: ["verify", p / "huge", "--policy", p.stage.policy],
        1,
        "MalformedBundleError",
    ),
    "verify: empty": (
        lambda p: ["verify", p / "empty", "--policy", p.stage.policy],
        1,
        "MalformedBundleError",
    ),
    "verify: altered": (
        lambda p: ["verify", p / "altered bundle", "--policy", p.stage.policy],
        1,
        "InclusionProofError",
    ),
    "verify: another ledger's policy": (
        lambda p: ["verify", p / "bundle", "--policy", p / "other policy"],
        1,
        "PolicyError",
    ),
    "verify: no policy": (lambda p: ["verify", p / "bundle"], 2, "UsageError"),
    "verify: policy missing": (
        lambda p: ["verify", p / "bundle", "--policy", p / "nowhere"],
        2,
        "MalformedRecordError",
    ),
    "verify: policy truncated": (
        lambda p: ["verify", p / "bundle", "--policy", p / "truncated policy"],
        2,
        "MalformedRecordError",
    ),
    "verify: policy oversize": (
        lambda p: ["verify", p / "bundle", "--policy", p / "huge"],
        2,
        "MalformedRecordError",
    ),
    "verify: policy empty": (
        lambda p: ["verify", p / "bundle", "--policy", p / "empty"],
        2,
        "MalformedRecordError",
    ),
    "verify: requirement": (
        lambda p: ["verify", p / "bundle", "--policy", p.stage.policy, "--require", "loved"],
        2,
        "UsageError",
    ),
    "verify: negative time": (
        lambda p: ["verify", p / "bundle", "--policy", p.stage.policy, "--now", "-1"],
        2,
        "UsageError",
    ),
    "verify: model": (
        lambda p: ["verify", p / "bundle", "--policy", p.stage.policy, "--model", p / "m"],
        2,
        "UsageError",
    ),
    # quote
    "quote: unknown queue": (lambda p: _quote(p, queue="nobody"), 6, "UnknownIdError"),
    "quote: a client as queue": (lambda p: _quote(p, queue="bob"), 6, "RoleError"),
    "quote: class": (lambda p: _quote(p, **{"class": "tpu"}), 6, "UnknownIdError"),
    "quote: no gpus": (lambda p: _quote(p, gpus=0), 2, "UsageError"),
    "quote: negative time": (lambda p: _quote(p, seconds="-1"), 2, "UsageError"),
    "quote: overflow": (lambda p: _quote(p, gpus=2**32 - 1, seconds=10**9), 6, "AmountError"),
    "quote: another queue's key": (
        lambda p: [*_quote(p), "--key", p.key("gpu2")],
        6,
        "RoleError",
    ),
    "quote: a client's key": (lambda p: [*_quote(p), "--key", p.key("alice")], 6, "RoleError"),
    "quote: key missing": (lambda p: [*_quote(p), "--key", p / "nowhere"], 2, "UsageError"),
    "quote: unwritable": (lambda p: _quote(p, o=p / "plan" / "q"), 5, "StorageError"),
    # hold
    "hold: quote missing": (lambda p: _hold(p, "nowhere"), 2, "UsageError"),
    "hold: quote truncated": (lambda p: _hold(p, "truncated quote"), 2, "MalformedRecordError"),
    "hold: quote oversize": (lambda p: _hold(p, "huge"), 2, "MalformedRecordError"),
    "hold: quote signed by somebody else": (lambda p: _hold(p, "forged quote"), 1, "SignatureError"),
    "hold: signed quote truncated": (lambda p: _hold(p, "truncated signed quote"), 2, "MalformedRecordError"),
    "hold: quote expired": (lambda p: _hold(p, "old quote"), 6, "ExpiredError"),
    "hold: beyond credit": (lambda p: _hold(p, "dear quote"), 6, "InsufficientCreditError"),
    "hold: unregistered key": (lambda p: _hold(p, key="loose-client"), 6, "UnknownIdError"),
    "hold: operator's key": (lambda p: _hold(p, key="loose-operator"), 6, "RoleError"),
    "hold: another ledger's key": (lambda p: _hold(p, key="foreign"), 6, "RoleError"),
    "hold: id with other content": (
        lambda p: _hold(p, "second quote", "alice", "--id", "0d" * 16),
        6,
        "ConflictError",
    ),
    "hold: unwritable": (
        lambda p: _hold(p, "second quote", "alice", "-o", p / "plan" / "v"),
        5,
        "StorageError",
    ),
    # capture
    "capture: unknown hold": (
        lambda p: ["capture", p.pool, "ab" * 32, 5, "--key", p.key("gpu")],
        6,
        "UnknownIdError",
    ),
    "capture: hold's form": (
        lambda p: ["capture", p.pool, "abc", 5, "--key", p.key("gpu")],
        2,
        "UsageError",
    ),
    "capture: negative": (
        lambda p: ["capture", p.pool, p.ids["hold"], "-5", "--key", p.key("gpu")],
        2,
        "UsageError",
    ),
    "capture: overflow": (
        lambda p: ["capture", p.pool, p.ids["hold"], 2**63 - 1, "--key", p.key("gpu")],
        6,
        "AmountError",
    ),
    "capture: more than held": (
        lambda p: ["capture", p.pool, p.ids["hold"], 10**9, "--key", p.key("gpu")],
        6,
        "AmountError",
    ),
    "capture: by another queue": (
        lambda p: ["capture", p.pool, p.ids["hold"], 5, "--key", p.key("gpu2")],
        6,
        "RoleError",
    ),
    "capture: by the holder": (
        lambda p: ["capture", p.pool, p.ids["hold"], 5, "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "capture: twice": (
        lambda p: ["capture", p.pool, p.ids["captured"], 5, "--key", p.key("gpu")],
        6,
        "HoldClosedError",
    ),
    "capture: id with other content": (
        lambda p: [
            *("capture", p.pool, p.ids["hold"], 5, "--key", p.key("gpu")),
            *("--id", p.ids["capture"]),
        ],
        6,
        "ConflictError",
    ),
    # release
    "release: unknown hold": (
        lambda p: ["release", p.pool, "ab" * 32, "--key", p.key("gpu")],
        6,
        "UnknownIdError",
    ),
    "release: twice": (
        lambda p: ["release", p.pool, p.ids["ended"], "--key", p.key("gpu")],
        6,
        "HoldClosedError",
    ),
    "release: by another queue": (
        lambda p: ["release", p.pool, p.ids["hold"], "--key", p.key("gpu2")],
        6,
        "RoleError",
    ),
    "release: reason": (
        lambda p: ["release", p.pool, p.ids["hold"], "--key", p.key("gpu"), "--reason", "NO!"],
        2,
        "MalformedRecordError",
    ),
    # transfer
    "transfer: unknown": (
        lambda p: ["transfer", p.pool, "nobody", 5, "--key", p.key("alice")],
        6,
        "UnknownIdError",
    ),
    "transfer: negative": (
        lambda p: ["transfer", p.pool, "bob", "-5", "--key", p.key("alice")],
        6,
        "AmountError",
    ),
    "transfer: nothing": (
        lambda p: ["transfer", p.pool, "bob", 0, "--key", p.key("alice")],
        2,
        "MalformedRecordError",
    ),
    "transfer: to oneself": (
        lambda p: ["transfer", p.pool, "alice", 1, "--key", p.key("alice")],
        2,
        "MalformedRecordError",
    ),
    "transfer: beyond credit": (
        lambda p: ["transfer", p.pool, "bob", "999credits", "--key", p.key("alice")],
        6,
        "InsufficientCreditError",
    ),
    "transfer: overflow": (
        lambda p: ["transfer", p.pool, "bob", 2**63, "--key", p.key("alice")],
        6,
        "AmountError",
    ),
    "transfer: id with other content": (
        lambda p: ["transfer", p.pool, "bob", 2, "--key", p.key("alice"), "--id", p.ids["transfer"]],
        6,
        "ConflictError",
    ),
    "transfer: unregistered key": (
        lambda p: ["transfer", p.pool, "bob", 2, "--key", p.key("loose-client")],
        6,
        "UnknownIdError",
    ),
    # delegate
    "delegate: nobody": (
        lambda p: ["delegate", p.pool, "nobody", *TERMS, "--key", p.key("alice")],
        6,
        "UnknownIdError",
    ),
    "delegate: oneself": (
        lambda p: ["delegate", p.pool, "alice", *TERMS, "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "delegate: the operator": (
        lambda p: ["delegate", p.pool, p.pool / "keys" / "operator.key", *TERMS, "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "delegate: a validator's key": (
        lambda p: ["delegate", p.pool, p.key("loose-validator"), *TERMS, "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "delegate: a weak key": (
        lambda p: ["delegate", p.pool, "01" + "00" * 31, *TERMS, "--key", p.key("alice")],
        2,
        "KeyFormatError",
    ),
    "delegate: not at a queue": (
        lambda p: [
            *["delegate", p.pool, "bob", "--cap", 5, "--until", 10**14, "--queue", "n1"],
            *["--key", p.key("alice")],
        ],
        6,
        "RoleError",
    ),
    "delegate: negative": (
        lambda p: [
            *["delegate", p.pool, "bob", "--cap", "-5", "--until", 10**14, "--queue", "gpu"],
            *["--key", p.key("alice")],
        ],
        6,
        "AmountError",
    ),
    "delegate: unregistered key": (
        lambda p: ["delegate", p.pool, "bob", *TERMS, "--key", p.key("loose-client")],
        6,
        "UnknownIdError",
    ),
    "hold: for one who did not delegate": (
        lambda p: [
            *["hold", p.pool, p / "quote", "--for", "alice", "--key", p.key("bob"), "-o", p / "no voucher"],
        ],
        6,
        "UnknownIdError",
    ),
    "hold: for nobody": (
        lambda p: [
            *["hold", p.pool, p / "quote", "--for", "nobody", "--key", p.key("bob"), "-o", p / "no voucher"],
        ],
        6,
        "UnknownIdError",
    ),
    # budget
    "budget: no days": (
        lambda p: ["budget", p.pool, "--limit", 5, "--days", 0, "--key", p.key("alice")],
        2,
        "UsageError",
    ),
    "budget: too many days": (
        lambda p: ["budget", p.pool, "--limit", 5, "--days", 367, "--key", p.key("alice")],
        2,
        "UsageError",
    ),
    "budget: overflow": (
        lambda p: ["budget", p.pool, "--limit", 2**63, "--days", 1, "--key", p.key("alice")],
        6,
        "AmountError",
    ),
    "budget: for oneself": (
        lambda p: ["budget", p.pool, "--limit", 5, "--days", 1, "--for", "alice", "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    # listing
    "listing: unregistered key": (
        lambda p: ["listing", p.pool, "--off", "--key", p.key("loose-client")],
        6,
        "UnknownIdError",
    ),
    # close
    "close: with credits": (lambda p: ["close", p.pool, "--key", p.key("alice")], 6, "RefusedError"),
    "close: unregistered key": (
        lambda p: ["close", p.pool, "--key", p.key("loose-client")],
        6,
        "UnknownIdError",
    ),
    # run
    "run: slurm": (
        lambda p: ["run", p.pool, "--queue", "slurm", "--voucher", p / "voucher", "--", "true"],
        2,
        "UsageError",
    ),
    "run: no command": (
        lambda p: ["run", p.pool, "--queue", "local", "--voucher", p / "voucher"],
        2,
        "UsageError",
    ),
    "run: no such command": (lambda p: _run(p, "voucher", "--", "no-such-command-anywhere"), 2, "UsageError"),
    "run: voucher missing": (lambda p: _run(p, "nowhere"), 2, "UsageError"),
    "run: voucher truncated": (lambda p: _run(p, "truncated voucher"), 1, "MalformedBundleError"),
    "run: voucher oversize": (lambda p: _run(p, "huge"), 1, "MalformedBundleError"),
    "run: an account's bundle": (lambda p: _run(p, "bundle"), 1, "MalformedBundleError"),
    "run: hold has ended": (lambda p: _run(p, "ended"), 6, "HoldClosedError"),
    "run: key missing": (lambda p: _run(p, key="nowhere"), 2, "UsageError"),
    "run: another queue's key": (lambda p: _run(p, key="gpu2"), 6, "RoleError"),
    "run: a client's key": (lambda p: _run(p, key="alice"), 6, "RoleError"),
    "run: queue's key not at hand": (
        lambda p: ["run", p.pool, "--queue", "local", "--voucher", p / "voucher", "--", "true"],
        2,
        "UsageError",
    ),
    # queue
    "queue install: no slots": (lambda p: ["queue", "install", p.pool, "local"], 2, "UsageError"),
    "queue install: slots 0": (
        lambda p: ["queue", "install", p.pool, "local", "--slots", 0],
        2,
        "UsageError",
    ),
    "queue install: slurm for nobody": (lambda p: _slurm(p, "install", queue="nobody"), 6, "UnknownIdError"),
    "queue install: slurm for a client": (lambda p: _slurm(p, "install", queue="alice"), 6, "RoleError"),
    "queue install: slurm without a cluster": (
        lambda p: ["queue", "install", p.pool, "slurm", "--queue", "gpu"],
        2,
        "UsageError",
    ),
    "queue install: slurm, class twice": (
        lambda p: _slurm(p, "install", "--class", "a=b", "--class", "a=c"),
        2,
        "UsageError",
    ),
    "queue install: slurm, no pair": (lambda p: _slurm(p, "install", "--account", "lab"), 2, "UsageError"),
    "queue install: slurm, account": (
        lambda p: _slurm(p, "install", "--all-jobs-of", 'a"] = os.exit()'),
        2,
        "MalformedRecordError",
    ),
    "queue run: slurm, not installed": (
        lambda p: ["queue", "run", p.pool, "slurm", "--once", "--directory", p / "no ledger"],
        5,
        "StorageError",
    ),
    "queue run: slurm, not its settings": (
        lambda p: ["queue", "run", p.pool, "slurm", "--once", "--directory", p / "bad slurm"],
        2,
        "MalformedRecordError",
    ),
    "queue submit: slurm": (lambda p: ["queue", "submit", p.pool, "slurm"], 2, "UsageError"),
    "report usage: not installed": (
        lambda p: ["report", "usage", p.pool, "--directory", p / "no ledger"],
        5,
        "StorageError",
    ),
    "report usage: month": (
        lambda p: ["report", "usage", p.pool, "--directory", p / "no ledger", "--month", "2026-13"],
        2,
        "UsageError",
    ),
    "report usage: two forms": (
        lambda p: ["report", "usage", p.pool, "--directory", p / "no ledger", "--csv", "--month", "x"],
        2,
        "UsageError",
    ),
    "queue install: unknown kind": (lambda p: ["queue", "install", p.pool, "global"], 2, "UsageError"),
    "queue install: no ledger": (
        lambda p: ["queue", "install", p / "no ledger", "local", "--slots", 1],
        2,
        "UsageError",
    ),
    "queue install: no queue's key at hand": (
        lambda p: ["queue", "install", p.pool, "local", "--slots", 1],
        2,
        "UsageError",
    ),
    "queue install: a client": (
        lambda p: ["queue", "install", p.pool, "local", "--slots", 1, "--queue", "alice"],
        6,
        "RoleError",
    ),
    "queue install: a client's key": (
        lambda p: ["queue", "install", p.pool, "local", "--slots", 1, "--key", p.key("alice")],
        6,
        "RoleError",
    ),
    "queue install: nobody": (
        lambda p: ["queue", "install", p.pool, "local", "--slots", 1, "--queue", "nobody"],
        6,
        "UnknownIdError",
    ),
    "queue install: class without a price": (
        lambda p: [
            *("queue", "install", p.pool, "local", "--slots", 1),
            "--queue",
            "gpu",
            "--class",
            "abacus",
        ],
        6,
        "UnknownIdError",
    ),
    "queue run: nothing installed": (
        lambda p: ["queue", "run", p.pool, "local", "--once"],
        5,
        "StorageError",
    ),
    "queue run: another queue": (
        lambda p: ["queue", "run", p.pool, "local", "--once", "--queue", "gpu2"],
        5,
        "StorageError",
    ),
    "queue submit: no command": (
        lambda p: ["queue", "submit", p.pool, "local", "--voucher", p / "voucher"],
        2,
        "UsageError",
    ),
    "queue submit: no such command": (
        lambda p: ["queue", "submit", p.pool, "local", "--voucher", p / "voucher", "--", "no-such-command"],
        2,
        "UsageError",
    ),
    "queue submit: voucher truncated": (
        lambda p: ["queue", "submit", p.pool, "local", "--voucher", p / "truncated voucher", "--", "true"],
        1,
        "MalformedBundleError",
    ),
    "queue submit: nothing installed": (
        lambda p: ["queue", "submit", p.pool, "local", "--voucher", p / "voucher", "--", "true"],
        5,
        "StorageError",
    ),
    # validate
    "validate: key missing": (lambda p: ["validate", p.pool, "--key", p / "nowhere"], 2, "UsageError"),
    "validate: a client's key": (lambda p: ["validate", p.pool, "--key", p.key("alice")], 6, "RoleError"),
    "validate: key truncated": (
        lambda p: ["validate", p.pool, "--key", p.key("truncated")],
        2,
        "KeyFormatError",
    ),
    "validate: no seat": (
        lambda p: ["validate", p.pool, "--key", p.key("loose-validator"), "--once"],
        6,
        "RoleError",
    ),
    "validate: model missing": (
        lambda p: [
            *("validate", p.pool, "--key", p.pool / "keys" / "validator-0.key"),
            *("--model", p / "nowhere", "--once"),
        ],
        2,
        "UsageError",
    ),
    "validate: no model": (
        lambda p: [
            *("validate", p.pool, "--key", p.pool / "keys" / "validator-0.key"),
            *("--model", p / "plan", "--once"),
        ],
        2,
        "MalformedRecordError",
    ),
    "validate: a place of evidence for a directory": (
        lambda p: [
            *("validate", p.pool, "--key", p.pool / "keys" / "validator-0.key"),
            *("--evidence", "http://node.example", "--once"),
        ],
        2,
        "UsageError",
    ),
    "validate: a place of evidence that is no URL": (
        lambda p: [
            *("validate", p.pool, "--key", p.pool / "keys" / "validator-0.key"),
            *("--evidence", "n1@nowhere", "--once"),
        ],
        2,
        "UsageError",
    ),
    # serve
    "serve: no address": (lambda p: ["serve", p.pool, "--listen", "nowhere"], 2, "UsageError"),
    "serve: no ledger": (lambda p: ["serve", p / "void", "--listen", "127.0.0.1:0"], 5, "StorageError"),
    # publish, mirror
    "publish: no ledger": (lambda p: ["publish", p / "plan", p / "www"], 2, "UsageError"),
    "publish: no bucket": (lambda p: ["publish", p.pool, "s3:///a"], 2, "MalformedRecordError"),
    "publish: an endpoint for a folder": (
        lambda p: ["publish", p.pool, p / "www", "--endpoint-url", "http://127.0.0.1:9"],
        2,
        "UsageError",
    ),
    "publish: in the way of a file": (lambda p: ["publish", p.pool, p / "plan"], 5, "StorageError"),
    "mirror: no policy": (lambda p: ["mirror", "http://127.0.0.1:9", p / "copy"], 2, "UsageError"),
    "mirror: no URL": (
        lambda p: ["mirror", "nowhere", p / "copy", "--policy", p.stage.policy],
        2,
        "MalformedRecordError",
    ),
    "mirror: nobody there": (
        lambda p: ["mirror", "http://127.0.0.1:9", p / "copy", "--policy", p.stage.policy],
        3,
        "BusyError",
    ),
    "mirror: to serve and not to follow": (
        lambda p: [
            *("mirror", "http://127.0.0.1:9", p / "copy", "--policy", p.stage.policy),
            *("--listen", "127.0.0.1:0"),
        ],
        2,
        "UsageError",
    ),
    # move
    "move: no ledger": (lambda p: ["move", p / "plan"], 2, "UsageError"),
    "move: no database": (lambda p: ["move", p.pool, "--store", "mysql://a/b"], 5, "StorageError"),
    "move: to where it is": (lambda p: ["move", p.pool], 6, "ConflictError"),
    # import, and export's archive
    "import: no file": (lambda p: ["import", p / "nothing", p / "new"], 2, "UsageError"),
    "import: no archive": (lambda p: ["import", p / "plan", p / "new"], 2, "MalformedRecordError"),
    "import: a place that is taken": (lambda p: ["import", p / "archive", p / "plan"], 5, "StorageError"),
    "import: another ledger": (lambda p: ["import", p / "archive", p / "other" / "pool"], 6, "ConflictError"),
    "import: no database": (
        lambda p: ["import", p / "archive", p / "imported", "--store", "mysql://a/b"],
        5,
        "StorageError",
    ),
    "export: an archive to nowhere": (
        lambda p: ["export", p.pool, "--format", "archive"],
        2,
        "UsageError",
    ),
    # page-link
    "page-link: no URL": (_page_link("pool", "n1"), 2, "UsageError"),
    "page-link: a query": (_page_link("http://pool.example/?a=b", "n1"), 2, "UsageError"),
    "page-link: no node": (_page_link("http://pool.example", "../n1"), 2, "UsageError"),
    "page-link: a step": (_page_link("http://pool.example", ".."), 2, "UsageError"),
    "page-link: too long": (_page_link("http://pool.example", "n1", "--valid", "8d"), 2, "UsageError"),
    "page-link: a client": (_page_link("http://pool.example", "n1", key="alice"), 6, "RoleError"),
    "page-link: a loose key": (_page_link("http://pool.example", "n1", key="loose-node"), 6, "RoleError"),
    # witness
    "witness: no address": (lambda p: ["witness", p / "w", "--listen", "nowhere"], 2, "UsageError"),
    "witness: a ledger": (lambda p: ["witness", p.pool, "--listen", "127.0.0.1:0"], 5, "StorageError"),
    # parameters
    "parameters: missing": (lambda p: ["parameters", "check", p / "nowhere.toml"], 2, "UsageError"),
    "parameters: not TOML": (lambda p: ["parameters", "check", p / "rows.npy"], 2, "MalformedRecordError"),
    "parameters: bad amount": (
        lambda p: ["parameters", "check", p / "thin.toml", "--receipt", "-1"],
        6,
        "AmountError",
    ),
    "parameters: cheating pays": (
        lambda p: ["parameters", "check", p / "thin.toml", "--json"],
        6,
        "RefusedError",
    ),
    # sim
    "sim: no seed": (lambda p: ["sim"], 2, "UsageError"),
    "sim: seed": (lambda p: ["sim", "--seed", -1], 2, "UsageError"),
    "sim: four nodes": (lambda p: ["sim", "--seed", 1, "--nodes", 4], 2, "UsageError"),
    "sim: receipt": (lambda p: ["sim", "--seed", 1, "--receipt", "much"], 2, "MalformedRecordError"),
    "sim: nothing for a receipt": (lambda p: ["sim", "--seed", 1, "--receipt", "0"], 6, "AmountError"),
    "sim: missing": (lambda p: ["sim", "--seed", 1, "--config", p / "nowhere"], 2, "UsageError"),
    "sim: broken": (_simulated("broken"), 2, "MalformedRecordError"),
    "sim: unknown key": (_simulated("unknown"), 2, "MalformedRecordError"),
    "sim: levy use": (_simulated("use"), 6, "RefusedError"),
    "sim: rule set": (_simulated("rule set"), 6, "RefusedError"),
    # compare
    "compare: missing": (lambda p: _compare(p, "nowhere.npy"), 2, "UsageError"),
    "compare: no input": (lambda p: _compare(p, "rows.npy", "--json"), 2, "UsageError"),
    "compare: truncated": (lambda p: _compare(p, "truncated.npy"), 2, "ActivationError"),
    "compare: boasting header": (lambda p: _compare(p, "boasting.npy"), 2, "ActivationError"),
    "compare: objects": (lambda p: _compare(p, "objects.npy"), 2, "ActivationError"),
    "compare: an archive": (lambda p: _compare(p, "archive.npy"), 2, "ActivationError"),
    "compare: no array": (lambda p: _compare(p, "plan"), 2, "ActivationError"),
    "calibrate: no span": (lambda p: ["calibrate", "--span", "4", "-o", p / "new"], 2, "UsageError"),
    "calibrate: no model": (
        lambda p: ["calibrate", "--span", "0:1", "--model", p / "nowhere", "-o", p / "new"],
        2,
        "UsageError",
    ),
    "calibrate: few sequences": (
        lambda p: ["calibrate", "--span", "0:1", "--sequences", 7, "-o", p / "new"],
        2,
        "UsageError",
    ),
    "calibrate: unwritable": (
        lambda p: ["calibrate", "--span", "0:1", "-o", p / "nowhere" / "new"],
        5,
        "StorageError",
    ),
    "report checks: another picture": (
        lambda p: ["report", "checks", p.pool, "-o", p / "new.pdf"],
        2,
        "UsageError",
    ),
    "report checks: not a profile": (
        lambda p: ["report", "checks", p / "rows.npy"],
        2,
        "MalformedRecordError",
    ),
    "report checks: no ledger": (lambda p: ["report", "checks", p.stage.folder], 2, "UsageError"),
    "report checks: no journal": (
        lambda p: ["report", "checks", p.pool, "--key", p / "alice.key"],
        5,
        "StorageError",
    ),
    "compare: empty": (lambda p: _compare(p, "empty"), 2, "ActivationError"),
    "compare: another type": (lambda p: _compare(p, "double.npy"), 2, "ActivationError"),
    "compare: another shape": (lambda p: _compare(p, "narrow.npy"), 2, "ActivationError"),
    "compare: no numbers": (
        lambda p: ["compare", p / "rows.npy", p / "nan.npy", p / "rows.npy", "--input", p / "rows.npy"],
        2,
        "ActivationError",
    ),
    "compare: profile missing": (
        lambda p: _compare(p, "rows.npy", "--input", p / "rows.npy", "--profile", p / "nowhere"),
        2,
        "UsageError",
    ),
    "compare: profile": (
        lambda p: _compare(p, "rows.npy", "--input", p / "rows.npy", "--profile", p / "plan"),
        2,
        "MalformedRecordError",
    ),
    "compare: rule": (
        lambda p: _compare(p, "rows.npy", "--input", p / "rows.npy", "--rule", "mild"),
        2,
        "UsageError",
    ),
    "doctor: an argument": (lambda p: ["doctor", "now"], 2, "UsageError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line_and_changes_nothing(props: Props, case: str) -> None:
    arguments, code, name = REFUSED[case]
    given = arguments(props)
    if case == "key new: public side there":
        props.write("sided.key.pub", b"")
    before, files = content_of(props.pool), sorted(os.listdir(props.stage.folder))
    said = cli(*[argument for argument in given if argument != "--json"])
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.isprintable() or said.err.endswith("\n")
    separator = given.index("--") if "--" in given else len(given)
    as_json = cli(*given[:separator], "--json", *given[separator:])
    assert (as_json.code, as_json.err) == (code, "")
    answer = as_json.answer
    assert (answer["error"], answer["exit"]) == (name, code)
    assert {"message", "expected", "found"} < set(answer)
    assert content_of(props.pool) == before
    assert sorted(os.listdir(props.stage.folder)) == files


def test_every_verb_has_a_refusal() -> None:
    from creditledger.cli.main import VERBS

    tried = {case.split(":")[0].split()[0] for case in REFUSED}
    assert set(VERBS) - tried <= {"demo"}


def test_a_torn_last_frame_is_malformed_and_the_whole_ones_stay(props: Props, tmp_path: Path) -> None:
    pool = copy_of(props.pool, tmp_path / "pool")
    ledger_id = bytes.fromhex(ask("status", pool)["ledger"])
    whole = registration(ledger_id, "gerd", Role.NODE).encode()
    torn = frames([whole]) + frames([whole])[:-1]
    said = cli("append", pool, "--stdin", "--ack", stdin=torn)
    assert (said.code, len(said.out.splitlines()), len(said.err.splitlines())) == (2, 1, 1)
    assert ask("balance", pool, "gerd")["role"] == "node"
    as_json = cli("append", pool, "--stdin", "--ack", "--json", stdin=torn)
    acknowledged, error = map(json.loads, as_json.out.splitlines())
    assert set(acknowledged) == {"index", "leaf_hash"}
    assert (error["error"], error["exit"]) == ("MalformedRecordError", 2)


@pytest.mark.parametrize(
    ("stdin", "code"),
    {
        "another ledger's": (frames([registration(b"\7" * 32, "hans").encode()]), 6),
        "forged": (frames([grant(b"\7" * 32, "client", 10**9).encode()]), 6),
        "announces too much": ((2**32 - 1).to_bytes(4, "big") + b"x", 2),
        "half a header": (b"\0\0", 2),
        "no record": (frames([b"\xc1"]), 6),
    }.values(),
    ids=["another ledger's", "forged", "announces too much", "half a header", "no record"],
)
def test_a_stream_that_holds_nothing_good_changes_nothing(props: Props, stdin: bytes, code: int) -> None:
    before = content_of(props.pool)
    said = cli("append", props.pool, "--stdin", "--ack", stdin=stdin)
    assert (said.code, len(said.err.splitlines())) == (code, 1)
    assert "ACK" not in said.out
    assert content_of(props.pool) == before


def test_a_second_writer_waits_and_then_is_told_so(props: Props, monkeypatch: pytest.MonkeyPatch) -> None:
    from creditledger.ledger.ledger import Ledger
    from creditledger.redemption import ledger_access

    monkeypatch.setattr(ledger_access, "_ATTEMPTS", 2)
    with Ledger.open(props.pool):
        said = cli("grant", props.pool, "bob", 1, "--reason", "x", "--json")
    assert (said.code, said.answer["error"]) == (3, "BusyError")


def test_a_ledger_older_than_its_head_is_not_written(props: Props, tmp_path: Path) -> None:
    old, new = copy_of(props.pool, tmp_path / "old"), copy_of(props.pool, tmp_path / "new")
    ask("grant", new, "bob", 1, "--reason", "x")
    (old / "head").write_bytes((new / "head").read_bytes())
    for arguments in (["grant", old, "bob", 1, "--reason", "x"], ["status", old], ["fsck", old]):
        said = cli(*arguments, "--json")
        assert (said.code, said.answer["error"]) == (4, "RollbackError")


def test_a_damaged_store_is_named_by_fsck(props: Props, tmp_path: Path) -> None:
    pool = copy_of(props.pool, tmp_path / "pool")
    (pool / "sealed" / ("0" * 64)).write_bytes(b"other sketches")
    said = cli("fsck", pool, "--json")
    assert (said.code, said.answer["error"]) == (4, "IntegrityError")


def test_an_altered_public_log_fails_its_audit(props: Props, tmp_path: Path) -> None:
    pool = copy_of(props.pool, tmp_path / "pool")
    tile = max((pool / "public" / "tile" / "entries").rglob("*.p/*"), key=lambda path: path.stat().st_mtime)
    content = bytearray(tile.read_bytes())
    content[-1] ^= 1
    tile.write_bytes(content)
    said = cli("audit", pool, "--json")
    assert said.code == 1, said
    (pool / "public" / "checkpoint").unlink()
    assert cli("audit", pool).code == 1
    (pool / "policy").unlink()
    assert cli("audit", pool).code == 2


def test_a_bug_is_never_taken_for_a_failed_verification(
    monkeypatch: pytest.MonkeyPatch, props: Props
) -> None:
    from creditledger.transparency.trust_policy import TrustPolicy

    def broken(path: object) -> Any:
        raise AssertionError("this cannot be")

    monkeypatch.setattr(TrustPolicy, "load", broken)
    said = cli("verify", props / "bundle", "--policy", props.stage.policy, "--json")
    assert (said.code, said.answer["error"]) == (70, "InternalError")


@pytest.mark.parametrize("name", ["bundle", "voucher"])
def test_no_damage_to_a_bundle_is_anything_but_a_failed_verification(props: Props, name: str) -> None:
    chance, whole = random.Random(3), (props / name).read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        place = chance.randrange(len(whole))
        if chance.random() < 0.7:
            damaged[place] ^= 1 << chance.randrange(8)
        else:
            del damaged[place : place + chance.randint(1, 40)]
        props.write("damaged", bytes(damaged))
        said = cli("verify", props / "damaged", "--policy", props.stage.policy, "--json")
        assert (said.code, said.answer["exit"]) == (1, 1), said
