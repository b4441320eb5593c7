"""Forward hooks see what enters and leaves a span, and never change it. Source: specs/minting.md §8."""

from types import SimpleNamespace
from typing import Any

import pytest

from creditledger.errors import ActivationError
from creditledger.minting.failures import FailureCount
from creditledger.minting.rows import DeviceRows, host_rows, own_rows
from creditledger.minting.torch_hook import attach_hooks
from fakes.tiny_llama import SHAPE
from fakes.working_pool import WorkingPool

torch = pytest.importorskip("torch", reason="torch is not installed: hooks on real modules cannot run")
pytestmark = pytest.mark.torch


class Block(torch.nn.Module):
    """Adds its number; ``style`` says how it returns its stream."""

    def __init__(self, number: int, style: str = "tuple") -> None:
        super().__init__()
        self.number = number
        self.style = style

    def forward(self, hidden_states: Any, mask: Any = None) -> Any:
        added = (hidden_states.float() + self.number).to(hidden_states.dtype)
        if self.style == "in place":
            hidden_states.copy_(added)
            return hidden_states
        return (added, mask) if self.style == "tuple" else added


class Decoder(torch.nn.Module):
    """Four blocks under ``layers``, called as ``style`` says."""

    def __init__(self, style: str = "tuple", *, by_name: bool = False) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Block(number, style) for number in range(4))
        self.by_name = by_name

    def forward(self, stream: Any) -> Any:
        for layer in self.layers:
            out = layer(hidden_states=stream) if self.by_name else layer(stream)
            stream = out[0] if isinstance(out, tuple) else out
        return stream


def stream(positions: int, batch: int = 1, dtype: Any = torch.bfloat16) -> Any:
    torch.manual_seed(3)
    return torch.randn(batch, positions, SHAPE.hidden).to(dtype)


def session_of(pool: WorkingPool, minter: Any, *, tag: object = 0, positions: int = 256) -> Any:
    return minter.session(pool.work_order(pool.order(tag=tag, positions=positions), 0))


def recorded(pool: WorkingPool, tensor: Any) -> Any:
    """The receipt of the rows handed over by hand: what the hooks must come to as well."""
    minter = pool.minter(0)
    with session_of(pool, minter, positions=len(tensor)) as session:
        outputs = ((tensor.float() + 0).to(tensor.dtype).float() + 1).to(tensor.dtype)
        session.record(inputs=tensor, outputs=outputs, positions=range(len(tensor)))
    return session.receipts


def roots(receipts: list[Any]) -> list[tuple[bytes, bytes]]:
    return [(receipt.input_root, receipt.output_root) for receipt in receipts]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("style", ["tuple", "plain", "in place"])
def test_hooks_give_the_receipts_of_rows_handed_over(make_pool: Any, style: str, by_name: bool) -> None:
    """Tuple or not, by name or not, in place or not; the model's own result is untouched."""
    pool, rows = make_pool(), stream(256)
    expected = Decoder(style)(rows.clone())
    model, minter = Decoder(style, by_name=by_name), pool.minter(0)
    attachment = minter.attach(model, layers=range(2))
    with session_of(pool, minter) as session, minter.rows({session: slice(0, 1)}):
        assert torch.equal(model(rows.clone()), expected)
    assert minter.failures == {}
    assert roots(session.receipts) == roots(recorded(make_pool(), rows[0]))
    attachment.remove()


def test_positions_follow_over_prefill_and_decode(make_pool: Any) -> None:
    """One forward of 250 positions, then single tokens: the same receipts as in one piece."""
    pool, rows = make_pool(), stream(300)
    model, minter = Decoder(), pool.minter(0)
    minter.attach(model, layers=range(2))
    with session_of(pool, minter, positions=300) as session, minter.rows({session: slice(0, 1)}):
        model(rows[:, :250].clone())
        for position in range(250, 300):
            model(rows[:, position : position + 1].clone())
    assert minter.failures == {}
    assert roots(session.receipts) == roots(recorded(make_pool(), rows[0]))


def test_sessions_share_a_forward(make_pool: Any) -> None:
    """Continuous batching: each sequence of the batch belongs to its own job."""
    pool, rows = make_pool(), stream(256, batch=3)
    model, minter = Decoder(), pool.minter(0)
    minter.attach(model, layers=range(2))
    first, second = session_of(pool, minter, tag=0), session_of(pool, minter, tag=1)
    with first, second, minter.rows({first: slice(0, 1), second: slice(2, 3)}):
        model(rows.clone())
    assert minter.failures == {}
    assert roots(first.receipts) == roots(recorded(make_pool(), rows[0]))
    assert first.receipts[0].output_root != second.receipts[0].output_root


def test_packed_positions_are_selected_by_their_slice(make_pool: Any) -> None:
    """A stream of (positions, hidden), as servers pack it."""
    pool, rows = make_pool(), stream(256, batch=2)
    model, minter = Decoder(), pool.minter(0)
    minter.attach(model, layers=range(2))
    packed = rows.reshape(512, SHAPE.hidden)
    with session_of(pool, minter) as session, minter.rows({session: slice(256, 512)}):
        model(packed.clone())
    assert roots(session.receipts) == roots(recorded(make_pool(), rows[1]))


def test_float32_streams_of_bf16_values_are_taken(make_pool: Any) -> None:
    pool, rows = make_pool(), stream(256)
    minter, model = pool.minter(0), Decoder("plain")
    minter.attach(torch.nn.ModuleList(model.layers), layers=range(1))
    with session_of(pool, minter) as session, minter.rows({session: slice(0, 1)}):
        model(rows.float())
    assert len(session.receipts) == 1


def test_rows_on_a_device_are_read_once_they_are_there() -> None:
    """Not before the event behind the copy: another stream's queue says nothing about ours."""
    waited: list[int] = []
    event = SimpleNamespace(synchronize=lambda: waited.append(1))
    rows = stream(4)[0]
    bits = host_rows(DeviceRows(rows, event))
    assert waited == [1]
    assert (bits == rows.view(torch.int16).numpy().view("uint16")).all()
    assert len(DeviceRows(rows, event)) == 4
    assert DeviceRows(rows, event).nbytes == 4 * SHAPE.hidden * 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: streams cannot be tried")
def test_rows_made_on_another_stream_are_whole() -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        source = torch.randn(4096, 4096, device="cuda")
        made = (source @ source).bfloat16()[:256].contiguous()
        owned = own_rows(made)
        made.zero_()
    assert host_rows(owned).any()


def test_a_removed_hook_sees_nothing(pool: WorkingPool) -> None:
    model, minter = Decoder(), pool.minter(0)
    attachment = minter.attach(model, layers=range(2))
    attachment.remove()
    attachment.remove()
    with session_of(pool, minter) as session, minter.rows({session: slice(0, 1)}):
        model(stream(256))
    assert session.receipts == []
    assert minter.failures == {}


def test_outside_of_rows_nothing_is_recorded(pool: WorkingPool) -> None:
    model, minter = Decoder(), pool.minter(0)
    minter.attach(model, layers=range(2))
    with session_of(pool, minter) as session:
        model(stream(256))
    assert session.receipts == []
    assert minter.failures == {}


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [(slice(0, 2), torch.bfloat16), (slice(5, 6), torch.bfloat16), (slice(0, 1), torch.float16)],
    ids=["two sequences", "no such sequence", "float16"],
)
def test_what_fails_in_a_hook_never_reaches_the_model(pool: WorkingPool, rows: slice, dtype: Any) -> None:
    model, minter = Decoder(), pool.minter(0)
    minter.attach(model, layers=range(2))
    expected = Decoder()(stream(256, batch=2, dtype=dtype))
    with session_of(pool, minter) as session, minter.rows({session: rows}):
        assert torch.equal(model(stream(256, batch=2, dtype=dtype)), expected)
    assert session.receipts == []
    assert minter.failures["ActivationError"] >= 1


@pytest.mark.parametrize("nesting", ["layers", "model.layers", "a list"])
def test_blocks_are_found(nesting: str) -> None:
    decoder = Decoder()
    model = {
        "layers": decoder,
        "model.layers": SimpleNamespace(model=decoder),
        "a list": list(decoder.layers),
    }[nesting]
    seen: list[str] = []
    attach_hooks(model, range(1, 3), take=lambda stage, *_: seen.append(stage), failures=FailureCount())
    decoder(stream(2))
    assert seen == ["inputs", "outputs"]


@pytest.mark.parametrize(
    ("model", "layers"),
    [(Decoder(), range(3, 5)), (Decoder(), range(0)), (Decoder(), range(0, 4, 2)), (object(), range(1))],
)
def test_a_model_without_these_blocks_is_refused(model: object, layers: range) -> None:
    with pytest.raises(ActivationError):
        attach_hooks(model, layers, take=lambda *_: None, failures=FailureCount())
