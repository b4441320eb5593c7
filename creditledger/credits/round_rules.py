"""Round, attestation, certificate, and what a certificate sets off. Source: specs/credits.md §8."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from creditledger.credits.ballot import close_ballot, lapse_vote
from creditledger.credits.confirmation import draw_confirmers, draw_second_looks
from creditledger.credits.context import committee_of
from creditledger.credits.coverage import UncoveredReceipt, take_covered
from creditledger.credits.docket import add_duty, open_round
from creditledger.credits.duty import drawn_members
from creditledger.credits.levies import count_vested
from creditledger.credits.lots import CountVested, vest_lots
from creditledger.credits.overdue import Lapse, pass_on_overdue
from creditledger.credits.pending import apply_pending
from creditledger.credits.pool import in_force_digest, parameters_of, put_tip, tip_of
from creditledger.credits.rounds import (
    RoundInfo,
    attestation_signatures,
    latest_round,
    put_attestation,
    put_round_info,
)
from creditledger.credits.signers import Signer, signers_of
from creditledger.credits.standing import node_rate_ppm
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.credits.verdicts import lapse_check
from creditledger.errors import CertificateError, RefusedError, UnknownIdError
from creditledger.records.parameters import Parameters
from creditledger.records.round import Attestation, Certificate, Round, draw_seed, round_statement
from creditledger.records.state import ReceiptState, receipt_key
from creditledger.transparency.certificate import Committee, decode_bitmap


def apply_round(step: Step, record: Round) -> None:
    """By the operator: the next number, and exactly what the fold gives at this index."""
    step.require_operator()
    tip = tip_of(step.state)
    _require_equal("round number", tip.round + 1, record.number)
    _require_equal("log size", step.index, record.log_size)
    _require_equal("parameters", in_force_digest(step.state).hex(), record.parameters.hex())
    _require_equal("log root", step.context.log_root().hex(), record.log_root.hex())
    _require_equal("map root", step.state.commit_map().hex(), record.map_root.hex())
    put_round_info(step.state, RoundInfo(round=record, digest=step.digest, index=step.index))
    put_tip(step.state, tip.replace(round=record.number))


def _require_equal(what: str, expected: int | str, found: int | str) -> None:
    if expected != found:
        raise RefusedError(
            f"round has another {what} than the fold gives", expected=str(expected), found=str(found)
        )


def apply_attestation(step: Step, attestation: Attestation) -> None:
    """One member's signature of the latest round, while that has no certificate."""
    info = _open_round(step.state, attestation.round)
    committee = _committee(step.state, info, attestation.committee)
    if attestation.member >= len(committee.members):
        raise UnknownIdError(
            "the committee has no such member",
            expected=f"below {len(committee.members)}",
            found=str(attestation.member),
        )
    statement = round_statement(info.digest, committee.digest, step.ledger_id)
    key = committee.members[attestation.member].bls_key
    step.context.verifier.bls(key, statement, step.entry.signature)
    put_attestation(step.state, info.round.number, attestation.member, step.entry.signature)


def apply_certificate(step: Step, certificate: Certificate) -> None:
    """A quorum of those who attested, as one aggregate; the round's effects follow at once."""
    info, seeds = _certified(step, certificate)
    _take_effect(step, info, seeds, _Effects(signers=certificate.signers))


def apply_certificate_and_ask_again(step: Step, certificate: Certificate) -> None:
    """As `apply_certificate`, and confirmers and second looks are drawn. Source: specs/credits.md §12."""
    _certify_and_ask_again(step, certificate)


def apply_certificate_and_count_vested(step: Step, certificate: Certificate) -> None:
    """As `apply_certificate_and_ask_again`, and what vests is counted. Source: specs/credits.md §14."""
    _certify_and_ask_again(step, certificate, count_vested=count_vested)


def _certify_and_ask_again(
    step: Step, certificate: Certificate, *, count_vested: CountVested | None = None
) -> None:
    info, seeds = _certified(step, certificate)
    signers = signers_of(parameters_of(step.state, info.round.parameters), seeds)
    asked = partial(_ask_again, step.state, signers, info.round.number)
    _take_effect(
        step,
        info,
        seeds,
        _Effects(
            signers=certificate.signers,
            lapse=lapse_vote,
            ask_again=asked,
            slash_ends_suspension=True,
            count_vested=count_vested,
        ),
    )


def _ask_again(state: State, signers: Sequence[Signer], number: int) -> Counter[int]:
    given = draw_confirmers(state, signers, number, close_ballot=close_ballot)
    return given + draw_second_looks(state, signers, number)


def _nobody() -> Counter[int]:
    return Counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effects:
    """In what the rule sets differ once a round is certified."""

    signers: bytes
    """The certificate's bitmap."""
    lapse: Lapse = lapse_check
    ask_again: Callable[[], Counter[int]] = _nobody
    slash_ends_suspension: bool = False
    count_vested: CountVested | None = None


def _certified(step: Step, certificate: Certificate) -> tuple[RoundInfo, dict[int, bytes]]:
    """The round, and the seed of each member in the certificate's bitmap."""
    info = _open_round(step.state, certificate.round)
    committee = _committee(step.state, info, certificate.committee)
    signers = decode_bitmap(certificate.signers, size=len(committee.members))
    attested = attestation_signatures(step.state, info.round.number)
    missing = [member for member in signers if member not in attested]
    if missing:
        raise CertificateError(
            "signers did not attest in the log", expected="attestations", found=str(missing)
        )
    statement = round_statement(info.digest, committee.digest, step.ledger_id)
    step.context.verifier.certificate(committee, statement, certificate.signers, step.entry.signature)
    return info, {member: draw_seed(attested[member]) for member in signers}


def _open_round(state: State, digest: bytes) -> RoundInfo:
    info = latest_round(state)
    if info is None or info.digest != digest:
        raise RefusedError(
            "not the latest round", expected=info.digest.hex() if info else "no round", found=digest.hex()
        )
    if info.is_certified:
        raise RefusedError("the round is certified", expected="a round without certificate")
    return info


def _committee(state: State, info: RoundInfo, digest: bytes) -> Committee:
    committee = committee_of(parameters_of(state, info.round.parameters))
    if committee.digest != digest:
        raise RefusedError("not the round's committee", expected=committee.digest.hex(), found=digest.hex())
    return committee


def _take_effect(step: Step, info: RoundInfo, seeds: Mapping[int, bytes], effects: _Effects) -> None:
    """Cover receipts and draw, pass on what is overdue, apply what was pending, vest: all by the
    round's own parameters."""
    state, number = step.state, info.round.number
    parameters = parameters_of(state, info.round.parameters)
    put_round_info(state, info.replace(certificate_index=step.index, certified_unix_ms=step.now))
    put_tip(state, tip_of(state).replace(certified_round=number))
    due = _draw(state, info.round, parameters, seeds)
    due.update(pass_on_overdue(state, info.round, now_unix_ms=step.now, lapse=effects.lapse))
    due.update(effects.ask_again())
    open_round(state, number, due, signers=effects.signers)
    apply_pending(
        state,
        log_size=info.round.log_size,
        ledger_id=step.ledger_id,
        slash_ends_suspension=effects.slash_ends_suspension,
    )
    vest_lots(state, parameters, round_number=number, now_unix_ms=step.now, count=effects.count_vested)


def _draw(state: State, record: Round, parameters: Parameters, seeds: Mapping[int, bytes]) -> Counter[int]:
    """Give every receipt that this round is first to cover its round and its checkers; receipts by member."""
    due: Counter[int] = Counter()
    for waiting in take_covered(state, log_size=record.log_size):
        members = _cover(state, waiting, record.number, parameters, seeds)
        for member in members:
            add_duty(state, record.number, member, waiting.receipt)
            due[member] += 1
    return due


def _cover(
    state: State,
    waiting: UncoveredReceipt,
    number: int,
    parameters: Parameters,
    seeds: Mapping[int, bytes],
) -> list[int]:
    receipt = state.entry(ReceiptState, receipt_key(waiting.receipt))
    if receipt is None:
        raise AssertionError("a receipt waits for its round without a state")
    rate = node_rate_ppm(state, parameters, receipt.node, value_micro=waiting.value_micro)
    members = drawn_members(seeds, waiting.receipt, rate=rate, members=len(parameters.committee))
    state.put_entry(receipt_key(waiting.receipt), receipt.replace(round=number, due=len(members)))
    return members
