"""Asking witnesses: in parallel, in bounded time, and believing none of them."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import BusyError, ConsistencyProofError, RollbackError, SignatureError
from creditledger.ledger import cosigning
from creditledger.ledger.cosigning import TRIES_MAX, Cosigner, collect
from creditledger.ledger.head import log_key
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.local_witness import LOCAL_WITNESS, LocalWitness, WitnessFile
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.note import VerifierKey
from creditledger.transparency.quorum import PolicyWitness, WitnessGroup
from creditledger.transparency.witness import AddCheckpoint, StaleSizeError
from ledger_pools import OPERATOR, ORIGIN, START_MS, FixedClock, fill, found, registration, signer

LOG = log_key(ORIGIN, OPERATOR.ed25519().public_key)


class Remote:
    """A witness with a state of its own, under another name, which can be made to misbehave."""

    def __init__(self, folder: Path, name: str, *, clock: FixedClock | None = None) -> None:
        self.name = name
        self.state = folder / name
        self._inner = LocalWitness(self.state, signer(name), log_vkeys=[LOG], clock=clock or FixedClock())
        self.asked: list[int] = []
        self.error: Exception | None = None
        self.lies_of_size: int | None = None
        self.spoils = False
        self.gate: threading.Event | None = None

    @property
    def vkey(self) -> VerifierKey:
        return self._inner.vkey

    def cosign(self, request: AddCheckpoint) -> bytes:
        self.asked.append(request.old_size)
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error
        if self.lies_of_size is not None:
            raise StaleSizeError(stored_size=self.lies_of_size, old_size=request.old_size)
        line = self._inner.cosign(request)
        return line.replace(b" ", b"  ", 1) if self.spoils else line


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = found(tmp_path / "pool")
    yield made
    made.close()


@pytest.fixture
def remotes(tmp_path: Path) -> list[Remote]:
    return [Remote(tmp_path, f"remote-{number}") for number in range(3)]


def asking(ledger: Ledger, remotes: Sequence[Remote], *, threshold: int) -> Ledger:
    """The ledger opened anew under a policy that asks for so many of the remote witnesses."""
    policy = ledger.policy()
    added = tuple(PolicyWitness(name=remote.name, vkey=remote.vkey) for remote in remotes)
    group = WitnessGroup(name="remote", threshold=threshold, members=tuple(remote.name for remote in remotes))
    grown = replace(policy, witnesses=(*policy.witnesses, *added), groups=(group,), quorum="remote")
    ledger.directory.policy.write_bytes(grown.serialize())
    ledger.close()
    return Ledger.open(ledger.path, clock=FixedClock(), cosigners=list[Cosigner](remotes))


def statuses(ledger: Ledger) -> dict[str, str]:
    return {reply.name: reply.status for reply in ledger.witness_replies}


def test_all_are_asked_and_a_quorum_is_enough(ledger: Ledger, remotes: list[Remote]) -> None:
    remotes[1].error = BusyError("cannot be reached")
    with asking(ledger, remotes, threshold=2) as opened:
        opened.append(registration(opened.id, "alice"))
        assert parse_checkpoint_note(opened.publish()).size == 2
        assert statuses(opened) == {
            LOCAL_WITNESS: "cosigned",
            "remote-0": "cosigned",
            "remote-1": "away",
            "remote-2": "cosigned",
        }


def test_below_the_quorum_the_old_checkpoint_stays_and_the_missing_are_named(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    with asking(ledger, remotes, threshold=2) as opened:
        opened.append(registration(opened.id, "alice"))
        before = opened.publish()
        fill(opened, 5)
        remotes[0].error = BusyError("cannot be reached")
        remotes[2].error = SignatureError("trusts no key of this log")
        with pytest.raises(BusyError, match=r"remote-0: cannot be reached.*remote-2: trusts no key"):
            opened.publish()
        assert opened.checkpoint() == before
        remotes[2].error = None
        assert parse_checkpoint_note(opened.publish()).size == 5


def test_a_witness_that_is_behind_gets_the_proof_from_where_it_is(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    with asking(ledger, remotes, threshold=1) as opened:
        opened.append(registration(opened.id, "alice"))
        fill(opened, 4)
        opened.publish()
        remotes[2].error = BusyError("cannot be reached")
        fill(opened, 9)
        opened.publish()
        remotes[2].error, remotes[2].asked = None, []
        fill(opened, 12)
        opened.publish()
        assert remotes[2].asked == [9, 4]
        assert set(statuses(opened).values()) == {"cosigned"}


def test_a_witness_that_is_ahead_stops_a_log_that_cannot_do_without_it(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    """A restored backup: what it once showed to others must not be written a second time."""
    with asking(ledger, remotes, threshold=3) as opened:
        opened.append(registration(opened.id, "alice"))
        before = opened.publish()
        remotes[1].lies_of_size = 10_000
        with pytest.raises(RollbackError, match="remote-1 has seen a larger log"):
            opened.publish()
        assert opened.checkpoint() == before


def test_a_witness_that_claims_to_be_ahead_does_not_stop_a_log_that_can(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    """Its word about a size is not signed: one liar must not halt a log for ever. It is reported."""
    remotes[1].lies_of_size = 10_000
    with asking(ledger, remotes, threshold=2) as opened:
        opened.publish()
        assert statuses(opened)["remote-1"] == "ahead"


def test_a_witness_that_sends_us_round_is_given_up(ledger: Ledger, remotes: list[Remote]) -> None:
    remotes[1].lies_of_size = 0
    with asking(ledger, remotes, threshold=2) as opened:
        opened.append(registration(opened.id, "alice"))
        opened.publish()
        assert len(remotes[1].asked) <= 2 * TRIES_MAX
        assert statuses(opened)["remote-1"] == "away"


def test_a_line_that_does_not_verify_is_dropped(ledger: Ledger, remotes: list[Remote]) -> None:
    remotes[0].spoils = True
    with asking(ledger, remotes, threshold=2) as opened:
        note = opened.publish()
        assert statuses(opened)["remote-0"] == "refused"
        assert opened.policy().verify_checkpoint(note)
        remotes[1].error = BusyError("cannot be reached")
        with pytest.raises(BusyError):
            opened.publish()


def test_somebody_elses_line_is_not_the_witnesss(ledger: Ledger, remotes: list[Remote]) -> None:
    other = CosignatureSigner("remote-0", signer("mallory"))

    def cosign(request: AddCheckpoint) -> bytes:
        text = request.note.partition(b"\n\n")[0] + b"\n"
        return other.cosign(text, timestamp=START_MS // 1_000).line

    remotes[0].cosign = cosign  # type: ignore[method-assign]
    with asking(ledger, remotes, threshold=2) as opened:
        opened.publish()
        assert statuses(opened)["remote-0"] == "refused"


def test_a_false_line_of_another_witness_does_not_spoil_the_note(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    """Readers refuse a note in which any known key's line is false: a liar could stop the log with one."""
    honest, other = remotes[0].cosign, CosignatureSigner(LOCAL_WITNESS, signer("witness"))

    def cosign(request: AddCheckpoint) -> bytes:
        return other.cosign(b"another text\n", timestamp=START_MS // 1_000).line + honest(request)

    remotes[0].cosign = cosign  # type: ignore[method-assign]
    with asking(ledger, remotes, threshold=3) as opened:
        opened.publish()
        assert set(statuses(opened).values()) == {"cosigned"}


@pytest.mark.parametrize("answer", [b"", b"\n", b"no line\n", b"\xff" * 10])
def test_what_is_no_line_is_dropped(ledger: Ledger, remotes: list[Remote], answer: bytes) -> None:
    remotes[0].cosign = lambda request: answer  # type: ignore[method-assign]
    with asking(ledger, remotes, threshold=2) as opened:
        opened.publish()
        assert statuses(opened)["remote-0"] == "refused"


def test_a_client_that_stumbles_stops_no_other(ledger: Ledger, remotes: list[Remote]) -> None:
    remotes[0].error = OSError("network is unreachable")
    with asking(ledger, remotes, threshold=2) as opened:
        opened.publish()
        assert statuses(opened)["remote-0"] == "away"
        remotes[1].error = ValueError("not a number")
        with pytest.raises(BusyError, match=r"OSError: network is unreachable.*ValueError"):
            opened.publish()


def test_two_witnesses_of_one_name_are_both_heard(ledger: Ledger, remotes: list[Remote]) -> None:
    """The local witness's name is free for others in a policy that does not name it so."""
    with asking(ledger, remotes, threshold=3) as opened:
        remotes[2].name = remotes[1].name
        opened.publish()
        assert [reply.status for reply in opened.witness_replies] == ["cosigned"] * 4


def test_who_does_not_answer_is_waited_for_only_so_long(ledger: Ledger, remotes: list[Remote]) -> None:
    gate = remotes[0].gate = threading.Event()
    started = time.monotonic()
    with asking(ledger, remotes, threshold=2) as opened:
        opened.publish()
        assert time.monotonic() - started < 5
        assert statuses(opened)["remote-0"] == "away"
        gate.set()


def test_a_quorum_that_does_not_answer_ends_in_time(
    ledger: Ledger, remotes: list[Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = remotes[0].gate = threading.Event()
    monkeypatch.setattr(cosigning.collect, "__kwdefaults__", {"timeout_s": 0.3, "grace_s": 0.1})
    with asking(ledger, remotes, threshold=3) as opened:
        with pytest.raises(BusyError, match="remote-0: no answer in time"):
            opened.publish()
        gate.set()


def test_witnesses_are_asked_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """Each waits for all others to be asked: one after the other would never end."""
    barrier = threading.Barrier(3, timeout=10)

    class Together(Remote):
        def cosign(self, request: AddCheckpoint) -> bytes:
            barrier.wait()
            return super().cosign(request)

    together = [Together(tmp_path, f"together-{number}") for number in range(3)]
    with asking(ledger, together, threshold=3) as opened:
        assert opened.publish()


def test_a_witness_that_has_seen_another_history_is_heard(ledger: Ledger, remotes: list[Remote]) -> None:
    with asking(ledger, remotes, threshold=3) as opened:
        opened.publish()
        state = WitnessFile(remotes[1].state)
        seen = state.get(ORIGIN)
        assert seen is not None
        state.put(ORIGIN, expected=seen, new=replace(seen, root=bytes(32)))
        with pytest.raises(ConsistencyProofError):
            opened.publish()


def test_where_no_quorum_is_asked_for_nobody_is_waited_for_long(
    ledger: Ledger, remotes: list[Remote]
) -> None:
    gate = remotes[0].gate = threading.Event()
    started = time.monotonic()
    with ledger.snapshot() as snapshot:
        note = ledger.checkpoint()
        replies = collect(remotes[:1], note, snapshot.log, old_size=0, suffices=lambda _: True)
    gate.set()
    assert time.monotonic() - started < 5
    assert [reply.status for reply in replies] == ["away"]


def test_nobody_is_asked_where_there_is_nobody(ledger: Ledger) -> None:
    with ledger.snapshot() as snapshot:
        assert collect([], ledger.checkpoint(), snapshot.log, old_size=0, suffices=lambda _: False) == []
