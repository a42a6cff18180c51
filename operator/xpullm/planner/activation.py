"""Activation peak of the engine's profile run, and what a real load needs beyond it.

The peak is the largest of three moments, never their sum: the MLP of one layer, the attention of
one layer, and sampling. Terms are elements of `T = max_num_batched_tokens` rows, S =
min(max_num_seqs, T), U = S * V * 4 bytes (one fp32 logits matrix).
"""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.catalog import Accounting, Runtime, Sampler
from xpullm.planner.encoder import EncoderLoad
from xpullm.planner.facts import ModelFacts


@dataclass(frozen=True, slots=True)
class Activation:
    """Bytes on one rank. `peak` is in the engine's profile; `unit` is U."""

    peak: int
    mlp: int
    attention: int
    sampling: int
    experts: int
    latent: int
    encoder: int
    unit: int
    sampler: Sampler
    text: int
    mlp_row: int

    def with_encoder(self, encoder: EncoderLoad) -> int:
        """The peak of a step that also encodes items which the profile did not."""
        return _with_encoder(self.text, self.mlp_row, encoder) + self.experts


def sampler_for(facts: ModelFacts, accounting: Accounting) -> Sampler:
    """The sampler this model gets: the V2 runner takes dense models only, or those listed."""
    listed = facts.architecture in accounting.v2_architectures
    dense = accounting.v2_runner == "dense" and not facts.is_moe and not facts.is_hybrid
    return accounting.v2_sampler if listed or dense else accounting.sampler


def activation(
    facts: ModelFacts,
    accounting: Accounting,
    runtime: Runtime,
    *,
    tokens: int,
    sequences: int,
    max_model_len: int,
    tensor: int,
    block_size: int,
    element: int,
    quantized: bool,
    activations_8bit: bool,
    compiled: bool,
    speculative_tokens: int,
    encoder: EncoderLoad,
) -> Activation:
    """The peak for one batch shape."""
    h, rows = facts.hidden, min(sequences, tokens) * (1 + speculative_tokens)
    sampler = sampler_for(facts, accounting)
    unit = rows * facts.vocab * 4
    experts = expert_workspace(facts, tokens, tensor, element) if facts.is_moe else 0
    latent = latent_workspace(facts, max_model_len, sequences, block_size) if facts.is_mla else 0
    mlp = tokens * _mlp_elements(facts, tensor, activations_8bit) * element
    attention = tokens * _attention_elements(facts, tensor) * element
    # Logits come in the model's own type: half a unit for 16 bit, a whole one for float32.
    units = sampler.profile_units + (0.5 if element == 4 else 0.0)
    head = int(units * unit) + (tokens + rows) * h * element
    library = runtime.gemm_workspace_bytes
    forward = max(mlp, attention + latent) + (0 if quantized else library)
    forward += runtime.compile_bytes if compiled else 0
    text = max(forward, head + library)
    row = _mlp_elements(facts, tensor, activations_8bit) * element
    seen = _with_encoder(text, row, encoder)
    encoding = encoder.working + encoder.rows * row if encoder.working else 0
    return Activation(
        seen + experts, mlp, attention, head, experts, latent, encoding, unit, sampler, text, row
    )


def _with_encoder(text: int, row: int, encoder: EncoderLoad) -> int:
    """Encoding with the rows that its item becomes, or the text model beside what is kept."""
    return max(text + encoder.kept, encoder.working + encoder.rows * row)


def _mlp_elements(facts: ModelFacts, tensor: int, activations_8bit: bool) -> int:
    """Elements per token at the dense MLP's worst moment: the gate and up outputs, their product,
    the residual and both ends of the layer; one more where the engine's MLP holds on to gate_up
    while it computes the down projection (vLLM model_executor/models/qwen2.py against llama.py)."""
    if facts.is_moe and not facts.intermediate:
        return 3 * facts.hidden
    width = facts.intermediate
    if facts.is_moe and facts.moe_layers == facts.layers:
        width = facts.shared_intermediate
    inner = -(-width // tensor) * (3 if facts.gated_mlp else 2)
    elements = inner + 3 * facts.hidden
    if facts.keeps_gate_up:
        elements += facts.hidden
        if activations_8bit:  # the quantized copy of the down projection's input
            elements += -(-width // tensor) // 2
    return elements


def _attention_elements(facts: ModelFacts, tensor: int) -> int:
    """Elements per token while attention runs: two residuals, q/k/v, normed q/k, the output."""
    if facts.is_mla:
        key = facts.nope_head_dim + facts.rope_head_dim
        heads = -(-facts.heads // tensor)
        latent = facts.kv_lora_rank + facts.rope_head_dim
        return 2 * facts.hidden + 2 * latent + heads * (key + facts.v_head_dim)
    queries = -(-facts.attention_width // tensor)
    keys = max(facts.head_dim, -(-facts.kv_width // tensor))
    if facts.output_gate:
        queries *= 2
    elements = 2 * facts.hidden + 2 * queries + 2 * keys
    if facts.qk_norm:
        elements += queries + keys
    if facts.mamba is not None:
        mixer = facts.mamba
        inside = mixer.projected(tensor) + 2 * mixer.convolved(tensor) + 2 * mixer.inner // tensor
        return max(elements, 2 * facts.hidden + inside)
    if facts.is_hybrid:
        linear = 2 * facts.linear_key_heads * facts.linear_key_dim
        linear += 2 * facts.linear_value_heads * facts.linear_value_dim
        elements = max(elements, 2 * facts.hidden + 3 * -(-linear // tensor))
    return elements


def expert_workspace(facts: ModelFacts, tokens: int, tensor: int, element: int) -> int:
    """Both workspaces and the output of the fused experts; they persist once grown (vLLM
    model_executor/layers/fused_moe TritonExperts.workspace_shapes, v1/worker/workspace.py)."""
    inner, h = -(-facts.expert_intermediate // tensor), facts.hidden
    chosen = facts.experts_per_token
    return tokens * (chosen * (max(inner, h) + max(2 * inner, h)) + h) * element


def latent_workspace(facts: ModelFacts, max_model_len: int, sequences: int, block_size: int) -> int:
    """Keys and values expanded from the latents of a chunk, which the profile run holds (vLLM
    model_executor/layers/attention/mla_attention.py determine_chunked_prefill_workspace_size)."""
    rows = max(
        min(max(8 * max_model_len, 4 * sequences * block_size), 65536), sequences * block_size
    )
    return rows * facts.heads * (facts.nope_head_dim + facts.v_head_dim) * 2


def graph_bytes(facts: ModelFacts, runtime: Runtime, sequences: int, pipeline: int) -> int:
    """Memory of captured graphs: every layer in every capture size up to min(2 S, 512)."""
    largest = min(2 * sequences, 512)
    sizes = 3 + largest // 8 if largest < 256 else 35 + (largest - 256) // 16
    return sizes * -(-facts.layers // pipeline) * runtime.graph_layer_bytes
