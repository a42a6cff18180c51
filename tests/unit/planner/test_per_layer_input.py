"""Models with a second embedding that has a slice for each layer (Gemma 3n, Gemma 4 E)."""

from __future__ import annotations

from xpullm.planner import parse_config
from xpullm.planner.weights import checkpoint_bytes

CONFIG = {
    "model_type": "gemma4_text", "hidden_size": 2304, "intermediate_size": 9216,
    "num_hidden_layers": 30, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "vocab_size": 262144, "max_position_embeddings": 131072,
}  # fmt: skip


def test_the_second_embedding_and_its_projections_are_counted() -> None:
    """As transformers builds it: embed_tokens_per_layer, per_layer_model_projection, and in each
    layer a gate, a projection and a norm."""
    plain = checkpoint_bytes(parse_config(CONFIG))
    more = checkpoint_bytes(parse_config(CONFIG | {"hidden_size_per_layer_input": 256})) - plain
    elements = 262144 * 30 * 256 + 2304 * 30 * 256 + 30 * (2304 * 256 + 256 * 2304 + 2304)
    assert more == 2 * elements


def test_a_vocabulary_of_its_own() -> None:
    small = {"hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 1000}
    more = checkpoint_bytes(parse_config(CONFIG | small)) - checkpoint_bytes(parse_config(CONFIG))
    assert more == 2 * (1000 * 30 * 256 + 2304 * 30 * 256 + 30 * (2 * 2304 * 256 + 2304))
