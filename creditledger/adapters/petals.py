"""Petals: clients show vouchers, servers serve those first. Source: specs/redemption.md §4.

Petals 2.2.0.post1 foresees both ends, `SpendingPolicyBase` and `TaskPrioritizerBase`, but only a number
passes between them. The voucher therefore travels in the request's metadata, and the server's handler
presents the metadata in the one method that all its requests pass, ``_get_active_adapter``. The two base
classes are Petals' own, and tested against; `spend_with` and `presenting` touch
``RemoteSequenceManager`` and ``TransformerConnectionHandler``, which do not import beside today's
hivemind: of these the tests only check that the source still has the methods used here."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from creditledger.adapters.voucher_desk import VoucherDesk
from creditledger.errors import StorageError

METADATA_KEY: Final = "creditledger_voucher"
PAID_AHEAD: Final = 10.0
"""Taken off the priority of a paid task, where lower is sooner: ahead of all that Petals gives itself."""

_shown: ContextVar[object] = ContextVar("creditledger-petals-voucher", default=None)


def spending_policy(voucher: Callable[[], bytes | None]) -> Any:
    """A `SpendingPolicyBase`: one point while ``voucher()`` gives one to show, else none.

    Its ``request_metadata()`` is what goes along with a request. Raises StorageError without petals."""
    try:
        from petals.client.routing.spending_policy import SpendingPolicyBase
    except ImportError as missing:
        raise _without_petals() from missing

    class VoucherSpendingPolicy(SpendingPolicyBase):  # type: ignore[misc, unused-ignore]
        def get_points(self, protocol: str, *args: Any, **kwargs: Any) -> float:
            return 1.0 if voucher() is not None else 0.0

        def request_metadata(self) -> dict[str, bytes]:
            shown = voucher()
            return {} if shown is None else {METADATA_KEY: shown}

    return VoucherSpendingPolicy()


def spend_with(manager: Any, policy: Any) -> None:
    """Let ``manager``, a ``RemoteSequenceManager``, spend by ``policy``: its requests carry the voucher."""
    plain = manager.get_request_metadata

    def with_voucher(*args: Any, **kwargs: Any) -> Any:
        return (plain(*args, **kwargs) or {}) | policy.request_metadata()

    manager.policy = policy
    manager.get_request_metadata = with_voucher


def task_prioritizer(desk: VoucherDesk, plain: Any = None) -> Any:
    """A `TaskPrioritizerBase`: requests with a good voucher first, all others as ``plain`` says.

    ``plain``: None is Petals' own. Points are not believed: anyone can name a number.
    Raises StorageError without petals."""
    try:
        from petals.server.task_prioritizer import DummyTaskPrioritizer, TaskPrioritizerBase
    except ImportError as missing:
        raise _without_petals() from missing
    unpaid = plain or DummyTaskPrioritizer()

    class VoucherTaskPrioritizer(TaskPrioritizerBase):  # type: ignore[misc, unused-ignore]
        def prioritize(self, *input: Any, points: float = 0.0, **kwargs: Any) -> float:
            priority: float = unpaid.prioritize(*input, points=points, **kwargs)
            return priority if desk.admitted(_shown.get()) is None else priority - PAID_AHEAD

    return VoucherTaskPrioritizer()


def present(metadata: Mapping[str, Any]) -> None:
    """Note what a request shows, for the rest of its task. A request that shows nothing clears it."""
    _shown.set(metadata.get(METADATA_KEY))


def presenting(handler: type) -> type:
    """``handler`` (``TransformerConnectionHandler``) with every request's metadata presented."""

    def _get_active_adapter(self: Any, metadata: dict[str, Any]) -> Any:
        present(metadata)
        return handler._get_active_adapter(self, metadata)  # type: ignore[attr-defined]

    return type(f"Presenting{handler.__name__}", (handler,), {"_get_active_adapter": _get_active_adapter})


def _without_petals() -> StorageError:
    return StorageError("the Petals adapter needs the package petals: pip install petals")
