"""A served pool is lived in, killed and attacked, for a short while: `python -m tests.soak` does it for long.

CREDITLEDGER_SOAK_SECONDS says how long. Threat rows D1, H1, H4."""

import os
from pathlib import Path

from soak.soak_campaign import Plan, percentile, soak
from soak.soak_report import DESCRIPTORS_MAX, goals, show

SECONDS = float(os.environ.get("CREDITLEDGER_SOAK_SECONDS", "24"))
SLOW_MS = 250.0
"""Below it nobody asks whether an honest request took twice as long: others use this machine too."""

ANSWERS_EARLY = """
import time
from creditledger.service.pool import group_commit

def commit(self, group):
    def also(kept, outcomes):
        shares = list(zip(group, group_commit._shares(group, outcomes), strict=True))
        for share, own in shares:
            if share.also is not None:
                share.also(kept, own)
        for share, own in shares:
            share.outcomes.set_result(own)
        time.sleep(0.2)
    submissions = [one for share in group for one in share.submissions]
    self._steward.write(lambda ledger: ledger.submit(submissions, also=also))

group_commit.GroupCommit._commit = commit
"""
"""Whoever runs this promises what no disk has."""


def test_a_served_pool_keeps_its_promises_under_kills_and_attacks(tmp_path: Path) -> None:
    """No acknowledged record is lost, none counts twice, no answer is a surprise, and honest users notice
    little of slow, long and many requests."""
    is_long = SECONDS >= 60
    plan = Plan(seconds=SECONDS, kill_every=30 if is_long else 4, slices=5 if is_long else 1)
    found = soak(tmp_path, plan)
    show(goals(found), found.wrong)
    assert found.wrong == []
    assert found.kills >= 1
    assert found.figures["acknowledged"] > SECONDS
    assert found.counts["repeats"] > 0
    assert found.counts["bundles verified"] > 0
    assert found.descriptors.growth <= DESCRIPTORS_MAX
    for attack in found.attacks:
        assert len(attack.under_ms) > 1, attack.kind
        assert found.ratio(attack) < 2 or percentile(attack.under_ms, 0.99) < SLOW_MS, attack


def test_a_server_that_answers_before_it_commits_is_found_out(tmp_path: Path) -> None:
    """The soak can fail."""
    plan = Plan(seconds=10, kill_every=1.5, slices=0, wind_down_seconds=1, program=ANSWERS_EARLY)
    found = soak(tmp_path, plan)
    show(goals(found), found.wrong)
    assert found.figures["acknowledged and lost"] > 0
    assert any("lost" in each for each in found.wrong)
