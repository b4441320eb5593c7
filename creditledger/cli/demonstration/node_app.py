"""A node's own URL: it is given work orders, takes rows, runs its span, and hands over to the next node."""

import threading
from typing import Any, Final

import httpx2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from creditledger.cli.demonstration.crossing import CROSSING_BYTES_MAX, Crossing
from creditledger.cli.demonstration.work import Node
from creditledger.errors import BusyError, CreditLedgerError, MalformedRecordError, VerificationError
from creditledger.ledger.naming import as_digest
from creditledger.minting.work_order import WorkOrder
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.problems import problem_of
from creditledger.service.pool.request_bounds import Limits, RequestBounds
from creditledger.transparency.trust_policy import TrustPolicy

WORK_SECONDS: Final = 300.0
"""How long rows may take through this node and all after it."""
OCTETS: Final = {"content-type": "application/octet-stream"}


class NodeDesk:
    """What a node's URL does, one job at a time."""

    def __init__(self, node: Node, policy: TrustPolicy) -> None:
        self._node = node
        self._policy = policy
        self._turn = threading.Lock()
        self._next: dict[bytes, str] = {}

    def take(self, body: bytes) -> bytes:
        """A work order, the bundle of the hold that pays, and where the rows go next (empty: back)."""
        match canonical.decode(body, most=FRAME_BYTES_MAX):
            case [bytes(encoded), bytes(hold), bytes(following)]:
                order = WorkOrder.decode(encoded)
            case _:
                raise MalformedRecordError("not an order", expected="[work order, bundle of its hold, URL]")
        with self._turn:
            self._node.take(order, hold=hold, policy=self._policy)
            self._next[order.job.digest(self._policy.ledger_id or b"")] = following.decode("ascii", "replace")
        return b""

    def serve(self, job: bytes, body: bytes) -> bytes:
        """Rows and handovers in; those of the last node of the plan out."""
        crossing = Crossing.decode(body)
        with self._turn:
            crossing = self._node.serve(job, crossing, policy=self._policy)
            following = self._next.pop(job)
        return send_rows(following, job, crossing) if following else crossing.encode()


def node_app(desk: NodeDesk) -> Starlette:
    """The ASGI application in front: `POST /orders` and `POST /jobs/{digest}`."""

    async def orders(request: Request) -> Response:
        return Response(await run_in_threadpool(desk.take, await request.body()), headers=OCTETS)

    async def jobs(request: Request) -> Response:
        job = as_digest(request.path_params["job"])
        if job is None:
            raise MalformedRecordError("not a job's digest", expected="64 lower-case hex digits")
        return Response(await run_in_threadpool(desk.serve, job, await request.body()), headers=OCTETS)

    async def refused(request: Request, error: Any) -> Response:
        return problem_of(error).response()

    limits = Limits(body_bytes=CROSSING_BYTES_MAX, requests=8, answer_seconds=WORK_SECONDS)
    return Starlette(
        routes=[Route("/orders", orders, methods=["POST"]), Route("/jobs/{job}", jobs, methods=["POST"])],
        middleware=[Middleware(RequestBounds, limits=limits, events=EventLog(None))],
        exception_handlers={CreditLedgerError: refused},
    )


def send_order(url: str, order: bytes, hold: bytes, following: str) -> None:
    """Give the node behind ``url`` an order. Raises BusyError, VerificationError."""
    _post(f"{url}/orders", canonical.encode([order, hold, following.encode()], most=FRAME_BYTES_MAX))


def send_rows(url: str, job: bytes, crossing: Crossing) -> bytes:
    """Hand rows to the node behind ``url``; the last node's answer. Raises BusyError, VerificationError."""
    return _post(f"{url}/jobs/{job.hex()}", crossing.encode())


def _post(url: str, body: bytes) -> bytes:
    try:
        answer = httpx2.post(url, content=body, headers=OCTETS, timeout=WORK_SECONDS, trust_env=False)
    except httpx2.HTTPError as error:
        raise BusyError("a node cannot be reached", found=f"{type(error).__name__} at {url}") from error
    if answer.status_code != 200:
        raise VerificationError("a node refuses", found=f"{answer.status_code} {answer.text}")
    return answer.content
