"""Asks the package and the second implementation the same thing, and wants one answer from both."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from creditledger.errors import CreditLedgerError
from creditledger.records import canonical
from creditledger.transparency.bls import verify_bls_aggregate, verify_possession
from creditledger.transparency.merkle import verify_consistency, verify_inclusion
from creditledger.transparency.note import VerifierKey, open_note, parse_verifier_key
from creditledger.transparency.sparse_merkle import verify_map_proof
from creditledger.transparency.tlog_proof import verify_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import Verified, verify_bundle
from spec_module import load

Asked = Callable[..., Any]


class QuickBls:
    """What the pages ask of py-ecc, answered by the package's backend: some hundred times as fast."""

    @staticmethod
    @functools.cache
    def PopVerify(key: bytes, proof: bytes) -> bool:  # noqa: N802 - py-ecc's name
        return _is_accepted(verify_possession, public_key=key, proof=proof)

    @staticmethod
    def FastAggregateVerify(keys: list[bytes], message: bytes, signature: bytes) -> bool:  # noqa: N802
        return _is_accepted(verify_bls_aggregate, public_keys=keys, message=message, signature=signature)


@functools.cache
def second_reader() -> Any:
    """The second implementation, with quick pairings."""
    module = load()
    module.bls = QuickBls
    return module


def _is_accepted(asked: Asked, **question: Any) -> bool:
    try:
        asked(**question)
    except CreditLedgerError:
        return False
    return True


def both(ours: Asked, theirs: Asked) -> Asked:
    """``ours``, which fails the test where ``theirs`` accepts what it refuses, or the other way round."""

    @functools.wraps(ours)
    def ask(*values: Any, **named: Any) -> Any:
        answer, refusal = None, None
        try:
            answer = ours(*values, **named)
        except CreditLedgerError as error:
            refusal = error
        try:
            second, second_refusal = theirs(answer, *values, **named), None
        except ValueError as error:
            second, second_refusal = None, error
        assert (refusal is None) == (second_refusal is None), f"{refusal!r} but {second_refusal!r}"
        assert second is None or second == told(answer), "accepted by both as different things"
        if refusal is not None:
            raise refusal
        return answer

    return ask


def told(answer: Any) -> Any:
    """What both readers say of a thing they accept."""
    if not isinstance(answer, Verified):
        return answer
    return {
        "subject": answer.subject.name.lower(),
        "reached": list(answer.reached),
        "work": answer.work,
        "size": answer.size,
        "time_unix_ms": answer.time_unix_ms,
        "round": answer.round and answer.round.number,
        "state": answer.state and answer.state.encode(),
    }


def second_bundle(
    answer: Any,
    encoded: bytes,
    policy: TrustPolicy,
    *,
    require: str = "logged",
    now_unix_ms: int | None = None,
    **backend: Any,
) -> Any:
    """`verify_bundle` by the pages; there ``certified`` may be asked for as well."""
    if require == "certified":
        raise ValueError("the package offers no such requirement")
    found = second_reader().verify_bundle(encoded, policy.serialize(), require, now_unix_ms)
    return {
        "subject": found.subject,
        "reached": found.reached,
        "work": found.work,
        "size": found.tree and found.tree.size,
        "time_unix_ms": found.tree and found.tree.time_unix_ms,
        "round": found.round and found.round.number,
        "state": found.state and found.state.encoded,
    }


def _inclusion(answer: Any, *, leaf: bytes, index: int, size: int, proof: Any, root: bytes) -> None:
    second_reader().verify_inclusion(leaf, index, size, root, list(proof))


def _consistency(
    answer: Any, *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Any
) -> None:
    second_reader().verify_consistency(first, first_root, second, second_root, list(proof))


def _map_proof(answer: Any, *, root: bytes, key: bytes, value: bytes | None, proof: bytes) -> None:
    second_reader().verify_map(root, key, value, proof)


def _tlog_proof(
    answer: Any, encoded: bytes, *, entry: bytes, policy: TrustPolicy, now_unix_ms: int | None = None
) -> None:
    module = second_reader()
    module.verify_tlog_proof(encoded, entry, module.parse_policy(policy.serialize()), now_unix_ms)


def _verifier_key(answer: VerifierKey | None, text: str) -> None:
    found = second_reader().parse_verifier_key(text, 1, 4, 6)
    assert answer is None or (found.name, found.id, found.public) == (
        answer.name,
        answer.key_id,
        answer.public_key,
    )


def _note(answer: Any, note: bytes, verifiers: Any) -> None:
    module = second_reader()
    keys = [module.parse_verifier_key(str(verifier.vkey), 1, 4, 6) for verifier in verifiers]
    text, lines = module.verify_note(note, keys)
    if answer is not None:
        assert text.encode() == answer[0]
        assert [key.public for key, _ in lines] == [line.vkey.public_key for line in answer[1]]


def _decode(answer: Any, encoded: bytes) -> Any:
    return second_reader().decode(encoded)


BOTH: Final[Mapping[str, Asked]] = {
    "verify_bundle": both(verify_bundle, second_bundle),
    "verify_inclusion": both(verify_inclusion, _inclusion),
    "verify_consistency": both(verify_consistency, _consistency),
    "verify_map_proof": both(verify_map_proof, _map_proof),
    "verify_tlog_proof": both(verify_tlog_proof, _tlog_proof),
    "parse_verifier_key": both(parse_verifier_key, _verifier_key),
    "open_note": both(open_note, _note),
}
"""The package's verifiers by name, each with the second one behind it."""
decode_by_both: Final = both(canonical.decode, _decode)
