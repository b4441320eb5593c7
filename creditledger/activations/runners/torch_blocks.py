"""The same decoder layers as torch modules, so that forward hooks have something to hook.

Plain torch operations, rounding where the usual eager implementation rounds. Importing this module
imports torch; without torch that raises StorageError.
"""

from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.model import ModelDescription
from creditledger.activations.runners.layer_runner import require_span_inputs
from creditledger.activations.runners.weights import LayerWeights, LoadedModel
from creditledger.errors import ActivationError, StorageError

try:
    import torch
    from torch.nn import functional
except ImportError as missing:
    raise StorageError("torch modules need the package torch: pip install 'creditledger[torch]'") from missing

DTYPES: Final = ("bfloat16", "float16", "float32")
ATTENTIONS: Final = ("eager", "sdpa")

# torch comes untyped or typed depending on what is installed: its tensors are Any here.
Tensor = Any


def devices() -> tuple[str, ...]:
    """Where blocks can run on this machine: "cpu", and "cuda" if torch sees a GPU."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


class TorchBlock(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """One decoder layer: ``forward`` maps ``(..., T, hidden)`` for positions 0..T-1 to the same."""

    # Parameters by the names of `LayerWeights`; declared so that torch's own types do not widen.
    input_norm: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    post_attention_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor

    def __init__(self, model: ModelDescription, weights: LayerWeights, *, dtype: str, attention: str) -> None:
        super().__init__()
        self._shape = model.shape
        self._epsilon = model.rms_epsilon
        self._theta = model.rope_theta
        self._attention = attention
        for name in LayerWeights.__slots__:
            values = torch.from_numpy(getattr(weights, name).copy()).to(getattr(torch, dtype))
            self.register_parameter(name, torch.nn.Parameter(values, requires_grad=False))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self._attend(self._norm(hidden, self.input_norm))
        normed = self._norm(hidden, self.post_attention_norm)
        gated = functional.silu(functional.linear(normed, self.gate))
        return hidden + functional.linear(gated * functional.linear(normed, self.up), self.down)

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        wide = hidden.float()
        mean_square = wide.pow(2).mean(-1, keepdim=True)
        return weight * (wide * torch.rsqrt(mean_square + self._epsilon)).to(hidden.dtype)

    def _attend(self, normed: Tensor) -> Tensor:
        shape = self._shape
        group = shape.heads // shape.kv_heads
        queries = self._turned(self._heads(normed, self.query))
        keys = self._turned(self._heads(normed, self.key)).repeat_interleave(group, -3)
        values = self._heads(normed, self.value).repeat_interleave(group, -3)
        if self._attention == "sdpa":
            context = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            context = self._eager(queries, keys, values)
        return functional.linear(context.transpose(-3, -2).flatten(-2), self.output)

    def _heads(self, normed: Tensor, weight: Tensor) -> Tensor:
        """``(..., T, hidden)`` to ``(..., heads, T, head_dim)``."""
        rows = functional.linear(normed, weight)
        return rows.reshape(*rows.shape[:-1], -1, self._shape.head_dim).transpose(-3, -2)

    def _eager(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        scores = queries @ keys.transpose(-1, -2) * self._shape.head_dim**-0.5
        length = scores.shape[-1]
        future = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
        return functional.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype) @ values

    def _turned(self, heads: Tensor) -> Tensor:
        half, length = heads.shape[-1] // 2, heads.shape[-2]
        exponents = torch.arange(half, dtype=torch.float32, device=heads.device) / half
        positions = torch.arange(length, dtype=torch.float32, device=heads.device)
        angles = torch.outer(positions, 1.0 / self._theta**exponents)
        cosine, sine = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
        low, high = heads[..., :half], heads[..., half:]
        return torch.cat((low * cosine - high * sine, high * cosine + low * sine), dim=-1)


class TorchBlocks(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Layers ``[layer_start, layer_stop)`` of ``model`` in ``.layers``, one `TorchBlock` each.

    ``forward(hidden)``: torch tensor ``(..., T, hidden)`` of ``dtype``, the whole prefix; returns
    the span's output. ``dtype``: one of `DTYPES`; ``attention``: one of `ATTENTIONS`; ``device``: one of
    `devices()`. Raises ActivationError for others."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        layer_start: int,
        layer_stop: int,
        dtype: str = "bfloat16",
        attention: str = "eager",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        if dtype not in DTYPES or attention not in ATTENTIONS:
            raise ActivationError(
                "no such torch kernel",
                expected=f"dtype in {DTYPES}, attention in {ATTENTIONS}",
                found=f"{dtype[:40]}, {attention[:40]}",
            )
        if device not in devices():
            raise ActivationError("no such device here", expected=f"one of {devices()}", found=device[:40])
        self.model = model.description
        self.layer_start, self.layer_stop, self._dtype = layer_start, layer_stop, dtype
        self.layers = torch.nn.ModuleList(
            TorchBlock(model.description, model.layer(index), dtype=dtype, attention=attention)
            for index in range(layer_start, layer_stop)
        )
        self._device = device
        self.to(device)

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden

    def run(self, inputs: Float32Array) -> Float32Array:
        """The span's output for a numpy prefix: float32 ``(T, hidden)`` both ways.

        Raises ActivationError for unfit inputs."""
        start, stop = self.layer_start, self.layer_stop
        require_span_inputs(inputs, self.model.shape, layer_start=start, layer_stop=stop)
        with torch.inference_mode():
            hidden = torch.from_numpy(np.ascontiguousarray(inputs))
            delivered = self(hidden.to(self._device, getattr(torch, self._dtype)))
            return np.asarray(delivered.float().cpu().numpy(), dtype=np.float32)
