"""Petals' own two base classes, with vouchers. Source: specs/redemption.md §4.

``petals`` does not import beside today's hivemind, so its two modules are loaded by their paths; what
they import besides, torch for a type, is stubbed only where it is not installed."""

import ast
import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from creditledger.adapters import petals
from creditledger.adapters.voucher_desk import VoucherDesk
from creditledger.errors import StorageError
from unit.redemption.redeeming_pool import OTHER_QUEUE, QUEUE, RedeemingPool

COMMAND = "pip install --no-deps petals==2.2.0.post1"
MODULES = ("petals.client.routing.spending_policy", "petals.server.task_prioritizer")

try:
    SOURCES: Path | None = Path(str(metadata.distribution("petals").locate_file("")))
except metadata.PackageNotFoundError:
    SOURCES = None
with_petals = pytest.mark.skipif(SOURCES is None, reason=f"petals is not installed: {COMMAND}")


@pytest.fixture
def bases(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The two modules of the real package, importable under their names."""
    assert SOURCES is not None
    if importlib.util.find_spec("torch") is None:
        torch = ModuleType("torch")
        torch.Tensor = object  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torch", torch)
    for package in ("petals", "petals.client", "petals.client.routing", "petals.server"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    loaded = {}
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(name, SOURCES / (name.replace(".", "/") + ".py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        loaded[name] = module
    return loaded


@pytest.fixture
def desk(pool: RedeemingPool) -> Iterator[VoucherDesk]:
    spent: set[bytes] = set()
    made = VoucherDesk(pool.policy(), queue=QUEUE.public_key, is_spent=spent.__contains__, clock=pool.clock)
    made.spent = spent  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture(scope="module")
def voucher(pool: RedeemingPool) -> bytes:
    return pool.voucher()


class Manager:
    """As much of a ``RemoteSequenceManager`` as `spend_with` touches."""

    def get_request_metadata(self, protocol: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"points": self.policy.get_points(protocol, *args, **kwargs), "active_adapter": None}


@pytest.mark.petals
@with_petals
def test_a_client_shows_its_voucher_with_every_request(bases: dict[str, ModuleType], voucher: bytes) -> None:
    base = bases[MODULES[0]].SpendingPolicyBase
    purse: list[bytes] = []
    policy, manager = petals.spending_policy(lambda: purse[-1] if purse else None), Manager()
    assert isinstance(policy, base)
    petals.spend_with(manager, policy)
    assert manager.get_request_metadata("rpc_inference", ["block"]) == {"points": 0.0, "active_adapter": None}
    purse.append(voucher)
    shown = manager.get_request_metadata("rpc_inference", ["block"], peer_id="peer")
    assert shown == {"points": 1.0, "active_adapter": None, petals.METADATA_KEY: voucher}
    assert isinstance(shown["points"], float)


@pytest.mark.petals
@with_petals
def test_a_good_voucher_goes_first_and_nothing_else_does(
    bases: dict[str, ModuleType], desk: VoucherDesk, voucher: bytes, pool: RedeemingPool
) -> None:
    """Forged, spent, expired, foreign, or mere points: served as before."""
    prioritizer = petals.task_prioritizer(desk)
    assert isinstance(prioritizer, bases[MODULES[1]].TaskPrioritizerBase)
    plain = bases[MODULES[1]].DummyTaskPrioritizer()

    def gained(shown: dict[str, Any]) -> bool:
        async def request(kind: str) -> float:
            petals.present(shown)
            prioritizer.prioritize(object(), points=5.0, type=kind)
            await asyncio.get_running_loop().run_in_executor(None, desk.settle)
            return float(prioritizer.prioritize(object(), points=5.0, type=kind))

        found = [asyncio.run(request(kind)) for kind in ("inference", "forward")]
        usual = [plain.prioritize(object(), type=kind) for kind in ("inference", "forward")]
        assert found == usual or max(found) < min(usual)
        return found != usual

    assert gained({petals.METADATA_KEY: voucher})
    assert not gained({})
    assert not gained({"points": 1e9})
    assert not gained({petals.METADATA_KEY: voucher[:-1] + bytes([voucher[-1] ^ 1])})
    desk._queue, held = OTHER_QUEUE.public_key, desk._queue
    desk._known.clear()
    assert not gained({petals.METADATA_KEY: voucher})
    desk._queue = held
    desk._known.clear()
    assert gained({petals.METADATA_KEY: voucher})
    desk._clock = lambda: 2**50
    assert not gained({petals.METADATA_KEY: voucher})
    desk._clock = pool.clock
    found = desk.admitted(voucher)
    assert found is not None
    desk.spent.add(found.digest)
    assert not gained({petals.METADATA_KEY: voucher})


def test_each_request_has_its_own_voucher() -> None:
    """Two tasks of one event loop do not see each other's metadata."""

    class Handler:
        def _get_active_adapter(self, metadata: dict[str, Any]) -> str:
            return metadata.get("active_adapter", "")

        async def rpc_forward(self, metadata: dict[str, Any]) -> tuple[str, object]:
            adapter = self._get_active_adapter(metadata)
            await asyncio.sleep(0)
            return adapter, petals._shown.get()

    handler = petals.presenting(Handler)()

    async def both() -> list[tuple[str, object]]:
        paid = {petals.METADATA_KEY: b"one", "active_adapter": "a"}
        return list(await asyncio.gather(handler.rpc_forward(paid), handler.rpc_forward({})))

    assert asyncio.run(both()) == [("a", b"one"), ("", None)]

    async def one_after_the_other() -> list[tuple[str, object]]:
        return [await handler.rpc_forward({petals.METADATA_KEY: b"one"}), await handler.rpc_forward({})]

    assert asyncio.run(one_after_the_other()) == [("", b"one"), ("", None)]


@pytest.mark.petals
@with_petals
def test_the_source_still_has_what_is_touched_beyond_the_two_classes() -> None:
    """Every request handler passes its metadata through the one method that `presenting` overrides."""
    assert SOURCES is not None
    handler = _class(SOURCES / "petals/server/handler.py", "TransformerConnectionHandler")
    served = ("rpc_inference", "rpc_forward", "rpc_forward_stream", "rpc_backward", "rpc_backward_stream")
    for name in served:
        assert "self._get_active_adapter(metadata)" in ast.unparse(handler[name])
        assert "prioritizer=self._prioritizer" in ast.unparse(handler[name])
    manager = _class(SOURCES / "petals/client/routing/sequence_manager.py", "RemoteSequenceManager")
    assert "self.policy.get_points" in ast.unparse(manager["get_request_metadata"])


def _class(path: Path, name: str) -> dict[str, ast.AST]:
    found = next(
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return {
        node.name: node for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_without_petals_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "petals", None)
    with pytest.raises(StorageError, match="pip install petals"):
        petals.spending_policy(lambda: None)
    with pytest.raises(StorageError, match="pip install petals"):
        petals.task_prioritizer(None)  # type: ignore[arg-type]
