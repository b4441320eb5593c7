"""Hooks on real decoder models: cache, padding, batches, compilation. Source: specs/minting.md §8."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from creditledger.activations.bf16 import from_bf16_bits
from creditledger.activations.calibration import channel_exponents
from creditledger.activations.delivered import delivered_root
from creditledger.activations.distance import DEFAULT_RULE, compare_tensors
from creditledger.activations.row_format import rows_in
from creditledger.errors import ActivationError
from creditledger.minting.minter import Minter
from creditledger.minting.receipt_maker import MintedReceipt
from creditledger.minting.rows import host_rows
from creditledger.minting.session import Session
from creditledger.minting.torch_hook import _blocks
from creditledger.minting.window import Window
from creditledger.records.receipt import BF16_NUMERICS, Dtype
from creditledger.records.verdict import Outcome
from fakes.tiny_llama import SHAPE
from fakes.working_pool import WorkingPool

torch = pytest.importorskip("torch", reason="torch is not installed: hooks on real modules cannot run")
transformers = pytest.importorskip("transformers", reason="transformers, beside torch, is not installed")
pytestmark = pytest.mark.torch

VOCAB, PAD = 64, 0


def llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=SHAPE.hidden, intermediate_size=SHAPE.ff, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=PAD,
    )  # fmt: skip
    return _made(transformers.LlamaForCausalLM, config)


def gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=SHAPE.hidden, n_layer=4, n_head=4, n_positions=1024, pad_token_id=PAD,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return _made(transformers.GPT2LMHeadModel, config)


def _made(family: Any, config: Any) -> Any:
    torch.manual_seed(7)
    return family(config).to(torch.bfloat16).eval()


@pytest.fixture(params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ids(positions: int, seed: int = 0) -> Any:
    return torch.randint(3, VOCAB, (1, positions), generator=torch.Generator().manual_seed(seed))


class Recording:
    """A minter on layers 1 and 2, that keeps the windows it makes."""

    def __init__(self, pool: WorkingPool, model: Any) -> None:
        self.pool = pool
        self.minter: Minter = pool.minter(0)
        self.attachment = self.minter.attach(model, layers=range(1, 3))
        self.windows: dict[Session, list[Window]] = {}

    def session(self, tag: object = 0, positions: int = 1024) -> Session:
        session = self.minter.session(self.pool.work_order(self.pool.order(tag=tag, positions=positions), 0))
        keep = session._keep
        self.windows[session] = []

        def noticed(window: Window, minted: MintedReceipt) -> None:
            self.windows[session].append(window)
            keep(window, minted)

        session._keep = noticed
        return session

    def rows(self, session: Session) -> tuple[np.ndarray, np.ndarray]:
        """All inputs and outputs of a closed session, as bf16 bits."""
        assert session.receipts
        assert self.minter.failures == {}
        windows = self.windows[session]
        return np.concatenate([w.inputs for w in windows]), np.concatenate([w.outputs for w in windows])


def seen(model: Any, **inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """What enters layer 1 and leaves layer 2 in one plain forward, as the model itself tells."""
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    return bits(states[1][0]), bits(states[3][0])


def bits(rows: Any) -> np.ndarray:
    return rows_in(host_rows(rows.detach().contiguous()), Dtype.BF16)


def compared(claimed: np.ndarray, prefill: np.ndarray, inputs: np.ndarray, model: Any) -> Outcome:
    """The check itself: the claim against one float32 prefill, with the bf16 prefill as yardstick."""
    wide = model.float()
    blocks = wide.model.layers if hasattr(wide, "model") else wide.transformer.h
    stream = torch.from_numpy(from_bf16_bits(inputs))[None]
    more = {}
    if hasattr(wide, "model"):
        more["position_embeddings"] = wide.model.rotary_emb(stream, torch.arange(len(inputs))[None])
    with torch.no_grad():
        for block in blocks[1:3]:
            out = block(stream, **more)
            stream = out[0] if isinstance(out, tuple) else out
    reference = stream[0].numpy()
    exponents = channel_exponents(reference, least_positions=1)
    return compare_tensors(claimed, reference, prefill, inputs, exponents, rule=DEFAULT_RULE).outcome


def test_decoding_with_a_cache_gives_what_one_prefill_does(pool: WorkingPool, model: Any) -> None:
    """100 positions at once, then 160 one by one: within the check of one prefill of all 260."""
    recording, tokens = Recording(pool, model), ids(260)
    with recording.session() as session, recording.minter.rows({session: slice(0, 1)}), torch.no_grad():
        cache = model(tokens[:, :100], use_cache=True).past_key_values
        for position in range(100, 260):
            cache = model(tokens[:, position : position + 1], past_key_values=cache).past_key_values
    inputs, outputs = recording.rows(session)
    assert [receipt.positions for receipt in session.receipts] == [256, 4]
    recording.attachment.remove()
    expected = seen(model, input_ids=tokens)
    assert compared(outputs, expected[1], inputs, model) == Outcome.UPHELD
    wrong = outputs.copy()
    wrong[130:] = wrong[130:][::-1]
    assert compared(wrong, expected[1], inputs, model) == Outcome.REFUTED


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_never_enters_a_receipt(pool: WorkingPool, model: Any, side: str) -> None:
    """Two jobs of different lengths in one batch; each receipt has its own sequence's rows, no more."""
    recording = Recording(pool, model)
    short, long = ids(40, 1), ids(60, 2)
    padding, ones = torch.full((1, 20), PAD), torch.ones(1, 40, dtype=torch.long)
    parts = [padding, short] if side == "left" else [short, padding]
    flags = [torch.zeros_like(padding), ones] if side == "left" else [ones, torch.zeros_like(padding)]
    batch, mask = torch.cat([torch.cat(parts, 1), long]), torch.ones(2, 60, dtype=torch.long)
    mask[0] = torch.cat(flags, 1)
    first, second = recording.session("short"), recording.session("long")
    with first, second, recording.minter.rows({first: (0, mask[0]), second: (1, mask[1])}), torch.no_grad():
        states = model(batch, attention_mask=mask, output_hidden_states=True).hidden_states
    where = slice(20, 60) if side == "left" else slice(0, 40)
    for session, number, part in ((first, 0, where), (second, 1, slice(0, 60))):
        inputs, outputs = recording.rows(session)
        assert np.array_equal(inputs, bits(states[1][number, part]))
        assert np.array_equal(outputs, bits(states[3][number, part]))


@pytest.mark.parametrize("family", [llama, gpt2], ids=["llama", "gpt2"])
def test_generate_records_prompt_and_answer(pool: WorkingPool, family: Callable[[], Any]) -> None:
    """A left-padded batch of two jobs: the prompt's mask does for the tokens decoded after it."""
    model = family()
    recording = Recording(pool, model)
    batch = torch.cat([torch.cat([torch.full((1, 5), PAD), ids(15, 1)], 1), ids(20, 2)])
    mask = (batch != PAD).long()
    first, second = recording.session("first"), recording.session("second")
    with first, second, recording.minter.rows({first: (0, mask[0]), second: (1, mask[1])}):
        answer = model.generate(
            batch, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None
        )
    assert answer.shape == (2, 32)
    assert len(recording.rows(first)[0]) == 15 + 11
    assert len(recording.rows(second)[0]) == 20 + 11
    recording.attachment.remove()
    expected = seen(model, input_ids=answer[1:, :-1])
    distance = np.abs(from_bf16_bits(recording.rows(second)[1]) - from_bf16_bits(expected[1])).max()
    assert distance < 0.1


def test_hooks_leave_the_models_answers_alone(pool: WorkingPool, model: Any) -> None:
    """Bit for bit; also where everything in the hook fails, which is counted."""
    tokens = ids(50)
    with torch.no_grad():
        expected = model(tokens).logits
    recording = Recording(pool, model)
    with recording.session() as session, recording.minter.rows({session: (7, [1] * 50)}), torch.no_grad():
        assert torch.equal(model(tokens).logits, expected)
    assert recording.minter.failures
    assert session.receipts == []
    broken = Recording(pool, model)
    broken.minter._rows = None  # type: ignore[assignment]
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, expected)
    assert broken.minter.failures.get("AttributeError", 0) >= 1


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
def test_every_gradient_mode_gives_the_same_receipt(make_pool: Callable[..., WorkingPool], mode: str) -> None:
    roots: list[tuple[bytes, bytes]] = []
    for context in (torch.enable_grad, getattr(torch, mode, torch.enable_grad)):
        model = llama()
        recording = Recording(make_pool(), model)
        with recording.session() as session, recording.minter.rows({session: slice(0, 1)}), context():
            model(ids(64))
        roots += [(receipt.input_root, receipt.output_root) for receipt in session.receipts]
        assert recording.minter.failures == {}
    assert len(roots) == 2
    assert len(set(roots)) == 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_is_recorded_as_well(pool: WorkingPool, backend: str) -> None:
    """Attached before its first forward; the hooks stay out of the graph."""
    model = llama()
    expected = seen(model, input_ids=ids(64))
    recording = Recording(pool, model)
    hooks = [hook for block in model.model.layers for hook in block._forward_hooks.values()]
    assert sum(hasattr(hook, "_torchdynamo_orig_callable") for hook in hooks) == 1
    compiled = torch.compile(model, backend=backend)
    with recording.session() as session, recording.minter.rows({session: slice(0, 1)}), torch.no_grad():
        compiled(ids(64), use_cache=False)
    inputs, outputs = recording.rows(session)
    assert np.array_equal(inputs, expected[0])
    assert np.array_equal(outputs, expected[1])
    torch._dynamo.reset()


def test_removed_hooks_are_gone(pool: WorkingPool, model: Any) -> None:
    recording = Recording(pool, model)
    recording.attachment.remove()
    with recording.session() as session, recording.minter.rows({session: slice(0, 1)}), torch.no_grad():
        model(ids(32))
    assert session.receipts == []
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.modules())


@pytest.mark.parametrize("dtype", [Dtype.FP16, Dtype.FP32])
def test_other_formats_are_recorded_as_they_are(pool: WorkingPool, dtype: Dtype) -> None:
    model = llama().to({Dtype.FP16: torch.float16, Dtype.FP32: torch.float32}[dtype])
    minter = pool.minter(0, numerics=BF16_NUMERICS.replace(activations=dtype))
    minter.attach(model, layers=range(4))
    order = pool.work_order(pool.order(), 0)
    with minter.session(order) as session, minter.rows({session: slice(0, 1)}), torch.no_grad():
        states = model(ids(40), output_hidden_states=True).hidden_states
    (receipt,) = session.receipts
    assert minter.failures == {}
    assert receipt.input_root == delivered_root(
        states[0][0].numpy(), boundary_key=order.input_key, first_position=0
    )


def test_a_stack_is_found_in_any_module() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extra = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.ReLU()])
            self.trunk = torch.nn.Module()
            self.trunk.parts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))

    odd = Odd()
    assert _blocks(odd) == list(odd.trunk.parts)
    odd.trunk.others = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
    with pytest.raises(ActivationError, match="no one list"):
        _blocks(odd)
