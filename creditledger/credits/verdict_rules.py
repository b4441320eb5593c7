"""Commit and reveal: a member's verdicts on the receipts drawn for it. Source: specs/credits.md §9."""

from collections.abc import Callable
from functools import partial

from creditledger.credits.ballot import cast_vote
from creditledger.credits.docket import (
    MemberDuty,
    close_if_done,
    duties_of,
    member_duty,
    members_on_duty,
    put_member_duty,
)
from creditledger.credits.pool import parameters_of
from creditledger.credits.rounds import RoundInfo, round_info
from creditledger.credits.step import Step
from creditledger.credits.verdicts import count_verdict
from creditledger.errors import ConflictError, OpeningError, RefusedError, UnknownIdError
from creditledger.records.parameters import Parameters
from creditledger.records.verdict import Commit, Reveal, Verdict, verdict_commitment
from creditledger.transparency.merkle import leaf_hashes, root_from_leaf_hashes


def apply_commit(step: Step, commit: Commit) -> None:
    """Once per member and round, for exactly as many receipts as are due, before anyone reveals."""
    info, parameters = _certified(step, commit.round)
    _require_member(step, parameters, commit.member)
    duty = _duty(step, info, commit.member)
    if duty.committed:
        raise ConflictError("member has committed", expected=duty.commitment.hex())
    if any(other.reveal_index for other in members_on_duty(step.state, commit.round).values()):
        raise RefusedError("verdicts of the round are revealed", expected="a commit before any reveal")
    _require_count(duty, commit.count)
    committed = duty.replace(committed=1, commitment=commit.commitment)
    put_member_duty(step.state, commit.round, commit.member, committed)


def apply_reveal(step: Step, reveal: Reveal) -> None:
    """The opening of the member's commit, once all have committed or the grace is over."""
    _reveal(step, reveal, lambda verdict, validator: count_verdict(step.state, verdict))


def apply_reveal_of_votes(step: Step, reveal: Reveal) -> None:
    """As `apply_reveal`, where two of at most three validators decide. Source: specs/credits.md §12."""
    _reveal(step, reveal, partial(cast_vote, step.state))


def _reveal(step: Step, reveal: Reveal, count: Callable[[Verdict, bytes], None]) -> None:
    info, parameters = _certified(step, reveal.round)
    key = _require_member(step, parameters, reveal.member)
    duty = _duty(step, info, reveal.member)
    if not duty.committed or duty.reveal_index:
        raise RefusedError(
            "reveal does not follow a commit", expected="one commit, then one reveal", found="not so"
        )
    _require_reveal_time(step, info, parameters)
    _require_count(duty, reveal.count)
    _require_opening(step, reveal, key, duty)
    for verdict in _verdicts(step, reveal):
        count(verdict, key)
    put_member_duty(step.state, reveal.round, reveal.member, duty.replace(reveal_index=step.index))
    close_if_done(step.state, reveal.round)


def _certified(step: Step, number: int) -> tuple[RoundInfo, Parameters]:
    info = round_info(step.state, number)
    if info is None or not info.is_certified:
        raise UnknownIdError("no certified round has this number", found=str(number))
    return info, parameters_of(step.state, info.round.parameters)


def _require_member(step: Step, parameters: Parameters, member: int) -> bytes:
    """The BLS key of the round's member, who signed the entry."""
    if member >= len(parameters.committee):
        raise UnknownIdError(
            "the committee has no such member",
            expected=f"below {len(parameters.committee)}",
            found=str(member),
        )
    key = parameters.committee[member].bls_key
    step.context.verifier.bls(key, step.message, step.entry.signature)
    return key


def _duty(step: Step, info: RoundInfo, member: int) -> MemberDuty:
    duty = member_duty(step.state, info.round.number, member)
    if duty is None:
        raise RefusedError("nothing was drawn for the member", expected="a duty in the round")
    if duty.missed:
        raise RefusedError(
            "the duty was overdue and passed on",
            expected="commit and reveal before that",
            found=f"missed in round {info.round.number}",
        )
    return duty


def _require_count(duty: MemberDuty, count: int) -> None:
    if count != duty.due:
        raise RefusedError("verdicts are not those due", expected=f"{duty.due} verdicts", found=str(count))


def _require_reveal_time(step: Step, info: RoundInfo, parameters: Parameters) -> None:
    deadline = info.certified_unix_ms + parameters.grace_ms
    on_duty = members_on_duty(step.state, info.round.number)
    missing = [member for member, duty in on_duty.items() if not duty.committed]
    if missing and step.now < deadline:
        raise RefusedError(
            "not all have committed", expected=f"commits by {missing}, or {deadline}", found=str(step.now)
        )


def _require_opening(step: Step, reveal: Reveal, key: bytes, duty: MemberDuty) -> None:
    commitment = verdict_commitment(member_key=key, root=reveal.root, salt=reveal.salt)
    if commitment != duty.commitment:
        raise OpeningError(
            "reveal does not open the commit", expected=duty.commitment.hex(), found=commitment.hex()
        )
    root = root_from_leaf_hashes(leaf_hashes(step.bodies))
    if len(step.bodies) != reveal.count or root != reveal.root:
        raise OpeningError(
            "bodies are not the revealed verdicts",
            expected=f"{reveal.count} with root {reveal.root.hex()}",
            found=f"{len(step.bodies)} with root {root.hex()}",
        )


def _verdicts(step: Step, reveal: Reveal) -> list[Verdict]:
    """The verdicts: this round's, this member's, one for each due receipt in ascending order."""
    verdicts = Verdict.decode_all(step.bodies)
    for verdict in verdicts:
        if (verdict.round, verdict.member) != (reveal.round, reveal.member):
            raise RefusedError(
                "verdict is of another round or member",
                expected=f"round {reveal.round}, member {reveal.member}",
                found=f"round {verdict.round}, member {verdict.member}",
            )
    due = duties_of(step.state, reveal.round, reveal.member)
    if [verdict.receipt for verdict in verdicts] != due:
        raise RefusedError(
            "verdicts are not for the due receipts", expected="each due receipt once, ascending"
        )
    return verdicts
