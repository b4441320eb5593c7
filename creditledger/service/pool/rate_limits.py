"""How much each key, token and crowd may ask for: token buckets, and never a network address.

Source: specs/service.md §4."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from creditledger.errors import RateLimitError
from creditledger.ledger.clock import Clock
from creditledger.service.pool.gate_settings import Limits

MINUTE_MS: Final = 60_000
BURST_MIN: Final = 256
"""A bucket holds a minute's worth, and no less than one full request's."""
BUCKETS_MAX: Final = 65_536


class Share(Enum):
    """What kind of asker has a bucket of its own."""

    ACCOUNT = "submissions of this account"
    TOKEN = "requests of this token"
    ANONYMOUS = "requests of all readers without a token"
    STRANGERS = "submissions and requests of all strangers"


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose bucket it is."""

    share: Share
    id: bytes = b""
    """An account's or token's; empty for a crowd."""


@dataclass(slots=True)
class _Bucket:
    left: int
    """In 1/60,000 of a request."""
    seen_ms: int


class RateLimits:
    """All buckets of one server, in memory. For many threads."""

    __slots__ = ("_buckets", "_clock", "_lock", "_per_minute")

    def __init__(self, limits: Limits, *, clock: Clock) -> None:
        """``clock``: milliseconds; when it goes back, nothing is refilled."""
        self._per_minute = {
            Share.ACCOUNT: limits.submissions_per_minute,
            Share.TOKEN: limits.requests_per_minute,
            Share.ANONYMOUS: limits.anonymous_per_minute,
            Share.STRANGERS: limits.strangers_per_minute,
        }
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Asker, _Bucket] = OrderedDict()

    def take(self, *askers: Asker) -> None:
        """Take one from the bucket of each. Raises as `take_all`."""
        self.take_all(dict.fromkeys(askers, 1))

    def take_all(self, costs: Mapping[Asker, int]) -> None:
        """Take from each bucket what is asked, at most `BURST_MIN`, or from none of them.

        Raises RateLimitError with the seconds until there is enough."""
        now = self._clock()
        with self._lock:
            limited = {asker: cost for asker, cost in costs.items() if self._per_minute[asker.share]}
            buckets = {asker: self._refilled(asker, now) for asker in limited}
            for asker, cost in limited.items():
                missing = cost * MINUTE_MS - buckets[asker].left
                if missing > 0:
                    raise self._refusal(asker, missing)
            for asker, cost in limited.items():
                buckets[asker].left -= cost * MINUTE_MS

    def _refilled(self, asker: Asker, now: int) -> _Bucket:
        per_minute = self._per_minute[asker.share]
        most = max(BURST_MIN, per_minute) * MINUTE_MS
        bucket = self._buckets.get(asker)
        if bucket is None:
            bucket = self._buckets[asker] = _Bucket(most, now)
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(asker)
        bucket.left = min(most, bucket.left + max(0, now - bucket.seen_ms) * per_minute)
        bucket.seen_ms = now
        return bucket

    def _refusal(self, asker: Asker, missing: int) -> RateLimitError:
        per_minute = self._per_minute[asker.share]
        seconds = -(-missing // (per_minute * 1_000))
        return RateLimitError(
            "too much was asked for in too short a time",
            expected=f"{per_minute} a minute: {asker.share.value}",
            found=f"enough in {seconds} s",
            retry_after_s=seconds,
        )
