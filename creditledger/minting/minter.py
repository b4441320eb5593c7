"""A node's side of the ledger: sessions make receipts, flushing logs them. Source: specs/minting.md."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.model import ModelDescription
from creditledger.activations.row_format import row_format
from creditledger.activations.sampler import Sampler
from creditledger.errors import CreditLedgerError, RefusedError, RoleError
from creditledger.ledger.clock import system_clock
from creditledger.ledger.keyring import KeyRole, load_key
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place
from creditledger.ledger.writer import Acknowledgement
from creditledger.minting.batching import sign_batch
from creditledger.minting.dispatch import Dispatch
from creditledger.minting.evidence_ahead import EvidenceAhead
from creditledger.minting.failures import FailureCount
from creditledger.minting.handover import sign_handover
from creditledger.minting.kept_inputs import KeptInputs
from creditledger.minting.ledger_link import LedgerLink
from creditledger.minting.outbox import (
    MemoryOutbox,
    Outbox,
    SubmissionQueue,
    Submit,
    SubmitAll,
    one_by_one,
)
from creditledger.minting.receipt_maker import MintedReceipt, ReceiptMaker
from creditledger.minting.sealed_evidence import audit_keys
from creditledger.minting.selection import SelectedRows, Selection, positions_of
from creditledger.minting.session import Session
from creditledger.minting.shipper import Shipper
from creditledger.minting.shipping import Shipping
from creditledger.minting.torch_hook import Attachment, attach_hooks
from creditledger.minting.window import Window
from creditledger.minting.work_order import WorkOrder
from creditledger.minting.worker import Worker
from creditledger.records.entry import Submission
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import BF16_NUMERICS, Handover, Numerics, Receipt
from creditledger.transparency.keys import Ed25519Signer

NODES: Final = "nodes"
"""The folder in a copy of a ledger that has one for each node of this machine."""
AT_ONCE: Final = 64
"""Batches that a service is sent together."""


class Minter:
    """Mints receipts for one node and one model.

    Its constructor and `session` raise for what cannot work at all. From then on nothing that fails
    reaches the model: failures are counted in `failures`, and receipts are missing.

    To a ledger behind a URL a thread of its own ships what was minted: nothing here waits for the network."""

    def __init__(
        self,
        ledger: Ledger | Place,
        *,
        key: Ed25519Signer | Path | str,
        model: ModelDescription | bytes,
        clock: Callable[[], int] = system_clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
        outbox: Path | None = None,
        evidence: Path | None = None,
        profiles: Mapping[int, CalibrationProfile] | None = None,
        numerics: Numerics = BF16_NUMERICS,
        submit: Submit | None = None,
        shipping: Shipping | None = None,
    ) -> None:
        """``ledger``: opened, or its directory or URL. ``key``: the node's, or its key file. ``outbox``:
        where batches wait durably; None keeps them in memory, or for a URL beside this machine's copy of the
        ledger. ``evidence``: where sealed inputs are kept; None is the ledger's own, or for a URL beside the
        copy. ``shipping``: how often, and within which bounds. ``profiles``: by the span's ``layer_stop``;
        None reads the ledger's. ``submit``: where batches go; None is ``ledger``. With it a ``ledger`` that
        another process writes is only read, and nothing is shipped.

        Raises RoleError for another role's or ledger's key and for a retired one, BusyError where another
        process ships from the outbox, StorageError, KeyFormatError, ActivationError for numerics whose
        activations are not bf16, fp16 or fp32."""
        row_format(numerics.activations)
        self._model = model if isinstance(model, bytes) else model.digest
        self._clock = clock
        self._random_bytes = random_bytes
        self._numerics = numerics
        self._profiles = profiles
        self._failures = FailureCount()
        self._worker = Worker(self._failures)
        self._rows: ContextVar[Mapping[Session, SelectedRows] | None] = ContextVar(
            "creditledger-rows", default=None
        )
        self._shipper: Shipper | None = None
        shipping = shipping or Shipping()
        with ExitStack() as opened:
            self._link = LedgerLink(ledger, clock=clock)
            opened.callback(self._link.close)
            self._key = _signer(key, ledger_id=self._link.ledger_id)
            self.node: bytes = self._link.account_of(self._key.public_key)
            """The node's account id: its first public key."""
            home = self._link.path / NODES / self.node.hex() if self._link.is_remote else self._link.path
            self._kept = KeptInputs(
                evidence or home / "evidence",
                ledger_id=self._link.ledger_id,
                random_bytes=random_bytes,
                bytes_max=shipping.kept_bytes_max,
            )
            if self._link.is_remote and submit is None:
                self._shipper = self._shipping_from(outbox or home / "outbox", shipping, opened)
            else:
                queue = Outbox(outbox, bytes_max=shipping.outbox_bytes_max) if outbox else MemoryOutbox()
                self._dispatch = self._new_dispatch(queue, one_by_one(submit or self._link.submit), at_once=1)
            self._opened = opened.pop_all()
        if self._shipper is not None:
            self._shipper.start()

    def _shipping_from(self, outbox: Path, shipping: Shipping, opened: ExitStack) -> Shipper:
        place = self._link.evidence_taker(self._key)
        opened.callback(place.close)
        ahead = EvidenceAhead(self._link.submit_all, kept=self._kept, place=place)
        queue = Outbox(outbox, bytes_max=shipping.outbox_bytes_max)
        self._dispatch = self._new_dispatch(queue, ahead, at_once=AT_ONCE)
        return Shipper(
            self._dispatch,
            ahead,
            follow=self._link.follow,
            outbox=outbox,
            shipping=shipping,
            failures=self._failures,
            clock=self._clock,
            on_end=lambda: self._opened.close(),
        )

    @property
    def failures(self) -> dict[str, int]:
        """How often minting failed, by the name of the error."""
        return self._failures.counts()

    @property
    def waiting(self) -> int:
        """Batches that were signed and are not acknowledged."""
        return self._dispatch.waiting

    @property
    def refused(self) -> list[tuple[Submission, CreditLedgerError]]:
        """Batches that the log refused for good, with the reason."""
        return self._dispatch.refused

    def session(
        self, order: WorkOrder, *, sampler: Sampler | None = None, after: Receipt | None = None
    ) -> Session:
        """Begin, or with ``after`` resume, the span of ``order``.

        ``sampler``: how tokens are drawn if tokens leave the span: the recorded outputs are then the final
        hidden states, and `Session.drew` is told the tokens. ``after``: the chain's last receipt, whole.
        Raises RoleError for another node's order, RefusedError for another model's, UnknownIdError
        without a profile for the span, ActivationError if the chain has ended, StorageError if the outbox is
        full."""
        self._dispatch.require_room()
        if order.span.node != self.node:
            raise RoleError(
                "the span is another node's", expected=order.span.node.hex(), found=self.node.hex()
            )
        if order.job.model != self._model:
            raise RefusedError(
                "the job is for another model", expected=self._model.hex(), found=order.job.model.hex()
            )
        maker = ReceiptMaker(
            order=order,
            job=order.job.digest(self._link.ledger_id),
            numerics=self._numerics,
            exponents=self._profile(order).exponents,
            sampler=sampler,
            random_bytes=self._random_bytes,
        )
        recipients = audit_keys(self._link.parameters())

        def keep(window: Window, minted: MintedReceipt) -> None:
            self._dispatch.require_room(minted)
            with self._failures.counted():
                self._kept.keep(
                    window.inputs,
                    boundary_key=order.input_key,
                    first_position=window.start,
                    input_root=minted.receipt.input_root,
                    recipients=recipients,
                )
            # Last: once a batch may go, its inputs are there to go ahead of it.
            self._dispatch.add(minted)

        return Session(
            maker,
            ledger_id=self._link.ledger_id,
            worker=self._worker,
            failures=self._failures,
            clock=self._clock,
            keep=keep,
            previous=after,
        )

    def attach(self, model: Any, layers: range) -> Attachment:
        """Record the span ``layers`` of a torch model on every forward, for the sessions of `rows`.

        ``model``: any module with one stack of blocks, or the list of them; attach before a compiled
        model's first forward. The hooks raise nothing. ``Attachment.remove`` takes them off. Raises
        ActivationError if the model has no such blocks."""
        return attach_hooks(model, layers, take=self._take_rows, failures=self._failures)

    @contextmanager
    def rows(self, rows: Mapping[Session, Selection]) -> Iterator[None]:
        """Which rows of the batch belong to which session, for the forwards inside the block.

        A slice of one sequence of a ``(batch, positions, hidden)`` stream, or of positions of a
        ``(positions, hidden)`` one; or ``(sequence, mask)``, the mask true where a row is no padding,
        from the block's first forward on, as ``attention_mask[sequence]`` is. What selects nothing is
        counted in `failures`, and its session gets no rows."""
        selected: dict[Session, SelectedRows] = {}
        for session, selection in rows.items():
            with self._failures.counted():
                selected[session] = SelectedRows(selection)
        token = self._rows.set(selected)
        try:
            yield
        finally:
            self._rows.reset(token)

    def hand_over(self, receipt: Receipt) -> bytes:
        """The signed word for the next node that ``receipt``'s rows are what it is given.

        The next node hands it to its own `keep_handover`. Raises RoleError for another's receipt."""
        if receipt.node != self.node:
            raise RoleError("the receipt is another node's", expected=receipt.node.hex())
        handover = Handover(
            job=receipt.job,
            sender=self.node,
            boundary=receipt.layer_stop,
            window_start=receipt.window_start,
            positions=receipt.positions,
            root=receipt.output_root,
        )
        return sign_handover(handover, key=self._key, ledger_id=self._link.ledger_id)

    def keep_handover(self, encoded: bytes) -> Handover:
        """Check and keep what the node before signed: if its receipt says otherwise, it is to blame.

        Raises MalformedRecordError, SignatureError, StorageError."""
        return self._kept.keep_handover(encoded, keys_of=lambda sender: (self._link.present_key(sender),))

    def flush(self) -> list[Acknowledgement]:
        """Sign all receipts made so far and log them; the acknowledgements, in order.

        What cannot be delivered now waits for the next flush. For a ledger behind a URL nothing is waited
        for: the acknowledgements are those that came since the last flush. Raises nothing."""
        self._worker.wait()
        self._dispatch.post()
        if self._shipper is None:
            return self._dispatch.deliver()[0]
        self._shipper.wake()
        return self._shipper.acknowledged()

    def close(self) -> None:
        """Flush, and end the threads. What a service does not take within `Shipping.close_s` stays in the
        outbox for the next start; a second call does nothing."""
        self.flush()
        self._worker.close()
        if self._shipper is None:
            self._opened.close()
        else:
            self._shipper.stop()

    def __enter__(self) -> "Minter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_rows(self, stage: str, stream: Any, held: dict[Session, Any]) -> None:
        for session, rows in (self._rows.get() or {}).items():
            try:
                taken = rows.of(stream)
                if stage == "inputs":
                    held[session] = taken
                    continue
                rows.passed(positions_of(stream))
                if taken is not None:
                    start = session.next_position
                    session.take(held.pop(session), taken, range(start, start + len(taken)))
            except Exception as error:
                self._failures.count(error)

    def _profile(self, order: WorkOrder) -> CalibrationProfile:
        layer_stop = order.span.layer_stop
        if self._profiles is not None and layer_stop in self._profiles:
            return self._profiles[layer_stop]
        # The job's own terms: parameters that change while it runs do not change how it is judged.
        terms = self._link.parameters_with(order.job.parameters)
        return self._link.profile(terms, self._model, layer_stop)

    def _new_dispatch(self, queue: SubmissionQueue, submit: SubmitAll, *, at_once: int) -> Dispatch:
        return Dispatch(
            queue,
            submit,
            at_once=at_once,
            sign=self._sign,
            parameters=self._link.parameters,
            failures=self._failures,
        )

    def _sign(self, minted: Sequence[MintedReceipt], parameters: Parameters) -> Submission:
        return sign_batch(
            minted,
            key=self._key,
            ledger_id=self._link.ledger_id,
            parameters=parameters,
            random_bytes=self._random_bytes,
            node=self.node,
        )


def _signer(key: Ed25519Signer | Path | str, *, ledger_id: bytes) -> Ed25519Signer:
    if isinstance(key, Path | str):
        return load_key(Path(key), roles=(KeyRole.NODE,), ledger_id=ledger_id).ed25519()
    return key
