"""`/nodes` and `/nodes/{id}`: what is known of the nodes, and of one. Source: specs/service.md §9."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from creditledger.activations.cusum import CUSUM_ALARM_MICRO
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import RoleError
from creditledger.ledger.naming import account_id
from creditledger.redemption.position import Position, position_of
from creditledger.redemption.position_row import certified_row
from creditledger.service.page.charts import bar, line
from creditledger.service.page.listing import listing
from creditledger.service.page.node_facts import node_facts, why_unvested
from creditledger.service.page.page import CHART_SCRIPTS, Page
from creditledger.service.page.ratio_history import ratio_history
from creditledger.service.signed_request import LinkSignature
from creditledger.validation.standing import NodeStanding, node_standing


def nodes_view(page: Page, request: Request) -> Response:
    """`GET /nodes`."""
    values = {"nodes": listing(request, page.nodes()), "bars": outcome_bar, "validators": page.validators()}
    return page.show(request, "nodes.html", values, title="Nodes", section="Nodes")


def node_view(page: Page, request: Request) -> Response:
    """`GET /nodes/{id}`; with a link that the node's key in force has signed, its ratios too.

    Raises UnknownIdError; ExpiredError, RoleError, SignatureError for a link that opens nothing."""
    node = page.read(lambda state: account_id(state, request.path_params["id"]))
    is_opened = _is_opened(page, request, node)
    standing, position, certified = page.kept(
        ("node", node), lambda: page.read(lambda state: _standing(state, node, page.clock()))
    )
    moment = page.moment()
    lots = [
        (
            lot,
            why_unvested(
                lot, time_unix_ms=moment.time_unix_ms, is_suspended=bool(position.account.suspended)
            ),
        )
        for lot in position.lots
    ]
    values: dict[str, Any] = {
        "node": standing,
        "position": position,
        "certified": certified,
        "lots": listing(request, lots),
        "outcomes": outcome_bar(standing),
        "facts": page.kept(
            ("node work", node), lambda: node_facts(page.ledger, node, page.recent.newest_first())
        ),
        "history": _history(page, node) if is_opened else None,
        "alarm_micro": CUSUM_ALARM_MICRO,
    }
    return page.show(
        request,
        "node.html",
        values,
        title=standing.name,
        section="Nodes",
        scripts=CHART_SCRIPTS,
        is_private=is_opened,
    )


def outcome_bar(node: NodeStanding) -> list[Any]:
    """A node's checks as a bar."""
    return bar(
        [
            ("upheld", "Upheld", node.upheld),
            ("refuted", "Refuted", node.refuted),
            ("inconclusive", "Inconclusive", node.inconclusive),
        ]
    )


def _standing(
    state: StateView, node: bytes, now_unix_ms: int
) -> tuple[NodeStanding, Position, dict[str, Any]]:
    standing = node_standing(state, node)
    position = position_of(state, node, now_unix_ms=now_unix_ms)
    return standing, position, certified_row(state, position.account)


def _is_opened(page: Page, request: Request, node: bytes) -> bool:
    """Whether the request is a signed link of the node's. Raises for one that is spoiled."""
    link = LinkSignature.read(request.scope["query_string"].decode("latin-1"))
    if link is None:
        return False
    key = page.read(lambda state: reading.keys_of(state, node)[-1][1])
    if link.key != key:
        raise RoleError(
            "the link is not by this node's key in force", expected=key.hex(), found=link.key.hex()
        )
    link.require(ledger_id=page.ledger.id, target=request.scope["path"], now_unix_ms=page.clock())
    return True


def _history(page: Page, node: bytes) -> dict[str, Any]:
    rows = page.kept(("ratios", node), lambda: ratio_history(page.ledger, node, page.recent.newest_first()))
    points = [(at, round(row.ratio * 1_000)) for at, row in enumerate(rows)]
    return {"rows": rows, "line": line(points)}
