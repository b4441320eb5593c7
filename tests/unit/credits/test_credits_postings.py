"""What one entry moved: signed amounts that sum to zero."""

from creditledger.credits.context import FoldContext
from creditledger.credits.fold import apply_entry
from creditledger.credits.postings import Part, Posting, postings
from creditledger.credits.state import Overlay
from creditledger.records.entry import Entry, Submission
from creditledger.records.transfer import Hold
from fakes.pool import Pool


def moved(pool: Pool, submission: Submission) -> list[tuple[bytes | None, Part, int]]:
    """What a submission would move."""
    changes = Overlay(pool.view)
    entry = Entry(time_unix_ms=pool.now, record=submission.record, signature=submission.signature)
    context: FoldContext = pool.context
    apply_entry(changes, entry, submission.bodies, context)
    found = postings(pool.view, changes)
    assert sum(posting.amount_micro for posting in found) == 0
    return [(posting.account, posting.part, posting.amount_micro) for posting in found]


def test_a_transfer_has_two_sides() -> None:
    pool = Pool()
    pool.fund(pool.client, 1_000)
    client, node = pool.client.public_key, pool.node.public_key
    paper = pool.papers.transfer(pool.client, node, 400)
    assert sorted(moved(pool, paper)) == sorted([(client, Part.AVAILABLE, -400), (node, Part.AVAILABLE, 400)])


def test_a_grant_comes_from_the_system_and_a_levy_goes_there() -> None:
    pool = Pool(levy_ppm=100_000)
    client, queue = pool.client.public_key, pool.queue.public_key
    pool.submit(pool.papers.grant(client, 200_000))
    record = pool.close_round()
    pool.attest(record)
    before = dict(pool.snapshot())
    certificate = pool.papers.certificate(record, pool.parameters, {0: pool.entries[-1].signature})
    assert moved(pool, certificate) == [
        (client, Part.AVAILABLE, 200_000),
        (None, Part.GRANTS, -200_000),
    ]
    assert pool.snapshot() == before
    pool.submit(certificate)
    held = pool.papers.voucher_hold(pool.client, queue)
    assert moved(pool, held) == [(client, Part.AVAILABLE, -100_000), (client, Part.HELD, 100_000)]
    pool.submit(held)
    assert isinstance(held.record, Hold)
    found = moved(pool, pool.papers.capture(pool.queue, held.record, 1_000))
    assert sorted(found, key=str) == sorted(
        [
            (client, Part.HELD, -10_000),
            (queue, Part.AVAILABLE, 9_000),
            (None, Part.BURNED, 1_000),
        ],
        key=str,
    )


def test_what_moves_nothing_has_no_postings() -> None:
    pool = Pool()
    changes = Overlay(pool.view)
    assert postings(pool.view, changes) == ()
    assert moved(pool, pool.papers.grant(pool.client.public_key, 5)) == []
    assert Posting(account=None, part=Part.BURNED, amount_micro=1).part == "burned"
