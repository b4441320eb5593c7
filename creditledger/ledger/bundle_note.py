"""The published checkpoint as a bundle carries it. Source: specs/bundle.md §2."""

from collections.abc import Mapping

from creditledger.errors import PolicyError
from creditledger.transparency.cosignature import cosignature_timestamp
from creditledger.transparency.note import Note, NoteSignature, VerifierKey, parse_note
from creditledger.transparency.quorum import smallest_quorum
from creditledger.transparency.trust_policy import TrustPolicy


def note_for(note: bytes, policy: TrustPolicy) -> bytes:
    """The note with the signature lines that ``policy`` needs, in the order that a bundle asks for."""
    parsed = parse_note(note)
    by_name = {(vkey.name, vkey.key_id): vkey for vkey in policy.vkeys}
    known = {
        by_name[line.name, line.key_id]: line
        for line in parsed.signatures
        if (line.name, line.key_id) in by_name
    }
    if not known:
        raise PolicyError(
            "policy knows nobody who signed the checkpoint",
            expected=", ".join(vkey.name for vkey in policy.vkeys),
            found=", ".join(ascii(line.name) for line in parsed.signatures),
        )
    lines = [line for vkey, line in known.items() if vkey not in _spared(known, policy)]
    lines.sort(key=lambda signature: signature.line)
    return Note(text=parsed.text, signatures=tuple(lines)).encode()


def _spared(known: Mapping[VerifierKey, NoteSignature], policy: TrustPolicy) -> set[VerifierKey]:
    """Witnesses whose lines the policy's quorum can do without; an ML-DSA-44 line is the first to go."""
    short_first = sorted(policy.witnesses, key=lambda witness: witness.vkey.key_type)
    times = {
        witness.name: cosignature_timestamp(known[witness.vkey].body)
        for witness in short_first
        if witness.vkey in known
    }
    needed = smallest_quorum(times, quorum=policy.quorum, groups=policy.groups)
    return {witness.vkey for witness in policy.witnesses if witness.name not in needed}
