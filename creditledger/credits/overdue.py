"""Checks that nobody did in time: each passes to the next validator, and lapses where there is none.

So a silent validator delays a settlement, and never prevents one. Source: specs/credits.md §9."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from creditledger.credits.docket import (
    add_duty,
    close_if_done,
    duties_of,
    members_on_duty,
    open_rounds,
    put_member_duty,
)
from creditledger.credits.pool import parameters_of
from creditledger.credits.rounds import RoundInfo, attestation_signatures, round_info
from creditledger.credits.signers import Signer, lowest, never_asked
from creditledger.credits.standing import add_missed_checks
from creditledger.credits.state import State
from creditledger.records.round import Round, draw_seed
from creditledger.transparency.certificate import decode_bitmap

GRACES_TO_VERDICT: Final = 2
"""One grace to commit, one to reveal."""

Lapse: TypeAlias = Callable[[State, bytes], None]
"""What becomes of a receipt, by its digest, when one check of it is asked of nobody any more."""


def overdue_rounds(state: State, now_unix_ms: int) -> dict[int, bytes]:
    """The rounds whose open duties pass on in a round certified now, each with its signers' bitmap."""
    return {
        number: signers
        for number, signers in open_rounds(state).items()
        if now_unix_ms >= _deadline(state, _info(state, number))
    }


def pass_on_overdue(state: State, successor: Round, *, now_unix_ms: int, lapse: Lapse) -> Counter[int]:
    """Mark what is overdue at ``successor``'s certificate as missed, and pass its checks on.

    ``lapse`` is told of those for which nobody is left. Returns how many checks each member of
    ``successor``'s committee got; the caller opens that round."""
    given: Counter[int] = Counter()
    for number, signers in overdue_rounds(state, now_unix_ms).items():
        info = _info(state, number)
        absent = _mark_missed(state, info)
        candidates = _candidates(state, info, signers, absent, successor)
        for member in absent:
            for receipt in duties_of(state, number, member):
                given.update(_pass_on(state, receipt, candidates, successor.number, lapse))
        close_if_done(state, number)
    return given


def _info(state: State, number: int) -> RoundInfo:
    info = round_info(state, number)
    if info is None:
        raise AssertionError("a round has duties and was never logged")
    return info


def _deadline(state: State, info: RoundInfo) -> int:
    grace_ms = parameters_of(state, info.round.parameters).grace_ms
    return info.certified_unix_ms + GRACES_TO_VERDICT * grace_ms


def _mark_missed(state: State, info: RoundInfo) -> list[int]:
    """The members of a round that did not reveal, ascending; each is marked, and its checks counted."""
    number, committee = info.round.number, parameters_of(state, info.round.parameters).committee
    absent = {member: duty for member, duty in members_on_duty(state, number).items() if duty.is_open}
    for member, duty in absent.items():
        put_member_duty(state, number, member, duty.replace(missed=1))
        add_missed_checks(state, committee[member].bls_key, duty.due)
    return list(absent)


def _candidates(
    state: State, info: RoundInfo, signers: bytes, absent: Sequence[int], successor: Round
) -> list[Signer]:
    """The round's signers that are not absent from it and have a seat on the successor's committee."""
    committee = parameters_of(state, info.round.parameters).committee
    successors = parameters_of(state, successor.parameters).committee
    seats = {member.bls_key: index for index, member in enumerate(successors)}
    attested = attestation_signatures(state, info.round.number)
    keys = {
        member: committee[member].bls_key
        for member in decode_bitmap(signers, size=len(committee))
        if member not in absent
    }
    return [
        Signer(seed=draw_seed(attested[member]), key=key, member=seats[key])
        for member, key in keys.items()
        if key in seats
    ]


def _pass_on(
    state: State, receipt: bytes, candidates: Sequence[Signer], number: int, lapse: Lapse
) -> list[int]:
    """The member that must check ``receipt`` in round ``number`` now; none if nobody is left."""
    chosen = lowest(never_asked(state, candidates, receipt), receipt)
    if chosen is None:
        lapse(state, receipt)
        return []
    add_duty(state, number, chosen.member, receipt)
    return [chosen.member]
