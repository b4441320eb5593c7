"""What a reader trusts: logs, witnesses and their quorum, ledger, committee, and how old is too old.

Source: specs/log.md §10."""

import re
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Final

from creditledger.errors import (
    MalformedBundleError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
)
from creditledger.transparency.certificate import Committee, CommitteeMember
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint, parse_decimal
from creditledger.transparency.cosignature import cosignature_timestamp, note_verifier
from creditledger.transparency.merkle import EMPTY_ROOT
from creditledger.transparency.note import (
    TYPE_COSIGNATURE,
    TYPE_COSIGNATURE_ML_DSA_44,
    TYPE_ED25519,
    VerifiedSignature,
    VerifierKey,
    open_note,
    parse_note,
    parse_verifier_key,
)
from creditledger.transparency.quorum import (
    NO_QUORUM,
    KeyRange,
    PolicyLog,
    PolicyWitness,
    WitnessGroup,
    quorum_time,
    require_well_founded,
)

POLICY_SIZE_MAX: Final = 1_000_000
_DIRECTIVE: Final = b"#creditledger"
_ALLOWED: Final = frozenset({0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)})
_BLANK: Final = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCheckpoint:
    """A checkpoint that the policy accepts."""

    checkpoint: Checkpoint
    cosigned_unix_ms: int | None
    """Since when a quorum has cosigned it; None under a policy without a quorum."""
    log_keys: frozenset[bytes] = frozenset()
    """The public keys of the policy's logs that signed it and may, at its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """A tlog-policy with the ledger's own lines. Source: specs/log.md §10."""

    logs: tuple[PolicyLog, ...]
    """Ed25519 keys (type 1), each key once."""
    witnesses: tuple[PolicyWitness, ...] = ()
    """Cosignature keys (type 4 or 6), no key twice and none of a log."""
    groups: tuple[WitnessGroup, ...] = ()
    quorum: str = NO_QUORUM
    ledger_id: bytes | None = None
    """32 bytes: the digest of the genesis record."""
    committee: Committee | None = None
    max_age_ms: int | None = None
    """How old a quorum's cosignature may be, when the reader says what time it is."""

    def __post_init__(self) -> None:
        for log in self.logs:
            _require_type(log.vkey, (TYPE_ED25519,))
        for witness in self.witnesses:
            _require_type(witness.vkey, (TYPE_COSIGNATURE, TYPE_COSIGNATURE_ML_DSA_44))
        keys = [vkey.public_key for vkey in self.vkeys]
        if len(set(keys)) != len(keys):
            raise _malformed("each public key once", "a key under two names or roles")
        if self.ledger_id is not None and len(self.ledger_id) != 32:
            raise _malformed("a ledger id of 32 bytes", f"{len(self.ledger_id)} bytes")
        require_well_founded(self.witnesses, self.groups, self.quorum)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "TrustPolicy":
        """The policy in a file. Raises MalformedRecordError, also when the file cannot be read."""
        try:
            with Path(path).open("rb") as file:
                return cls.parse(file.read(POLICY_SIZE_MAX + 1))
        except OSError as error:
            raise MalformedRecordError(
                "policy file cannot be read",
                expected="a readable file",
                found=f"{path}: {error.strerror}",
            ) from error

    @classmethod
    def parse(cls, encoded: bytes) -> "TrustPolicy":
        """The policy that ``encoded`` states. Raises MalformedRecordError."""
        if len(encoded) > POLICY_SIZE_MAX:
            raise _malformed(f"at most {POLICY_SIZE_MAX} bytes", f"{len(encoded)} bytes")
        if not _ALLOWED.issuperset(encoded):
            raise _malformed("no control character but tab and LF", "one")
        if encoded and not encoded.endswith(b"\n"):
            raise _malformed("a last line that ends with LF", "none")
        draft = _Draft()
        for line in encoded.split(b"\n"):
            draft.read_line(line.strip(b" \t"))
        return draft.finish()

    def serialize(self) -> bytes:
        """The policy as a file: `parse` gives it back; comments are not kept."""
        lines = [_line("log", log.vkey, log.url) for log in self.logs]
        lines += [_range_line(log.vkey, log.range) for log in self.logs if log.range is not None]
        lines += [_line("witness", entry.name, entry.vkey, entry.url) for entry in self.witnesses]
        lines += [_group_line(group) for group in self.groups]
        lines.append(_line("quorum", self.quorum))
        if self.ledger_id is not None:
            lines.append(_line("#creditledger ledger", self.ledger_id.hex()))
        if self.committee is not None:
            for member in self.committee.members:
                proof = member.proof_of_possession.hex()
                lines.append(_line("#creditledger validator", member.bls_key.hex(), proof))
            lines.append(_line("#creditledger quorum", self.committee.quorum))
        if self.max_age_ms is not None:
            lines.append(_line("#creditledger max-age-ms", self.max_age_ms))
        return "".join(lines).encode("utf-8", "surrogateescape")

    def for_any_size(self) -> "TrustPolicy":
        """The same without key ranges, for whoever knows from the log itself which key signs when."""
        return replace(self, logs=tuple(replace(log, range=None) for log in self.logs))

    def verify_checkpoint(
        self, note: bytes, *, now_unix_ms: int | None = None, only_known: bool = False
    ) -> VerifiedCheckpoint:
        """Check log signature, witness quorum and, given the time, age of a checkpoint note.

        Raises MalformedRecordError for bytes that are no checkpoint note, SignatureError when the
        log's signature is missing, or by a key that does not sign checkpoints of that size, or one of a
        known key fails; PolicyError when the quorum is not reached or is older than ``max_age_ms``, and
        for a retired key where no quorum is asked for. ``only_known`` is for a note in a bundle: then
        bytes that are no checkpoint note, a line by a key that is not in the policy and a second
        line by one key are a MalformedBundleError. Source: specs/log.md §10."""
        checkpoint, signatures = self._open(note, only_known)
        signed_by = {signature.vkey for signature in signatures}
        logs = self.logs_that_signed(checkpoint, signed_by)
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise PolicyError(
                "empty log has a root of its own",
                expected=EMPTY_ROOT.hex(),
                found=checkpoint.root.hex(),
            )
        times: dict[VerifierKey, int] = {}
        for signature in signatures:
            if signature.vkey.key_type != TYPE_ED25519:
                time = cosignature_timestamp(signature.body)
                times[signature.vkey] = max(time, times.get(signature.vkey, 0))
        cosigned = self._require_quorum(times)
        self._require_fresh(cosigned, now_unix_ms)
        if self.quorum == NO_QUORUM and all(log.range is not None and log.range.is_retired for log in logs):
            raise PolicyError(
                "a retired key counts only together with a quorum of witnesses",
                expected="a quorum",
                found="none",
            )
        keys = frozenset(log.vkey.public_key for log in logs)
        return VerifiedCheckpoint(checkpoint=checkpoint, cosigned_unix_ms=cosigned, log_keys=keys)

    def logs_that_signed(self, checkpoint: Checkpoint, signed_by: Set[VerifierKey]) -> list[PolicyLog]:
        """Those whose signature counts: under their own origin, at a size that their range covers.

        ``signed_by``: whose signatures verify. Raises SignatureError if there is none."""
        signed = [log for log in self.logs if log.vkey in signed_by and log.vkey.name == checkpoint.origin]
        if not signed:
            raise SignatureError(
                "checkpoint is not signed by a log of the policy under its own origin",
                expected=", ".join(log.vkey.name for log in self.logs),
                found=checkpoint.origin,
            )
        covering = [log for log in signed if log.range is None or log.range.covers(checkpoint.size)]
        if not covering:
            raise SignatureError(
                "checkpoint is signed by a key that does not sign for this size",
                expected=", ".join(_range_line(log.vkey, log.range).strip() for log in signed if log.range),
                found=f"size {checkpoint.size}",
            )
        return covering

    def _open(self, note: bytes, only_known: bool) -> tuple[Checkpoint, tuple[VerifiedSignature, ...]]:
        try:
            text, signatures = open_note(note, [note_verifier(vkey) for vkey in self.vkeys])
            checkpoint = parse_checkpoint(text)
        except MalformedRecordError as error:
            if not only_known:
                raise
            raise MalformedBundleError(
                f"bundle holds no checkpoint: {error}", expected=error.expected, found=error.found
            ) from error
        if only_known:
            _require_only_known(note, signatures)
        return checkpoint, signatures

    @property
    def vkeys(self) -> list[VerifierKey]:
        """Every key that a line of a checkpoint may be by: the logs', then the witnesses'."""
        return [*(log.vkey for log in self.logs), *(witness.vkey for witness in self.witnesses)]

    def _require_quorum(self, times: dict[VerifierKey, int]) -> int | None:
        """Since when (Unix milliseconds) a quorum has cosigned; None when none is asked for."""
        if self.quorum == NO_QUORUM:
            return None
        by_name = {entry.name: times[entry.vkey] for entry in self.witnesses if entry.vkey in times}
        seconds = quorum_time(by_name, quorum=self.quorum, groups=self.groups)
        if seconds is None:
            raise PolicyError(
                "checkpoint is not cosigned by a quorum of witnesses",
                expected=f"quorum {self.quorum!a}",
                found=", ".join(map(ascii, by_name)) or "no cosignature",
            )
        return seconds * 1_000

    def _require_fresh(self, cosigned: int | None, now_unix_ms: int | None) -> None:
        if self.max_age_ms is None or now_unix_ms is None:
            return
        # A time ahead of the reader's clock is as wrong as an old one: it would stay fresh longer.
        if cosigned is None or abs(now_unix_ms - cosigned) > self.max_age_ms:
            raise PolicyError(
                "checkpoint is not fresh",
                expected=f"cosigned within {self.max_age_ms} ms of {now_unix_ms}",
                found="no cosignature asked for" if cosigned is None else str(cosigned),
            )


@dataclass(slots=True)
class _Draft:
    """A policy while its lines are read."""

    logs: list[PolicyLog] = field(default_factory=list)
    witnesses: list[PolicyWitness] = field(default_factory=list)
    groups: list[WitnessGroup] = field(default_factory=list)
    quorum: list[str] = field(default_factory=list)
    members: list[CommitteeMember] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    ledger_id: list[bytes] = field(default_factory=list)

    def read_line(self, line: bytes) -> None:
        """Take in one line, without white space around it."""
        is_directive = line.startswith(_DIRECTIVE)
        if not line or (line.startswith(b"#") and not is_directive):
            return
        words = [word.decode("utf-8", "surrogateescape") for word in _BLANK.split(line)]
        verb, arguments = words[0], words[1:]
        readers: dict[str, tuple[int, int, Callable[[list[str]], None]]] = {
            "log": (1, 2, self._read_log),
            "witness": (2, 3, self._read_witness),
            "group": (3, POLICY_SIZE_MAX, self._read_group),
            "quorum": (1, 1, self._read_quorum),
            "#creditledger key": (3, 3, self._read_key_range),
            "#creditledger ledger": (1, 1, self._read_ledger),
            "#creditledger validator": (2, 2, self._read_validator),
            "#creditledger quorum": (1, 1, self._read_committee_quorum),
            "#creditledger max-age-ms": (1, 1, self._read_max_age),
        }
        if is_directive and arguments:
            verb, arguments = f"{verb} {arguments[0]}", arguments[1:]
        least, most, reader = readers.get(verb, (1, 0, self._read_quorum))
        if not least <= len(arguments) <= most:
            raise _malformed("a known line with its arguments", ascii(line[:60]))
        reader(arguments)

    def finish(self) -> TrustPolicy:
        """The policy. Raises MalformedRecordError when a part is missing."""
        if len(self.quorum) != 1:
            raise _malformed("one quorum line", f"{len(self.quorum)}")
        if bool(self.members) != ("quorum" in self.numbers):
            raise _malformed("validators and their quorum, or neither", "one of them")
        committee = None
        if self.members:
            committee = Committee(members=tuple(self.members), quorum=self.numbers["quorum"])
        return TrustPolicy(
            logs=tuple(self.logs),
            witnesses=tuple(self.witnesses),
            groups=tuple(self.groups),
            quorum=self.quorum[0],
            ledger_id=self.ledger_id[0] if self.ledger_id else None,
            committee=committee,
            max_age_ms=self.numbers.get("max-age-ms"),
        )

    def _read_log(self, words: list[str]) -> None:
        url = words[1] if len(words) > 1 else None
        self.logs.append(PolicyLog(vkey=parse_verifier_key(words[0]), url=url))

    def _read_key_range(self, words: list[str]) -> None:
        key = _hex(words[0], size=32)
        range_ = KeyRange(first_size=_decimal(words[1]), until_size=_decimal(words[2]))
        for place, log in enumerate(self.logs):
            if log.vkey.public_key == key and log.range is None:
                self.logs[place] = replace(log, range=range_)
                return
        raise _malformed("one range for the key of an earlier log line", ascii(words[0]))

    def _read_witness(self, words: list[str]) -> None:
        url = words[2] if len(words) > 2 else None
        vkey = parse_verifier_key(words[1])
        self.witnesses.append(PolicyWitness(name=words[0], vkey=vkey, url=url))

    def _read_group(self, words: list[str]) -> None:
        name, threshold, members = words[0], words[1], tuple(words[2:])
        for member in members:
            self._require_defined(member)
        count = {"any": 1, "all": len(members)}.get(threshold)
        if count is None:
            count = _decimal(threshold)
        self.groups.append(WitnessGroup(name=name, threshold=count, members=members))

    def _read_quorum(self, words: list[str]) -> None:
        if words[0] != NO_QUORUM:
            self._require_defined(words[0])
        self.quorum.append(words[0])

    def _read_ledger(self, words: list[str]) -> None:
        if self.ledger_id:
            raise _malformed("one ledger line", "a second")
        self.ledger_id.append(_hex(words[0], size=32))

    def _read_validator(self, words: list[str]) -> None:
        key, proof = _hex(words[0], size=48), _hex(words[1], size=96)
        self.members.append(CommitteeMember(bls_key=key, proof_of_possession=proof))

    def _read_committee_quorum(self, words: list[str]) -> None:
        self._read_number("quorum", words[0])

    def _read_max_age(self, words: list[str]) -> None:
        self._read_number("max-age-ms", words[0])

    def _read_number(self, name: str, digits: str) -> None:
        if name in self.numbers:
            raise _malformed(f"one {name} line", "a second")
        self.numbers[name] = _decimal(digits)

    def _require_defined(self, name: str) -> None:
        """Lines refer upward only."""
        defined = [*(witness.name for witness in self.witnesses), *(g.name for g in self.groups)]
        if name not in defined:
            raise _malformed("a name defined on an earlier line", ascii(name[:40]))


def _require_only_known(note: bytes, signatures: tuple[VerifiedSignature, ...]) -> None:
    """So that a checkpoint in a bundle has one spelling per set of signatures."""
    lines = len(parse_note(note).signatures)
    distinct = len({signature.vkey for signature in signatures})
    if not lines == len(signatures) == distinct:
        raise MalformedBundleError(
            "checkpoint carries lines that the policy does not know, or a key's line twice",
            expected=f"{distinct} lines",
            found=f"{lines} lines",
        )


def _require_type(vkey: VerifierKey, allowed: tuple[int, ...]) -> None:
    if vkey.key_type not in allowed:
        raise _malformed(f"a key of type {' or '.join(map(str, allowed))}", str(vkey.key_type))


def _group_line(group: WitnessGroup) -> str:
    size = len(group.members)
    threshold = "all" if group.threshold == size else group.threshold
    return _line("group", group.name, threshold, *group.members)


def _range_line(vkey: VerifierKey, range_: KeyRange) -> str:
    return _line("#creditledger key", vkey.public_key.hex(), range_.first_size, range_.until_size)


def _line(*words: object) -> str:
    return " ".join(str(word) for word in words if word is not None) + "\n"


def _decimal(digits: str) -> int:
    return parse_decimal(digits.encode("utf-8", "surrogateescape"))


def _hex(digits: str, *, size: int) -> bytes:
    if not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", digits):
        raise _malformed(f"{2 * size} lower-case hex digits", ascii(digits[:60]))
    return bytes.fromhex(digits)


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a trust policy", expected=expected, found=found)
