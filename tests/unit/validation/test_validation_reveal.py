"""Verdicts are bound before they are shown, whatever happens in between. Source: specs/validation.md §6-7."""

from collections.abc import Callable
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import BusyError, IntegrityError
from creditledger.records.entry import Submission
from creditledger.records.verdict import Outcome, Reveal, Verdict
from creditledger.validation.journal import AttestedRound, Journal, JournaledVerdict, RoundVerdicts
from creditledger.validation.standing import all_standings, node_standing, validator_standings
from creditledger.validation.validator import Attested, Committed, Missed, Revealed
from fakes.committee import fake_digest
from fakes.working_pool import CountedBytes, WorkingPool, validator_signer


def kinds(actions: list) -> list[type]:
    return [type(action) for action in actions]


def revealed_verdicts(pool: WorkingPool) -> list[Verdict]:
    """All verdicts in the log."""
    found = []
    for index in range(pool.ledger.size):
        record = pool.ledger.entry(index).record
        if isinstance(record, Reveal):
            found += [Verdict.decode(body) for body in pool.ledger.bodies(record)]
    return found


def test_nobody_reveals_before_all_have_committed(pool: WorkingPool) -> None:
    """The second validator cannot copy the first one's verdicts."""
    pool.run(pool.order())
    pool.certify()
    assert kinds(pool.step(0)) == [Committed]
    assert kinds(pool.step(0)) == []
    assert kinds(pool.step(1)) == [Committed]
    assert kinds(pool.step()) == [Revealed, Revealed]
    assert kinds(pool.step()) == []


def test_an_absent_validator_holds_nobody_up_for_ever(pool: WorkingPool) -> None:
    """After the grace the others reveal; the late commit is then a missed duty, said once."""
    pool.run(pool.order())
    pool.certify()
    pool.step(0)
    pool.clock.now += 59_999
    assert kinds(pool.step(0)) == []
    pool.clock.now += 1
    assert kinds(pool.step(0)) == [Revealed]
    assert kinds(pool.step(1)) == [Missed]
    assert kinds(pool.step(1)) == []


def test_a_silent_validators_checks_are_done_by_another(make_pool: Callable[..., WorkingPool]) -> None:
    """The substitute re-executes and reveals in the later round, the nodes are paid, the duty is over."""
    pool = make_pool(validators=3, quorum=2)
    receipts = pool.run(pool.order())
    pool.deliver(receipts)
    pool.certify()
    number = latest_round(pool)
    with pool.ledger.read() as state:
        silent = min(reading.members_on_duty(state, number))
        unchecked = set(reading.duties_of(state, silent, number))
    others = [index for index in range(3) if index != silent]
    pool.step(*others)
    pool.clock.now += 60_000
    assert set(kinds(pool.step(*others))) == {Revealed}
    pool.clock.now += 60_000
    pool.ledger.close_round()
    pool.step(*others)
    pool.ledger.certify()
    commits = [action for action in pool.step(*others) if isinstance(action, Committed)]
    judged = {digest: found.outcome for action in commits for digest, found in action.judgements.items()}
    assert judged == dict.fromkeys(unchecked, Outcome.UPHELD)
    assert {action.round for action in commits} == {latest_round(pool)}
    assert set(kinds(pool.step(*others))) == {Revealed}
    for chain in receipts.values():
        state = pool.receipt_state(chain[0])
        assert (state.round, state.due, state.upheld, state.outcome) == (number, 2, 2, Outcome.UPHELD)
    pool.ledger.settle_due()
    assert all(pool.unvested(node) > 0 for node in pool.nodes)
    missed = pool.step(silent)
    assert kinds(missed) == [Missed]
    assert (missed[0].round, "passed on" in missed[0].reason) == (number, True)
    assert pool.step(silent) == []
    with pool.ledger.read() as state:
        standings = validator_standings(state)
    assert [one.missed for one in standings] == [
        len(unchecked) if index == silent else 0 for index in range(3)
    ]
    assert [one.bls_key for one in standings] == [validator_signer(index).public_key for index in range(3)]


def test_a_restart_between_commit_and_reveal_reveals_what_was_committed(pool: WorkingPool) -> None:
    """The new process draws other salts and would find other evidence; the journal decides."""
    receipts = pool.run(pool.order())
    pool.certify()
    pool.step(1)
    first = pool.validator(0, journal=pool.folder / "restarted")
    committed = first.step()
    assert kinds(committed) == [Committed]
    first.close()
    for path in pool.ledger.directory.evidence.iterdir():
        path.unlink()
    second = pool.validator(0, journal=pool.folder / "restarted", random_bytes=CountedBytes("other"))
    assert kinds(second.step()) == [Revealed]
    second.close()
    shown = {verdict.receipt: verdict for verdict in revealed_verdicts(pool)}
    assert set(shown) == {chain[0].digest(pool.ledger.id) for chain in receipts.values()}
    for receipt, judgement in committed[0].judgements.items():
        assert (shown[receipt].outcome, shown[receipt].reason) == (judgement.outcome, judgement.reason)
        assert shown[receipt].outcome == Outcome.UPHELD


def test_a_restart_between_journal_and_commit_commits_to_the_same(pool: WorkingPool) -> None:
    """Stopped after the verdicts were written down and before they were sent."""
    pool.run(pool.order())
    pool.certify()

    def unreachable(submission: Submission) -> None:
        raise BusyError("the ledger is away")

    first = pool.validator(0, journal=pool.folder / "restarted", submit=unreachable)
    with pytest.raises(BusyError):
        first.step()
    first.close()
    journal = open_journal(pool, pool.folder / "restarted")
    bound = journal.verdicts(latest_round(pool))
    journal.close()
    second = pool.validator(0, journal=pool.folder / "restarted", random_bytes=CountedBytes("other"))
    assert kinds(second.step()) == [Committed]
    pool.step(1)
    assert kinds(second.step()) == [Revealed]
    second.close()
    mine = [verdict for verdict in revealed_verdicts(pool) if verdict.member == 0]
    assert mine == [one.verdict for one in bound.verdicts]


def test_without_the_journal_nothing_is_revealed(pool: WorkingPool) -> None:
    """Other salts would not open the commit: the duty is missed, and the validator goes on."""
    pool.run(pool.order())
    pool.certify()
    pool.step()
    fresh = pool.validator(0, journal=pool.folder / "fresh")
    actions = fresh.step()
    assert kinds(actions) == [Missed]
    assert "journal" in actions[0].reason
    pool.ledger.close_round()
    assert kinds(fresh.step()) == [Attested]
    fresh.close()


def open_journal(pool: WorkingPool, path: Path) -> Journal:
    return Journal(path, ledger_id=pool.ledger.id, public_key=validator_signer(0).public_key)


def latest_round(pool: WorkingPool) -> int:
    with pool.ledger.read() as state:
        return reading.latest_certified_round(state).round.number


def make_journal(path: Path, *, owner: bytes = b"k" * 48) -> Journal:
    return Journal(path, ledger_id=fake_digest("ledger"), public_key=owner)


ROUND = AttestedRound(number=3, digest=fake_digest("round"), log_size=17)


def test_a_journal_keeps_one_round_of_a_number(tmp_path: Path) -> None:
    """The same again is a success; another is refused, and the first one stays."""
    journal = make_journal(tmp_path / "journal")
    journal.note_attested(ROUND)
    journal.note_attested(ROUND)
    with pytest.raises(IntegrityError):
        journal.note_attested(ROUND.replace(digest=fake_digest("other")))
    assert journal.attested(3) == journal.latest_attested() == ROUND
    assert journal.attested(4) is None
    journal.close()
    again = make_journal(tmp_path / "journal")
    assert again.latest_attested() == ROUND
    again.close()


def test_a_journal_keeps_verdicts_with_their_salts(tmp_path: Path) -> None:
    verdict = Verdict(
        round=3,
        member=0,
        receipt=fake_digest("receipt"),
        outcome=Outcome.UPHELD,
        reason=1,
        cusum_step_biased=0,
        evidence=fake_digest("evidence"),
    )
    entry = JournaledVerdict(verdict=verdict, salt=bytes(32), statistics=b"\x90")
    bound = RoundVerdicts(number=3, salt=b"s" * 32, verdicts=(entry,))
    journal = make_journal(tmp_path / "journal")
    journal.note_verdicts(bound)
    assert journal.verdicts(3) == bound
    with pytest.raises(IntegrityError):
        journal.note_verdicts(bound.replace(salt=bytes(32)))
    journal.close()


def test_a_journal_belongs_to_one_key_and_one_process(tmp_path: Path) -> None:
    journal = make_journal(tmp_path / "journal")
    with pytest.raises(BusyError):
        make_journal(tmp_path / "journal")
    journal.close()
    with pytest.raises(IntegrityError):
        make_journal(tmp_path / "journal", owner=b"o" * 48)
    make_journal(tmp_path / "journal").close()


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_journal_stops_the_validator(tmp_path: Path, damage: str) -> None:
    journal = make_journal(tmp_path / "journal")
    journal.note_attested(ROUND)
    path = next((tmp_path / "journal").glob("attested-*"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(IntegrityError):
        journal.latest_attested()
    journal.close()


def test_standing_tells_checks_rate_and_what_is_at_stake(pool: WorkingPool) -> None:
    """One node upheld, one refuted by two validators and suspended."""
    receipts = pool.run(pool.order(), kernels={1: pool.model.noise})
    pool.deliver(receipts)
    pool.check()
    pool.ledger.settle_due()
    with pool.ledger.read() as state:
        honest = node_standing(state, pool.nodes[0].public_key)
        cheat = node_standing(state, pool.nodes[1].public_key)
        assert {one.node for one in all_standings(state)} == {honest.node, cheat.node}
    assert (honest.checks, honest.upheld, honest.is_suspended) == (2, 2, False)
    assert (cheat.checks, cheat.refuted, cheat.is_suspended) == (2, 2, True)
    assert honest.rate_ppm == 1_000_000
    assert honest.unvested_micro > 0
    assert honest.probation_left_micro == 10**15 - honest.settled_micro
    assert honest.last_seen_unix_ms == pool.clock.now


def test_a_client_has_no_standing(pool: WorkingPool) -> None:
    from creditledger.errors import UnknownIdError

    with pool.ledger.read() as state, pytest.raises(UnknownIdError):
        node_standing(state, pool.client.public_key)


def test_below_the_certain_rate_only_the_drawn_one_has_duties(
    make_pool: Callable[..., WorkingPool],
) -> None:
    """At a floor of one half and no probation some receipts are drawn and some are not."""
    pool = make_pool(probation_micro=0, check_floor_ppm=500_000)
    receipts = pool.run(pool.order(positions=768), positions=768)
    actions = pool.check()
    commits = [action for action in actions if isinstance(action, Committed)]
    drawn = sum(len(action.judgements) for action in commits)
    states = [pool.receipt_state(receipt) for chain in receipts.values() for receipt in chain]
    assert sum(state.due for state in states) == drawn
    assert 0 < drawn < 2 * len(states)
    assert all(state.upheld == state.due for state in states)
