"""A node that answers requests with a model of its own process, one order an answer.

Source: specs/service.md §8."""

import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final

from creditledger.activations.sampler import Sampler
from creditledger.adapters.answer_receipts import AnswerReceipts
from creditledger.adapters.environment import digest_in, named_in
from creditledger.adapters.hosted_work import HostedWork
from creditledger.adapters.orders_taken import OrdersTaken
from creditledger.errors import ExpiredError, RefusedError
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place
from creditledger.minting.ledger_link import LedgerLink
from creditledger.minting.minter import Minter
from creditledger.minting.torch_hook import Attachment
from creditledger.minting.work_order import WorkOrder

KEPT_ANSWERS_MAX: Final = 1_024
"""Answers whose receipts can be asked for; the oldest go first."""
FLUSH_ATTEMPTS: Final = 20
FLUSH_PAUSE_SECONDS: Final = 0.25


class ModelHost:
    """Takes orders, lets the model work on them, and keeps the receipts for the client to fetch.

    Safe to use from several threads."""

    def __init__(
        self,
        ledger: Ledger | Place,
        minter: Minter,
        *,
        model: bytes,
        orders: Path,
        clock: Callable[[], int] = system_clock,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``ledger``: where orders are looked up; ``model``: the digest of the model that is run, whole;
        ``orders``: a directory that remembers which orders were taken. Raises StorageError and what opening
        the ledger raises."""
        self._link = LedgerLink(ledger, clock=clock)
        self._minter = minter
        self._model = model
        self._taken = OrdersTaken(orders, clock=clock)
        self._clock = clock
        self._pause = pause
        self._lock = Lock()
        self._answers: OrderedDict[str, Future[AnswerReceipts]] = OrderedDict()
        self._after = ThreadPoolExecutor(max_workers=1, thread_name_prefix="creditledger-answers")
        self._is_attached = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ModelHost":
        """The host that ``CREDITLEDGER_LEDGER`` (a directory or URL), ``CREDITLEDGER_KEY`` (the node's key
        file), ``CREDITLEDGER_MODEL`` (64 hex digits) and ``CREDITLEDGER_STATE`` (a directory of its own, for
        outbox and orders) name. Raises StorageError naming what is missing, and what `Minter` does."""
        ledger, key, state = (named_in(environment, name) for name in ("LEDGER", "KEY", "STATE"))
        folder, digest = Path(state), digest_in(environment, "MODEL")
        minter = Minter(ledger, key=Path(key), model=digest, outbox=folder / "outbox")
        return cls(ledger, minter, model=digest, orders=folder / "orders")

    def attach(self, model: Any, layers: range) -> Attachment:
        """Record the blocks ``layers``, all of the model's, of a torch model: see `Minter.attach`."""
        attachment = self._minter.attach(model, layers)
        self.attached()
        return attachment

    def attached(self) -> None:
        """Say that what runs the model works inside `HostedWork.running` and records its rows."""
        self._is_attached = True

    def take(self, encoded: bytes, sampler: Sampler) -> HostedWork:
        """Begin the work that an encoded `WorkOrder` asks for; an order is taken once, for ever.

        Raises MalformedRecordError, RefusedError and its kinds for an order that no hold covers, that is
        for others or was taken before, and where no model of this process makes receipts. Blocks."""
        if not self._is_attached:
            raise RefusedError("no model of this process makes receipts", expected="a model with hooks")
        order = WorkOrder.decode(encoded)
        job = order.job.digest(self._link.ledger_id)
        if order.layer_start or len(order.job.plan) != 1:
            raise RefusedError("a whole model answers here", expected="one span from layer 0")
        if self._clock() >= order.job.expires_unix_ms:
            raise ExpiredError("job has expired", found=str(order.job.expires_unix_ms))
        self._link.require_held(job)
        session = self._minter.session(order, sampler=sampler)
        self._taken.add(job, expires_unix_ms=order.job.expires_unix_ms)
        return HostedWork(order=order, sampler=sampler, session=session, minter=self._minter)

    def promise(self) -> str:
        """A name nobody can guess, under which `receipts` will have those of one answer."""
        name = secrets.token_hex(32)
        with self._lock:
            self._answers[name] = Future()
            while len(self._answers) > KEPT_ANSWERS_MAX:
                self._answers.popitem(last=False)
        return name

    def finish(self, name: str, work: HostedWork) -> None:
        """The answer's connection has ended: mint what is left, log it, keep the promise. Never waits."""
        with self._lock:
            promised = self._answers.get(name)
        self._after.submit(self._finish, promised or Future(), work)

    def give_back(self, work: HostedWork) -> None:
        """Let an order that the model never began on be taken again. Raises StorageError."""
        with self._lock:
            is_unused = not work.was_run and not work.is_given_back
            work.is_given_back |= is_unused
        if is_unused:
            job = work.order.job
            self._taken.forget(job.digest(self._link.ledger_id), expires_unix_ms=job.expires_unix_ms)

    def receipts(self, name: str) -> "Future[AnswerReceipts] | None":
        """What was promised under ``name``, done once it is logged or cannot be for now."""
        with self._lock:
            return self._answers.get(name)

    @property
    def failures(self) -> dict[str, int]:
        """How often minting failed, by the name of the error."""
        return self._minter.failures

    def close(self) -> None:
        """Finish what has ended, flush, and end the threads."""
        self._after.shutdown()
        self._minter.close()
        self._link.close()

    def _finish(self, promised: "Future[AnswerReceipts]", work: HostedWork) -> None:
        job = work.order.job.digest(self._link.ledger_id)
        try:
            session = work.ended()
            minted = [] if session is None else session.minted
            self._flush()
            self.give_back(work)
            promised.set_result(AnswerReceipts.of(job, minted))
        except Exception as error:
            promised.set_exception(error)

    def _flush(self) -> None:
        for attempt in range(FLUSH_ATTEMPTS):
            self._minter.flush()
            if not self._minter.waiting:
                return
            if attempt + 1 < FLUSH_ATTEMPTS:
                self._pause(FLUSH_PAUSE_SECONDS)
