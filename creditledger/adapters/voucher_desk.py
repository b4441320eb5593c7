"""Vouchers that strangers show a server: each proved once, beside the requests.

Source: specs/redemption.md §4."""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final

from creditledger.adapters.environment import digest_in, named_in
from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import system_clock
from creditledger.redemption.started_jobs import StartedJobs
from creditledger.redemption.voucher import VerifiedVoucher, Voucher, require_names_queue, require_open
from creditledger.transparency.bundle import BUNDLE_BYTES_MAX
from creditledger.transparency.trust_policy import TrustPolicy

KNOWN_MAX: Final = 1_024
WAITING_MAX: Final = 64
"""Vouchers waiting to be proved; further new ones are turned away until one is done."""


class VoucherDesk:
    """Says whether a voucher buys time here now.

    A proof costs a pairing, so it is made on another thread, once; until then a voucher buys nothing.
    Expiry and use are asked for again each time. Safe to use from several threads."""

    def __init__(
        self,
        policy: TrustPolicy,
        *,
        queue: bytes,
        is_spent: Callable[[bytes], bool],
        clock: Callable[[], int],
    ) -> None:
        """``queue``: this server's account, which vouchers must name. ``is_spent``: whether the hold with
        this digest has been used here, as the queue's own durable record says."""
        self._policy = policy
        self._queue = queue
        self._is_spent = is_spent
        self._clock = clock
        self._lock = Lock()
        self._known: OrderedDict[bytes, VerifiedVoucher | None] = OrderedDict()
        self._waiting: dict[bytes, Future[None]] = {}
        self._prover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="creditledger-vouchers")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "VoucherDesk":
        """The desk that ``CREDITLEDGER_POLICY`` (the pool's policy file), ``CREDITLEDGER_QUEUE`` (this
        server's account, 64 hex digits) and ``CREDITLEDGER_STARTED`` (the queue's set of started holds) name.

        Raises StorageError naming what is missing, and what reading the two files raises."""
        policy, started = (Path(named_in(environment, name)) for name in ("POLICY", "STARTED"))
        queue, holds = digest_in(environment, "QUEUE"), StartedJobs(started)
        return cls(
            TrustPolicy.load(policy),
            queue=queue,
            is_spent=lambda hold: holds.get(hold) is not None,
            clock=system_clock,
        )

    def admitted(self, encoded: object) -> VerifiedVoucher | None:
        """The voucher if it buys time here now; None for anything else. Never waits, raises nothing."""
        if not isinstance(encoded, bytes) or not 0 < len(encoded) <= BUNDLE_BYTES_MAX:
            return None
        name = sha256(encoded).digest()
        with self._lock:
            if name not in self._known:
                self._begin(name, encoded)
                return None
            self._known.move_to_end(name)
            voucher = self._known[name]
        return voucher if voucher is not None and self._is_good(voucher) else None

    def settle(self) -> None:
        """Wait until all vouchers shown so far are proved or turned away."""
        with self._lock:
            waiting = list(self._waiting.values())
        for proof in waiting:
            proof.result()

    def close(self) -> None:
        """End the thread, once it has finished what it is at."""
        self._prover.shutdown(cancel_futures=True)

    def _begin(self, name: bytes, encoded: bytes) -> None:
        if name not in self._waiting and len(self._waiting) < WAITING_MAX:
            self._waiting[name] = self._prover.submit(self._prove, name, encoded)

    def _prove(self, name: bytes, encoded: bytes) -> None:
        found: VerifiedVoucher | None = None
        try:
            found = Voucher.load(encoded).prove(self._policy)
            require_names_queue(found, self._queue)
        except CreditLedgerError:
            found = None
        finally:
            with self._lock:
                self._waiting.pop(name, None)
                self._known[name] = found
                while len(self._known) > KNOWN_MAX:
                    self._known.popitem(last=False)

    def _is_good(self, voucher: VerifiedVoucher) -> bool:
        try:
            require_open(voucher, now_unix_ms=self._clock())
            return not self._is_spent(voucher.digest)
        except Exception:  # Whatever the queue's record does: no answer is no time.
            return False
