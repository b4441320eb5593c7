"""What was made of the ledger's state, kept for whoever asks next. Source: specs/service.md §9."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from creditledger.ledger.clock import Clock

KEPT_MAX: Final = 256
"""Things kept at most; the longest unused goes first."""
REST: Final = 8
"""For so many times as long as making it took, a thing is believed although the log has grown: whoever
asks again and again has the server work a ninth of the time at most."""

T = TypeVar("T")


class Shelf:
    """Things under keys, each made once for a version however many ask. Safe to use from several threads."""

    def __init__(self, *, elapsed: Clock, kept_max: int = KEPT_MAX) -> None:
        """``elapsed``: milliseconds that nobody sets."""
        self._elapsed = elapsed
        self._kept_max = kept_max
        self._turn = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, or gave for this version; for an older one, if that was made just now or
        somebody is making the new one. Raises what ``make`` raises, and keeps nothing of it."""
        with self._turn:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._kept_max:
                self._slots.popitem(last=False)
            if slot.is_made and (slot.making or self._is_good(slot, version)):
                return slot.value  # type: ignore[no-any-return]
            awaited = slot.making
            if awaited is None:
                slot.making = Future()
        if awaited is not None:
            return awaited.result()  # type: ignore[no-any-return]
        return self._make(key, slot, version, make)

    def _is_good(self, slot: "_Slot", version: Hashable) -> bool:
        return slot.version == version or self._elapsed() < slot.rests_until_ms

    def _make(self, key: Hashable, slot: "_Slot", version: Hashable, make: Callable[[], T]) -> T:
        began, making = self._elapsed(), slot.making
        assert making is not None
        try:
            value = make()
        except BaseException as error:
            with self._turn:
                slot.making = None
                if not slot.is_made:
                    self._slots.pop(key, None)
            making.set_exception(error)
            raise
        ended = self._elapsed()
        with self._turn:
            slot.value, slot.version, slot.is_made = value, version, True
            slot.rests_until_ms = ended + REST * (ended - began)
            slot.making = None
        making.set_result(value)
        return value


class _Slot:
    __slots__ = ("is_made", "making", "rests_until_ms", "value", "version")

    def __init__(self) -> None:
        self.is_made = False
        self.making: Future[Any] | None = None
        self.rests_until_ms = 0
        self.value: Any = None
        self.version: Hashable = None
