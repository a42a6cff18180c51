"""Mamba2 layers of hybrid models: geometry, state of a sequence, and the memory of a scan.

vLLM model_executor/layers/mamba/mamba_mixer2.py (matrices), mamba_utils.py
MambaStateShapeCalculator.mamba2_state_shape and MambaStateDtypeCalculator (states),
ops/ssd_combined.py (scan).
"""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.planner.fields import FactsError, Fields

# Layers as hybrid_override_pattern (nemotron_h) and layers_block_type spell them.
_KINDS = {
    "M": "mamba", "*": "attention", "-": "mlp", "E": "moe", "mamba": "mamba", "mamba2": "mamba",
    "attention": "attention", "full_attention": "attention", "mlp": "mlp", "moe": "moe",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mamba:
    """One Mamba2 layer. `chunk` tokens are scanned at once; `state_bytes` per element of a state.
    `with_mlp`: the layer has an MLP of its own; `attention_with_mlp`: attention layers have one."""

    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    chunk: int
    state_bytes: int
    with_mlp: bool
    attention_with_mlp: bool

    @property
    def inner(self) -> int:
        """Features of all heads together."""
        return self.heads * self.head_dim

    def convolved(self, tensor: int) -> int:
        """Features of one rank that the convolution sees. Groups that can't be divided by the
        ranks are replicated."""
        groups = self.groups if self.groups % tensor == 0 else tensor
        return (self.inner + 2 * groups * self.state) // tensor

    def projected(self, tensor: int) -> int:
        """Outputs of in_proj on one rank: gate, what is convolved, and a step per head."""
        return (self.inner + self.heads) // tensor + self.convolved(tensor)

    def sequence_bytes(self, tensor: int) -> int:
        """State of one sequence in one layer: the recurrent one and the convolution's tail (in the
        model's 16-bit type)."""
        recurrent = self.inner // tensor * self.state * self.state_bytes
        return recurrent + self.convolved(tensor) * (self.kernel - 1) * 2

    def scan_bytes(self, tokens: int, sequences: int, tensor: int) -> int:
        """Float32 states of every chunk, and those a step's sequences begin and end with. The
        profile run doesn't scan."""
        states = -(-tokens // self.chunk) + 3 * min(sequences, tokens)
        return states * (self.inner // tensor) * self.state * 4


@dataclass(frozen=True, slots=True)
class MambaLayers:
    """How many layers of each kind a model has."""

    attention: int
    mamba: int
    mlp: int = 0
    moe: int = 0


def mamba_of(fields: Fields, layout: str, hidden: int, default_state: str) -> Mamba:
    """The layer from config.json, under the names of either convention. `layout`: "in-place" of
    attention, "beside" it, or layers "alone" with one mixer each. Raises FactsError."""
    heads = _needed(fields, "mamba_n_heads", "mamba_num_heads")
    given = fields.get("mamba_d_head")
    if given == "auto":
        inner = fields.optional("mamba_d_ssm") or (fields.optional("mamba_expand") or 2) * hidden
        head_dim = max(1, inner // heads)
    else:
        head_dim = _needed(fields, "mamba_d_head", "mamba_head_dim")
    dtype = str(fields.get("mamba_ssm_cache_dtype") or fields.get("mamba_ssm_dtype") or "auto")
    wide = (default_state if dtype == "auto" else dtype) == "float32"
    return Mamba(
        heads=heads,
        head_dim=head_dim,
        state=_needed(fields, "mamba_d_state", "ssm_state_size"),
        groups=fields.first("mamba_n_groups", "n_groups") or 1,
        kernel=fields.first("mamba_d_conv", "conv_kernel") or 4,
        chunk=fields.first("mamba_chunk_size", "chunk_size") or 256,
        state_bytes=4 if wide else 2,
        with_mlp=layout == "in-place",
        attention_with_mlp=layout != "alone",
    )


def _needed(fields: Fields, *names: str) -> int:
    if value := fields.first(*names):
        return value
    raise FactsError(names[0], None, "is missing; the state of a Mamba2 layer depends on it")


def mamba_layers(fields: Fields, layout: str, layers: int) -> MambaLayers:
    """Layers by kind. Raises FactsError where the config doesn't say which layers attend."""
    if layout == "beside":
        return MambaLayers(attention=layers, mamba=layers)
    indices = fields.get("attn_layer_indices")
    if isinstance(indices, (list, tuple)):
        attention = len({i for i in indices if isinstance(i, int) and 0 <= i < layers})
        return MambaLayers(attention=attention, mamba=layers - attention)
    for name in ("hybrid_override_pattern", "layers_block_type", "layer_types"):
        pattern = fields.get(name)
        if isinstance(pattern, (str, list, tuple)) and pattern:
            return _of_pattern(name, pattern, layers)
    raise FactsError(
        "layers_block_type",
        None,
        "is missing; it (or hybrid_override_pattern, attn_layer_indices) says which layers attend",
    )


def _of_pattern(name: str, pattern: str | list[object] | tuple[object, ...], n: int) -> MambaLayers:
    kinds = [_KINDS.get(str(kind)) for kind in pattern]
    if len(kinds) != n:
        raise FactsError(name, None, f"has {len(kinds)} layers, num_hidden_layers is {n}")
    if None in kinds:
        unknown = str(pattern[kinds.index(None)])
        raise FactsError(name, unknown, f"isn't a kind of layer; known are {', '.join(_KINDS)}")
    return MambaLayers(
        attention=kinds.count("attention"),
        mamba=kinds.count("mamba"),
        mlp=kinds.count("mlp"),
        moe=kinds.count("moe"),
    )
