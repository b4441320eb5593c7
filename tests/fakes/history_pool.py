"""Small logs in which everything that their rule set admits has happened once: made to be kept for ever."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from creditledger.credits import reading
from creditledger.credits.levies import levy_shares
from creditledger.credits.state import MAP, StateView
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import prover
from creditledger.records.job import Job
from creditledger.records.kinds import Kind
from creditledger.records.parameters import Admission, LevyUse, ProfileTerms
from creditledger.records.registration import Role
from creditledger.records.round import Certificate, Round
from creditledger.records.transfer import Hold
from creditledger.records.verdict import CanaryCommit, Outcome, canary_commitment
from fakes.cast import HOUR_MS, MODEL, ed25519, fake_id
from fakes.committee import fake_digest
from fakes.shown_pool import ABSENT, ShownPool

PROFILE = b"a calibration profile"
SALT = fake_digest("the salt of a canary")
SEALED = b"sealed sketches"
VESTING_MS = 600_000
FILL = 150
"""Entries that only make the log longer than one tile."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What is kept of one log: files by path, as bytes."""

    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write every file that is missing; one that is there is never changed."""
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.write_bytes(content)


def rule_set_1(folder: Path) -> History:
    """The log of a pool that keeps rule set 1 to its end."""
    pool = ShownPool(folder / "ledger", origin="pool.example/rule-set-1", rule_set=1, vesting_ms=VESTING_MS)
    return _kept(pool, _story(pool))


def rule_set_2(folder: Path) -> History:
    """The log of a pool that begins under rule set 2, and where everybody rotates in the middle of things."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/rule-set-2",
        rule_set=2,
        vesting_ms=VESTING_MS,
        committed=True,
    )
    bundles = _story(pool)
    return _kept(pool, bundles | _rotated_story(pool))


def rule_set_3(folder: Path) -> History:
    """The log of a pool under rule set 3, where validators disagree and canaries are planted."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/rule-set-3",
        rule_set=3,
        vesting_ms=VESTING_MS,
        committed=True,
    )
    bundles = _story(pool)
    _disputes(pool)
    return _kept(pool, bundles | _rotated_story(pool))


def raised_to_3(folder: Path) -> History:
    """The log of a pool that is raised from rule set 2 to 3 while checks are under way."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/raised-to-3",
        rule_set=2,
        vesting_ms=VESTING_MS,
        committed=True,
    )
    bundles = _story(pool, raised_to=3)
    _disputes(pool)
    return _kept(pool, bundles | _rotated_story(pool))


def rule_set_4(folder: Path) -> History:
    """The log of a pool under rule set 4, where people spend for each other and mistakes are paid back."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/rule-set-4",
        rule_set=4,
        vesting_ms=VESTING_MS,
        committed=True,
        levy_use=LevyUse.VALIDATORS,
    )
    bundles = _story(pool)
    _disputes(pool)
    bundles |= _accounts(pool)
    _change_rules(pool, levy_use=LevyUse.MEMBERS)
    _levies(pool, "members")
    return _kept(pool, bundles | _rotated_story(pool, expires_unix_ms=pool.clock.now + HOUR_MS))


def raised_to_4(folder: Path) -> History:
    """The log of a pool that is raised from rule set 3 to 4, and keeps its levies from then on."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/raised-to-4",
        rule_set=3,
        vesting_ms=VESTING_MS,
        committed=True,
    )
    bundles = _story(pool, raised_to=4)
    _disputes(pool)
    _change_rules(pool, levy_use=LevyUse.VALIDATORS)
    bundles |= _accounts(pool)
    return _kept(pool, bundles | _rotated_story(pool, expires_unix_ms=pool.clock.now + HOUR_MS))


def raised(folder: Path) -> History:
    """The log of a pool that is raised from rule set 1 to 2 by a parameters record."""
    pool = ShownPool(
        folder / "ledger",
        origin="pool.example/raised",
        rule_set=1,
        vesting_ms=VESTING_MS,
        committed=True,
    )
    bundles = _story(pool, raised_to=2)
    return _kept(pool, bundles | _rotated_story(pool))


def _rotated_story(pool: ShownPool, **changes: object) -> dict[str, bytes]:
    """A job that is ordered under the client's first key and ended under everybody's second."""
    job = pool.order("rotated", pool.node, **changes)
    for name in ("client", "node", "queue"):
        pool.rotate(name)
    pool.rotate_operator()
    chain = pool.work(job, 300)[0]
    pool.deliver(chain[-1:])
    submission = pool.papers.voucher_hold(
        pool.client,
        pool.queue.public_key,
        tag="rotated",
        **changes,  # type: ignore[arg-type]
    )
    pool.ledger.append(submission)
    pool.certify()
    pool.judge()
    pool.certify()
    pool.ledger.settle_due()
    made: dict[str, bytes] = {}
    with prover(pool.ledger) as prove:
        assert isinstance(submission.record, Hold)
        made["hold-rotated"] = prove.hold(pool.digest(submission.record))
        made["key-retired"] = prove.key(pool.client.public_key)
        made["batch-rotated"] = prove.batch(pool.batches[chain[0].job])
    pool.ledger.append(pool.papers.release(pool.queue, pool.digest(submission.record)))
    pool.wait(VESTING_MS)
    pool.certify()
    made["receipt-rotated-vested"] = pool.receipt(chain[0])
    return made


def _accounts(pool: ShownPool) -> dict[str, bytes]:
    """Delegates and budgets; a refund, a clawback, levies; an account that is hidden, and one that closes."""
    papers, queue = pool.papers, pool.queue.public_key
    member, machine, leaving = ed25519("member"), ed25519("machine"), ed25519("leaving")
    for key, name in ((member, "member"), (leaving, "leaving")):
        pool.ledger.append(papers.registration(key, name, Role.CLIENT, admitted=True))
    for delegate in (member, machine):
        pool.ledger.append(papers.delegation(pool.client, delegate.public_key, queue, cap_micro=400_000))
    pool.ledger.append(papers.budget(pool.client, 10**8, days=30, notice_micro=10**6))
    pool.ledger.append(papers.budget(pool.client, 300_000, days=7, delegate=member.public_key))
    late = {"expires_unix_ms": pool.clock.now + HOUR_MS}
    held = [
        papers.delegated_hold(delegate, pool.client.public_key, queue, tag=tag, **late)
        for delegate, tag in ((member, "member's"), (machine, "machine's"))
    ]
    for submission in held:
        pool.ledger.append(submission)
    pool.certify()
    made: dict[str, bytes] = {}
    with prover(pool.ledger) as prove:
        for submission, name in zip(held, ("hold-by-member", "hold-by-machine"), strict=True):
            assert isinstance(submission.record, Hold)
            made[name] = prove.hold(pool.digest(submission.record))
    first, second = (submission.record for submission in held)
    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    taken = papers.capture(pool.queue, first, 2_000)
    pool.ledger.append(taken)
    for record in (first, second):
        pool.ledger.append(papers.release(pool.queue, pool.digest(record)))
    pool.ledger.append(papers.refund(pool.queue, taken.record.digest(pool.ledger.id), 4_000))
    pool.ledger.append(papers.delegation(pool.client, member.public_key, queue, cap_micro=0))
    pool.ledger.append(papers.listing(pool.other_node, listed=False))
    pool.ledger.append(papers.closing(leaving))
    _levies(pool, "validators")
    return made


def _levies(pool: ShownPool, tag: str) -> None:
    """A job that is settled, and partly clawed back; what its levy gives is paid out."""
    job = pool.order(f"levied for {tag}", pool.node, expires_unix_ms=pool.clock.now + HOUR_MS)
    pool.deliver(pool.work(job, 300)[0][-1:])
    for seat in range(3):
        pool.ledger.append(pool.papers.levy_payee(seat, pool.other_node.public_key, tag=tag))
    pool.certify()
    pool.judge()
    pool.certify()
    pool.ledger.settle_due()
    digest = job.digest(pool.ledger.id)
    pool.ledger.append(pool.papers.clawback(digest, pool.node.public_key, 1_000, tag=tag))
    pool.certify()
    pool.wait(VESTING_MS)
    pool.certify()
    with pool.ledger.read() as state:
        info = reading.latest_certified_round(state)
        assert info is not None
        shares = levy_shares(state, info.round.number)
    assert shares
    pool.ledger.append(pool.papers.levy(info.round.number, shares))
    pool.certify()


def _change_rules(pool: ShownPool, **changes: object) -> None:
    with pool.ledger.read() as state:
        before = reading.parameters_in_force(state)
    after = before.replace(sequence=before.sequence + 1, **changes)  # type: ignore[arg-type]
    pool.ledger.append(pool.papers.parameters(after, PROFILE))
    pool.certify()


def _disputes(pool: ShownPool) -> None:
    """A mismatch confirmed, and one not; a canary; no data once and twice; suspensions that end."""
    told = {
        "confirmed": "RUR",
        "lone": "RUU",
        "canary": "UU",
        "no data": "DD",
        "some data": "DUU",
    }
    for tag, words in told.items():
        pool.ledger.append(pool.papers.slash(pool.node.public_key, 0, id=fake_id("readmitted", tag)))
        pool.wait(60_000)
        pool.certify()
        receipt = pool.one_receipt(tag)
        hidden = canary_commitment(receipt=receipt if tag == "canary" else fake_digest(tag), salt=SALT)
        pool.ledger.append(pool.ledger.sign(CanaryCommit(commitment=hidden)))
        pool.certify()
        for asked in (words[:2], words[2:]):
            pool.say(receipt, asked)
            pool.certify()
        if tag == "canary":
            pool.open_canary(receipt, SALT)
        pool.ledger.settle_due()


def _kept(pool: ShownPool, bundles: Mapping[str, bytes]) -> History:
    publish_afresh(pool.ledger)
    public = pool.ledger.directory.public
    files = {f"bundles/{name}.bundle": bundle for name, bundle in bundles.items()}
    for path in sorted(public.rglob("*")):
        if path.is_file():
            files[f"public/{path.relative_to(public).as_posix()}"] = path.read_bytes()
    files["policy"] = pool.ledger.policy().serialize()
    with pool.ledger.read() as state:
        told = summary(pool.ledger, state) | {"now_unix_ms": pool.clock.now}
    files["history.json"] = json.dumps(told, indent=1).encode() + b"\n"
    pool.ledger.close()
    return History(files=files)


def publish_afresh(ledger: Ledger) -> None:
    """One publication of the whole log: without the partial tiles of earlier ones."""
    shutil.rmtree(ledger.directory.public)
    ledger.directory.public.mkdir()
    ledger.publish()


def summary(ledger: Ledger, state: StateView) -> dict[str, object]:
    """Size, roots of the log and of each round, and digests over the state that all entries give."""
    with ledger.snapshot() as snapshot:
        size, root = snapshot.log.size, snapshot.log.root
    entries = [ledger.entry(index) for index in range(size)]
    rounds = [entry.record for entry in entries if isinstance(entry.record, Round)]
    return {
        "size": size,
        "root": root.hex(),
        "kinds": sorted({Kind(entry.record.KIND).name.lower() for entry in entries}),
        "certificates": sum(isinstance(entry.record, Certificate) for entry in entries),
        "rounds": [
            {
                "number": record.number,
                "log_size": record.log_size,
                "log_root": record.log_root.hex(),
                "map_root": record.map_root.hex(),
            }
            for record in rounds
        ],
        "certified_state": state_digest(state, MAP),
        "state": state_digest(state, b""),
    }


def state_digest(state: StateView, prefix: bytes) -> str:
    """SHA-256 over all rows under ``prefix``, each key and value after its length in 4 bytes."""
    hashed = hashlib.sha256()
    for row in state.scan(prefix):
        for part in row:
            hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.hexdigest()


def _story(pool: ShownPool, *, raised_to: int | None = None) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    pool.fill(FILL)
    pool.ledger.append(pool.papers.credit_line(pool.other_node.public_key, 5_000))
    pool.ledger.append(pool.papers.transfer(pool.client, pool.queue.public_key, 7))
    vested = _work(pool, made)
    holds = _holds(pool)
    pool.certify()
    with prover(pool.ledger) as prove:
        made["hold-open"] = prove.hold(pool.digest(holds["released"]))
        made["account"] = prove.account(pool.client.public_key)
        made["key"] = prove.key(pool.client.public_key)
        made["absent"] = prove.absent(ABSENT)
    _end_holds(pool, holds)
    _pass_on(pool)
    new_rules(pool, **({} if raised_to is None else {"rule_set": raised_to}))
    pool.wait(VESTING_MS)
    pool.certify()
    with prover(pool.ledger) as prove:
        made["hold-captured"] = prove.hold(pool.digest(holds["released"]))
        made["receipt-vested"] = prove.receipt(vested)
    return made


def _work(pool: ShownPool, made: dict[str, bytes]) -> bytes:
    """Three jobs, three outcomes; the digest of a receipt whose pay will vest, less a slash."""
    jobs = {
        "good": pool.order("good", pool.node, pool.other_node),
        "bad": pool.order("bad", pool.other_node),
        "unsure": pool.order("unsure", pool.node),
    }
    chains = {name: pool.work(job, 300) for name, job in jobs.items()}
    good, bad, unsure = (chains[name][0] for name in ("good", "bad", "unsure"))
    made["receipt-signed"] = pool.receipt(good[0], most="signed")
    pool.deliver([good[0], chains["good"][1][0]], closes=False)
    for chain in chains.values():
        pool.deliver([span[-1] for span in chain])
    pool.ledger.publish()
    made["receipt-logged"] = pool.receipt(good[0], most="logged")
    pool.certify()
    made["receipt-certified"] = pool.receipt(good[0])
    pool.judge({pool.digest(bad[0]): Outcome.REFUTED, pool.digest(unsure[1]): Outcome.INCONCLUSIVE})
    pool.certify(0, 2)
    made["receipt-upheld"] = pool.receipt(good[0])
    made["receipt-refuted"] = pool.receipt(bad[0])
    made["receipt-inconclusive"] = pool.receipt(unsure[1])
    pool.ledger.settle_due()
    pool.ledger.append(pool.papers.slash(pool.node.public_key, 3))
    with prover(pool.ledger) as prove:
        made["batch"] = prove.batch(pool.batches[good[0].job])
    return pool.digest(good[0])


def _holds(pool: ShownPool) -> dict[str, Hold]:
    holds: dict[str, Hold] = {}
    for tag, changes in (("released", {}), ("expired", {"expires_unix_ms": pool.clock.now + 120_000})):
        submission = pool.papers.voucher_hold(
            pool.client,
            pool.queue.public_key,
            tag=tag,
            **changes,  # type: ignore[arg-type]
        )
        pool.ledger.append(submission)
        assert isinstance(submission.record, Hold)
        holds[tag] = submission.record
    return holds


def _end_holds(pool: ShownPool, holds: Mapping[str, Hold]) -> None:
    pool.ledger.append(pool.papers.capture(pool.queue, holds["released"], 4_321))
    pool.ledger.append(pool.papers.release(pool.queue, pool.digest(holds["released"])))
    pool.wait(240_000)
    assert len(pool.ledger.expire_due()) == 1


def _pass_on(pool: ShownPool) -> None:
    """A job whose checks nobody answers in time: they pass on, and some lapse."""
    job: Job = pool.order("late", pool.node)
    chain = pool.work(job)[0]
    pool.deliver(chain)
    pool.certify(0, 1)
    pool.wait(200_000)
    pool.certify()
    pool.judge()
    pool.wait(200_000)
    pool.certify()
    pool.ledger.settle_due()


def new_rules(pool: ShownPool, **changes: object) -> None:
    """Parameters that ask for approval and list a profile; then an account that is approved."""
    with pool.ledger.read() as state:
        before = reading.parameters_in_force(state)
    digest = hashlib.sha256(PROFILE).digest()
    after = before.replace(
        sequence=before.sequence + 1,
        admission=Admission.APPROVAL,
        levy_ppm=20_000,
        profiles=(ProfileTerms(model=MODEL.model, layer_stop=4, profile=digest),),
        **changes,  # type: ignore[arg-type]
    )
    pool.ledger.append(pool.papers.parameters(after, PROFILE))
    pool.certify()
    newcomer = ed25519("newcomer")
    pool.ledger.append(pool.papers.registration(newcomer, "newcomer", Role.CLIENT, admitted=True))
    pool.ledger.append(pool.papers.grant(newcomer.public_key, 1, id=fake_id("for the newcomer")))


MAKERS: dict[str, Callable[[Path], History]] = {
    "raised": raised,
    "raised-to-3": raised_to_3,
    "raised-to-4": raised_to_4,
    "rule-set-1": rule_set_1,
    "rule-set-2": rule_set_2,
    "rule-set-3": rule_set_3,
    "rule-set-4": rule_set_4,
}
