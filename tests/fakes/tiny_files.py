"""The tiny model as files that any process loads."""

from pathlib import Path

from creditledger.activations.bf16 import from_bf16_bits
from fakes.tiny_llama import SHAPE, tensors_of
from unit.activations.test_runner_model_files import write_safetensors_folder


def tiny_llama_files(folder: Path) -> Path:
    """The weights of `fakes.tiny_llama.tiny_llama`, and so its digest, as a folder of safetensors."""
    return write_safetensors_folder(
        folder,
        {name: from_bf16_bits(bits) for name, bits in tensors_of(SHAPE)},
        num_hidden_layers=SHAPE.layers,
        hidden_size=SHAPE.hidden,
        intermediate_size=SHAPE.ff,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        head_dim=SHAPE.head_dim,
        vocab_size=SHAPE.vocab,
        tie_word_embeddings=False,
    )
