"""`/`: the pool at a glance. Source: specs/service.md §9."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from creditledger.service.page.charts import bar, line
from creditledger.service.page.entry_story import told
from creditledger.service.page.page import CHART_SCRIPTS, Page
from creditledger.service.page.pool_facts import PoolFacts, checks_of, growth_of, pool_facts
from creditledger.service.page.witness_facts import witness_facts

ENTRIES: Final = 12
"""The newest entries that are told."""


def overview(page: Page, request: Request) -> Response:
    """`GET /`."""
    facts = page.kept("pool", lambda: page.read(pool_facts))
    checks = checks_of(page.nodes())
    growth = page.kept("growth", lambda: growth_of(page.ledger))
    moment = page.moment()
    values: dict[str, Any] = {
        "facts": facts,
        "checks": checks,
        "checks_bar": bar(
            [
                ("upheld", "Upheld", checks.upheld),
                ("refuted", "Refuted", checks.refuted),
                ("inconclusive", "Inconclusive", checks.inconclusive),
            ]
        ),
        "credits_bar": _credits_bar(facts),
        "growth": growth,
        "growth_line": line(growth, lowest=0),
        "witnesses": page.kept_as(
            "witnesses", moment.note, lambda: witness_facts(page.ledger.policy(), moment.note)
        ),
        "entries": page.kept("newest", lambda: newest(page)),
        "moment": moment,
        "origin": page.ledger.origin,
    }
    return page.show(
        request, "overview.html", values, title="Overview", section="Overview", scripts=CHART_SCRIPTS
    )


def newest(page: Page) -> list[Any]:
    """The last entries in words, the latest first."""
    entries = page.recent.newest_first()[:ENTRIES]
    with page.ledger.read() as state:
        return [told(state, entry) for entry in entries]


def _credits_bar(facts: PoolFacts) -> list[Any]:
    sums = facts.totals
    return bar(
        [
            ("spendable", "Spendable", sums.available_micro),
            ("held", "Held for jobs", sums.held_micro),
            ("unvested", "Vesting", sums.unvested_micro),
            ("burned", "Burned", sums.burned_micro),
        ]
    )
