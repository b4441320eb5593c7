"""What the middleware refuses before a model runs, beside what it takes. Source: specs/service.md §8."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asgi_exchange import Answered, exchange
from creditledger.adapters.answer_check import verify_answer
from creditledger.adapters.answer_receipts import AnswerReceipts, OpenedReceipt
from creditledger.adapters.model_host import ModelHost
from creditledger.adapters.openai_interface import sampler_of
from creditledger.adapters.openai_server import CreditMiddleware
from creditledger.errors import BusyError, MalformedRecordError, OpeningError, StorageError, VerificationError
from creditledger.minting.work_order import WorkOrder
from creditledger.records.job import PlanSpan
from creditledger.redemption.order import Order
from creditledger.redemption.wallet import Wallet
from fakes.hosted_model import TinyReader, TinyServer
from fakes.working_pool import WorkingModel, WorkingPool

SEED = bytes(range(32))
ASKED = {"prompt": "hello", "max_tokens": 30, "temperature": 0.9}


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> WorkingModel:
    return WorkingModel(tmp_path_factory.mktemp("whole") / "weights", spans=((0, 4),))


class Desk:
    """A pool, the middleware, and requests handed straight to it."""

    def __init__(self, folder: Path, model: WorkingModel) -> None:
        self.pool = WorkingPool(folder, model)
        self.orders = folder / "orders"
        self.wallet = Wallet(self.pool.ledger, key=self.pool.client, clock=self.pool.clock)
        self.minter = self.pool.minter(0)
        self.inner = TinyServer(model)
        self.host = self.new_host()
        self.host.attached()

    def new_host(self) -> ModelHost:
        model = self.pool.model.terms.model
        return ModelHost(
            self.pool.ledger, self.minter, model=model, orders=self.orders, clock=self.pool.clock
        )

    def order(self, *, node: int = 0, **changes: Any) -> Order:
        plan = [PlanSpan(layer_start=0, layer_stop=4, node=self.pool.nodes[node].public_key)]
        asked = {"plan": plan, "max_positions": 300, "max_price": 10**7} | changes
        return self.wallet.order(self.pool.model.terms.model, **asked)

    def ask(self, order: WorkOrder | bytes | None, *, host: ModelHost | None = None, **more: Any) -> Answered:
        shown = order.encode() if isinstance(order, WorkOrder) else order
        headers = [("creditledger-seed", more.pop("seed", SEED.hex()))]
        if shown is not None:
            headers.append(("creditledger-order", b64encode(shown).decode()))
        path = more.pop("path", "/v1/completions")
        spoilt = more.pop("body", None)
        body = json.dumps(ASKED | more).encode() if spoilt is None else spoilt
        app = CreditMiddleware(self.inner, host=host or self.host)
        return exchange(app, "POST", path, *headers, body=body)

    def receipts(self, answered: Answered) -> AnswerReceipts:
        place = answered.header("creditledger-receipts")
        assert place is not None
        found = exchange(CreditMiddleware(self.inner, host=self.host), "GET", place)
        assert found.status == 200
        return AnswerReceipts.decode(found.body)

    def close(self) -> None:
        self.host.close()
        self.pool.close()


@pytest.fixture
def desk(tmp_path: Path, whole_model: WorkingModel) -> Iterator[Desk]:
    made = Desk(tmp_path, whole_model)
    yield made
    made.close()


def test_an_order_is_answered_with_its_receipts(desk: Desk) -> None:
    order = desk.order()
    answered = desk.ask(order.work_order(0))
    assert answered.status == 200
    assert desk.receipts(answered).job == order.job.digest(desk.pool.ledger.id)
    assert len(desk.receipts(answered).receipts) == 1


@pytest.mark.parametrize(
    ("spoilt", "status"),
    [
        ({"order": None}, 402),
        ({"seed": "zz"}, 400),
        ({"seed": "11"}, 400),
        ({"seed": "00" * 32}, 400),
        ({"order": b"not an order"}, 400),
        ({"body": b"{"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": b"[" * 100_000}, 400),
        ({"body": b"[" + b" " * (4 << 20)}, 400),
        ({"top_p": 0.5}, 422),
        ({"path": "/v1/embeddings"}, 404),
        ({"path": "/reset"}, 404),
        ({"path": "/creditledger/receipts/" + "0" * 64}, 404),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_order_runs_nothing(desk: Desk, spoilt: dict, status: int) -> None:
    order = desk.order().work_order(0)
    assert desk.ask(**({"order": order} | spoilt)).status == status
    assert desk.inner.seen == []
    assert desk.ask(order).status == 200  # and the order was not used up


def test_orders_that_are_not_this_nodes_to_take_run_nothing(desk: Desk) -> None:
    """Another node's, one that nobody logged, part of the model, one that has expired."""
    good = desk.order()
    unlogged = good.replace(job=good.job.replace(id=bytes(16)))
    spans = zip(((0, 2), (2, 4)), desk.pool.nodes, strict=True)
    plan = [PlanSpan(layer_start=a, layer_stop=b, node=node.public_key) for (a, b), node in spans]
    part = desk.order(plan=plan)
    assert desk.ask(desk.order(node=1).work_order(0)).status == 403
    assert desk.ask(unlogged.work_order(0)).status == 402
    assert desk.ask(part.work_order(0)).status == 422
    brief = desk.order(expires_unix_ms=desk.pool.clock.now + 1)
    desk.pool.clock.now += 2
    assert desk.ask(brief.work_order(0)).status == 410
    assert desk.inner.seen == []
    assert desk.ask(good.work_order(0)).status == 200


def test_a_job_without_its_hold_runs_nothing(desk: Desk) -> None:
    held = desk.order()
    job = held.job.replace(id=b"\1" * 16, hold_id=b"\2" * 16)
    desk.pool.ledger.append(desk.pool.papers.signed(desk.pool.client, job))
    assert desk.ask(held.replace(job=job).work_order(0)).status == 402
    desk.pool.ledger.append(desk.pool.papers.job_hold(desk.pool.client, job))
    assert desk.ask(held.replace(job=job).work_order(0)).status == 200


def test_an_order_is_taken_once_by_all_hosts_of_a_node(desk: Desk) -> None:
    """Also by one that was started anew."""
    order = desk.order().work_order(0)
    again = desk.new_host()
    again.attached()
    assert [desk.ask(order).status, desk.ask(order).status, desk.ask(order, host=again).status] == [
        200,
        409,
        409,
    ]
    again._after.shutdown()


def test_where_no_model_makes_receipts_no_order_is_taken(desk: Desk) -> None:
    """A server whose model runs elsewhere, as vLLM's: its node would work unpaid."""
    order = desk.order().work_order(0)
    bare = desk.new_host()
    assert desk.ask(order, host=bare).status == 422
    assert desk.ask(order).status == 200
    bare._after.shutdown()


def test_web_sockets_are_closed(desk: Desk) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(CreditMiddleware(desk.inner, host=desk.host)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


def test_every_lie_about_an_answer_is_found(desk: Desk) -> None:
    """Beside the answer as it was: receipts of others, spoilt openings, another text, order or sampler."""
    order = desk.order()
    answered = desk.ask(order.work_order(0))
    answer, text = desk.receipts(answered), json.loads(answered.body)["choices"][0]["text"]
    (one,) = answer.receipts
    true: dict[str, Any] = {
        "answer": answer,
        "order": order,
        "sampler": sampler_of(ASKED, SEED),
        "ledger_id": desk.pool.ledger.id,
        "request": ASKED,
        "text": text,
        "reader": desk.inner.reader,
    }
    assert desk.inner.reader.text(verify_answer(**true)) == text

    def with_receipt(**changes: Any) -> AnswerReceipts:
        return replace(answer, receipts=(replace(one, receipt=one.receipt.replace(**changes)),))

    lies: list[dict[str, Any]] = [
        {"text": text[:-1]},
        {"text": text + "a"},
        {"request": ASKED | {"prompt": "world"}},
        {"request": ASKED | {"prompt": "hell"}},
        {"sampler": sampler_of(ASKED, SEED[::-1])},
        {"order": desk.order()},
        {"order": order.replace(secret=bytes(32))},
        {"ledger_id": bytes(32)},
        {"answer": replace(answer, receipts=())},
        {"answer": replace(answer, receipts=(one, one))},
        {"answer": replace(answer, receipts=(replace(one, salt=bytes(32)),))},
        {"answer": replace(answer, receipts=(replace(one, opened=one.opened[:-1]),))},
        {"answer": with_receipt(node=bytes(32))},
        {"answer": with_receipt(model=bytes(32))},
        {"answer": with_receipt(previous=b"\1" * 32)},
        {"answer": with_receipt(window_start=256)},
        {"answer": with_receipt(sketch=bytes(32))},
        {"answer": with_receipt(input_root=bytes(32))},
    ]

    class Tokenizer(TinyReader):
        """All that a client knows which has no embeddings."""

        def rows(self, tokens: Sequence[int]) -> None:
            return None

    plain = Tokenizer(desk.pool.model)
    assert verify_answer(**(true | {"reader": plain}))
    lies.append({"reader": plain, "request": ASKED | {"prompt": "hell"}})
    for lie in lies:
        with pytest.raises((OpeningError, VerificationError)):
            verify_answer(**(true | lie))


def test_nothing_is_countersigned_until_all_of_it_is_logged(desk: Desk) -> None:
    """A chain closed at what was logged so far would leave the rest unpaid."""
    order = desk.order()
    answer = desk.receipts(desk.ask(order.work_order(0)))
    known = answer.receipts[0].receipt.digest(desk.pool.ledger.id)
    with pytest.raises(BusyError):
        desk.wallet.confirm(order, checked={known, bytes(32)})
    assert desk.wallet.confirm(order, checked={known}).delivery.heads[0].receipt == known


def test_receipts_have_one_encoding(desk: Desk) -> None:
    answer = desk.receipts(desk.ask(desk.order().work_order(0)))
    encoded = answer.encode()
    assert AnswerReceipts.decode(encoded) == answer
    (one,) = answer.receipts
    spoilt = [encoded[:-1], encoded + b"\0", b"", replace(answer, job=bytes(31)).encode(),
              replace(answer, receipts=(OpenedReceipt(receipt=one.receipt, salt=one.salt, opened=b""),))
              .encode()[:-2]]  # fmt: skip
    for other in spoilt:
        with pytest.raises(MalformedRecordError):
            AnswerReceipts.decode(other)


def test_the_environment_must_name_everything(tmp_path: Path) -> None:
    good = {
        "CREDITLEDGER_LEDGER": str(tmp_path),
        "CREDITLEDGER_KEY": "k",
        "CREDITLEDGER_STATE": str(tmp_path),
    }
    for environment in ({}, good, good | {"CREDITLEDGER_MODEL": "xyz"}):
        with pytest.raises(StorageError, match=r"CREDITLEDGER_MODEL|environment"):
            ModelHost.from_environment(environment)
