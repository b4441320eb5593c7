"""`/leaderboard`: who did how much verified work. Source: specs/service.md §9."""

from starlette.requests import Request
from starlette.responses import Response

from creditledger.redemption.leaderboard import ranks
from creditledger.service.page.charts import WIDTH
from creditledger.service.page.listing import listing
from creditledger.service.page.page import Page


def leaderboard_view(page: Page, request: Request) -> Response:
    """`GET /leaderboard`."""
    rows = page.kept("ranks", lambda: page.read(ranks))
    best = max((rank.verified_micro for rank in rows), default=0)
    shown = listing(request, rows)
    widths = [rank.verified_micro * WIDTH // max(1, best) for rank in shown.rows]
    values = {"ranks": shown, "widths": widths}
    return page.show(request, "leaderboard.html", values, title="Leaderboard", section="Leaderboard")
