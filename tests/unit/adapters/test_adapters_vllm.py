"""What can be had of the vLLM adapter without vLLM. Source: specs/minting.md §8."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from creditledger.adapters.vllm import VoucherGate, entering, leaving, packed_rows
from creditledger.adapters.voucher_desk import VoucherDesk
from creditledger.errors import ActivationError, StorageError
from creditledger.minting.failures import FailureCount
from creditledger.minting.torch_hook import attach_hooks
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.started_jobs import StartedJobs
from unit.redemption.redeeming_pool import QUEUE, RedeemingPool


@pytest.fixture
def desk(pool: RedeemingPool) -> Iterator[VoucherDesk]:
    made = VoucherDesk(pool.policy(), queue=QUEUE.public_key, is_spent=lambda _: False, clock=pool.clock)
    yield made
    made.close()


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def status(desk: VoucherDesk, path: str, headers: list[tuple[bytes, bytes]], kind: str = "http") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    gate = VoucherGate(inner, desk=desk)
    asyncio.run(gate({"type": kind, "path": path, "headers": headers}, receive, send))
    desk.settle()
    return int(sent[0]["status"])


def test_the_gate_lets_a_good_voucher_pass(pool: RedeemingPool, desk: VoucherDesk) -> None:
    """At once 402, as it is being proved; then served."""
    good = [(b"Creditledger-Voucher", b64encode(pool.voucher()))]
    assert [status(desk, "/v1/completions", good) for _ in range(2)] == [402, 200]
    for headers in ([], [(b"creditledger-voucher", b"!")], good + good):
        assert [status(desk, "/v1/completions", headers) for _ in range(2)] == [402, 402]
    assert status(desk, "/health", []) == 200
    assert status(desk, "/v1/x", [], kind="websocket") == 200


def test_the_gate_is_configured_by_the_environment(
    pool: RedeemingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One flag of vLLM's names the class and nothing else. A hold that the queue has started buys no more."""
    environment = {"POLICY": str(pool.path / "policy"), "QUEUE": QUEUE.public_key.hex()}
    for name, value in environment.items():
        monkeypatch.setenv(f"CREDITLEDGER_{name}", value)
    with pytest.raises(StorageError):
        VoucherGate(inner)
    monkeypatch.setenv("CREDITLEDGER_STARTED", str(tmp_path / "started"))
    desk = VoucherGate(inner)._desk
    shown = pool.voucher()
    assert desk.admitted(shown) is None
    desk.settle()
    voucher = desk.admitted(shown)
    assert voucher is not None
    started = StartedJobs(tmp_path / "started")
    process = ProcessIdentity.own()
    started.claim(voucher.digest, voucher.hold, slots=[0], limit_ms=1, queue_process=process)
    assert desk.admitted(shown) is None
    started.close()
    desk.close()


def test_a_packed_batch_is_divided_by_its_bounds() -> None:
    assert packed_rows([0, 3, 3, 10], ["a", "b", None]) == {"a": slice(0, 3)}
    for bounds in ([0, 3], [0, 5, 3, 10]):
        with pytest.raises(ActivationError):
            packed_rows(bounds, ["a", "b", None])


@pytest.mark.torch
def test_blocks_that_pass_a_residual_on_are_hooked() -> None:
    """As vLLM's are called: ``(positions, hidden, residual)``; the stream is the sum."""
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Block(torch.nn.Module):
        def forward(self, positions: Any, hidden_states: Any, residual: Any) -> Any:
            stream = hidden_states if residual is None else hidden_states + residual
            return stream * 0.5, stream

    blocks = torch.nn.ModuleList(Block() for _ in range(3))
    seen: dict[str, Any] = {}
    failures = FailureCount()
    attach_hooks(
        blocks,
        range(1, 3),
        take=lambda stage, stream, _: seen.__setitem__(stage, stream),
        failures=failures,
        entering=entering,
        leaving=leaving,
    )
    hidden, residual = torch.ones(4, 8), None
    for block in blocks:
        hidden, residual = block(None, hidden_states=hidden, residual=residual)
    assert failures.last() == {}
    assert np.allclose(seen["inputs"].numpy(), 1.5)
    assert np.allclose(seen["outputs"].numpy(), 1.5**3)


def test_a_block_without_a_stream_is_refused() -> None:
    with pytest.raises(ActivationError):
        entering((None,), {})
    assert entering((None, 2), {}) == 2
    assert entering((None,), {"hidden_states": 2, "residual": 3}) == 5
    assert [leaving(output) for output in (4, (4,), (4, None), (4, 5))] == [4, 4, 4, 9]
