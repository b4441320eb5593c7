"""The openai client against a server with the middleware: ordered, recorded, checked, countersigned, paid.

Real HTTP, a real ledger and a model that really runs, though a tiny one. Source: specs/service.md §8."""

import asyncio
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import uvicorn

from creditledger.adapters.hosted_work import HostedWork
from creditledger.adapters.model_host import ModelHost
from creditledger.adapters.openai_client import CreditTransport, PaidAnswer, Terms
from creditledger.adapters.openai_server import CreditMiddleware
from creditledger.credits import reading
from creditledger.errors import BusyError, InsufficientCreditError, OpeningError
from creditledger.records.receipt import OutputKind
from creditledger.records.verdict import Outcome, Reason
from creditledger.redemption.wallet import Wallet
from creditledger.validation.validator import Committed
from fakes.hosted_model import TinyServer
from fakes.working_pool import WorkingModel, WorkingPool


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> WorkingModel:
    return WorkingModel(tmp_path_factory.mktemp("whole") / "weights", spans=((0, 4),))


class Hosted:
    """A pool with one hosting node, its server on a real port, and a client's openai."""

    def __init__(self, folder: Path, model: WorkingModel) -> None:
        self.pool = WorkingPool(folder, model)
        self.minter = self.pool.minter(0)
        self.host = ModelHost(
            self.pool.ledger,
            self.minter,
            model=model.terms.model,
            orders=folder / "orders",
            clock=self.pool.clock,
            pause=lambda _: None,
        )
        self.host.attached()
        self.app = TinyServer(model)
        self.wallet = Wallet(self.pool.ledger, key=self.pool.client, clock=self.pool.clock)
        self._listen(CreditMiddleware(self.app, host=self.host))
        self.transport = self.new_transport()
        self.openai = self.client(self.transport)

    def new_transport(self, **changes: Any) -> CreditTransport:
        terms = Terms(
            node=self.minter.node,
            model=self.pool.model.terms.model,
            layers=4,
            max_positions=300,
            max_price_micro=10**7,
        )
        reader = changes.pop("reader", self.app.reader)
        return CreditTransport(self.wallet, replace(terms, **changes), reader=reader, clock=self.pool.clock)

    def client(self, transport: httpx2.BaseTransport) -> openai.OpenAI:
        http = httpx2.Client(transport=transport)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", http_client=http, max_retries=0)

    def answer(self) -> PaidAnswer:
        return self.transport.answers[-1]

    def _listen(self, app: Any) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self) -> None:
        self.openai.close()
        self._server.should_exit = True
        self._thread.join(20)
        self.host.close()
        self.pool.close()


@pytest.fixture
def hosted(tmp_path: Path, whole_model: WorkingModel) -> Iterator[Hosted]:
    made = Hosted(tmp_path, whole_model)
    yield made
    made.close()


def complete(hosted: Hosted, **settings: Any) -> Any:
    asked = {"model": "tiny", "prompt": "hello", "max_tokens": 40, "temperature": 0} | settings
    return hosted.openai.completions.create(**asked)


def chat(hosted: Hosted, **settings: Any) -> Any:
    messages = [{"role": "user", "content": "hello"}]
    asked = {"model": "tiny", "messages": messages, "max_tokens": 40, "temperature": 0} | settings
    return hosted.openai.chat.completions.create(**asked)


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_an_answer_is_ordered_recorded_and_countersigned(hosted: Hosted, temperature: float) -> None:
    text = complete(hosted, temperature=temperature).choices[0].text
    paid = hosted.answer()
    assert paid.refusal is None
    assert hosted.app.reader.text(paid.tokens) == text
    (receipt,) = [one.receipt for one in paid.receipts.receipts]
    assert (receipt.output_kind, receipt.positions) == (OutputKind.TOKENS, 5 + 40 - 1)
    assert paid.delivered.delivery.heads[0].positions == 44
    with hosted.pool.ledger.read() as view:
        assert reading.job_status(view, receipt.job).status == 3  # closed
    assert hosted.host.failures == {}


def test_validators_uphold_it_and_the_node_is_paid(hosted: Hosted) -> None:
    """Nothing but the ledger and what the node sealed: rows by re-execution, tokens by their scores."""
    complete(hosted, temperature=0.9)
    pool = hosted.pool
    pool.certify()
    committed = [action for action in pool.step() if isinstance(action, Committed)]
    found = {(j.outcome, j.reason) for action in committed for j in action.judgements.values()}
    assert found == {(Outcome.UPHELD, Reason.MATCH)}
    pool.step()
    pool.step()
    pool.ledger.settle_due()
    assert pool.unvested(pool.nodes[0]) > 0


def test_a_streamed_chat_is_countersigned_when_it_was_read(hosted: Hosted) -> None:
    with chat(hosted, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert len(text) == 40
    assert hosted.answer().refusal is None
    assert hosted.answer().delivered is not None


def test_an_answer_that_is_not_read_to_its_end_is_not_paid_for(hosted: Hosted) -> None:
    stream = chat(hosted, stream=True)
    next(iter(stream))
    stream.response.close()
    assert "not read to its end" in str(hosted.answer().refusal)
    assert hosted.answer().delivered is None


def test_longer_answers_are_chains_of_windows(hosted: Hosted) -> None:
    complete(hosted, prompt="a" * 200, max_tokens=90)
    paid = hosted.answer()
    assert paid.refusal is None
    assert [one.receipt.positions for one in paid.receipts.receipts] == [256, 33]


def test_an_answer_ends_where_the_order_does(hosted: Hosted) -> None:
    assert len(complete(hosted, prompt="a" * 290, max_tokens=50).choices[0].text) == 11
    assert hosted.answer().refusal is None
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        complete(hosted, prompt="a" * 301)
    assert "more positions than the order pays for" in refused.value.response.json()["detail"]
    (spare,) = hosted.transport._spare
    complete(hosted)
    assert hosted.answer().refusal is None
    assert hosted.answer().order == spare  # no work was done for it: it still buys one answer


def test_tokens_other_than_those_shown_are_not_paid_for(hosted: Hosted) -> None:
    """The server says one thing and its receipts commit to another."""
    hosted.app.said = lambda tokens: hosted.app.reader.text([*tokens[:-1], tokens[-1] ^ 1])
    complete(hosted)
    assert isinstance(hosted.answer().refusal, OpeningError)
    assert hosted.answer().delivered is None


@pytest.mark.parametrize("heard", ["world", "hell"])
def test_an_answer_to_another_prompt_is_not_paid_for(hosted: Hosted, heard: str) -> None:
    """As long a prompt, and a shorter one: the rows that entered layer 0 are not this prompt's."""
    hosted.app.heard = lambda _: heard
    complete(hosted)
    assert isinstance(hosted.answer().refusal, OpeningError)


def second_best(work: HostedWork, scores: np.ndarray, position: int) -> int:
    return int(np.argsort(scores)[-2])


def test_tokens_that_the_model_would_not_draw_are_refuted(hosted: Hosted) -> None:
    """What no client can see, validators do: honest rows, tokens from elsewhere."""
    hosted.app.draw = second_best
    complete(hosted)
    assert hosted.answer().refusal is None
    hosted.pool.certify()
    committed = [action for action in hosted.pool.step() if isinstance(action, Committed)]
    assert {j.reason for action in committed for j in action.judgements.values()} == {Reason.TOKENS}


def test_receipts_that_are_logged_late_are_countersigned_later(hosted: Hosted) -> None:
    dispatch = hosted.minter._dispatch
    submit = dispatch._submit

    def busy(submissions: Any) -> Any:
        raise BusyError("the pool is away")

    dispatch._submit = busy
    complete(hosted)
    assert isinstance(hosted.answer().refusal, BusyError)
    assert hosted.transport.confirm_waiting() == 1
    dispatch._submit = submit
    hosted.minter.flush()
    assert hosted.transport.confirm_waiting() == 0
    assert hosted.answer().refusal is None
    assert hosted.answer().delivered is not None


def test_an_order_buys_one_answer(hosted: Hosted, tmp_path: Path) -> None:
    """Also not a second one from a node that was started anew."""
    complete(hosted)
    order = hosted.answer().order.work_order(0)
    headers = {"creditledger-order": b64encode(order.encode()).decode(), "creditledger-seed": "11" * 32}
    body = {"model": "tiny", "prompt": "hello", "temperature": 0}
    again = httpx2.post(f"{hosted.url}/v1/completions", json=body, headers=headers)
    assert again.status_code == 402  # closed by the client's countersignature
    hosted.pool.clock.now += 1
    fresh = hosted.wallet.order(
        hosted.pool.model.terms.model, hosted.answer().order.job.plan, 300, 10**7
    ).work_order(0)
    headers["creditledger-order"] = b64encode(fresh.encode()).decode()
    answers = [httpx2.post(f"{hosted.url}/v1/completions", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["error"] == "ConflictError"


def test_without_credits_nothing_is_asked(hosted: Hosted) -> None:
    client = hosted.client(hosted.new_transport(max_price_micro=10**12))
    before = list(hosted.app.seen)
    with pytest.raises(InsufficientCreditError):
        client.completions.create(model="tiny", prompt="hello", temperature=0)
    assert hosted.app.seen == before
    client.close()


def test_without_an_order_the_plain_client_is_refused(hosted: Hosted) -> None:
    client = openai.OpenAI(base_url=f"{hosted.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.APIStatusError) as refused:
        client.completions.create(model="tiny", prompt="hello")
    assert refused.value.status_code == 402
    assert list(client.models.list()) == []
    client.close()
