"""--hf-overrides: changes the config that the engine reads, so that it must not change what a plan
counts (vLLM config/model.py, transformers_utils/config.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from xpullm.planner.facts import ModelFacts
from xpullm.planner.request import UserArguments
from xpullm.planner.types import Refusal

_FLAG = "hf-overrides"
# Fields of config.json that facts hold as they are, and where.
_KNOWN = {
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate",
    "vocab_size": "vocab",
    "tie_word_embeddings": "tied",
    "max_position_embeddings": "max_position",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "n_routed_experts": "experts",
    "num_experts_per_tok": "experts_per_token",
    "moe_intermediate_size": "expert_intermediate",
    "kv_lora_rank": "kv_lora_rank",
    "sliding_window": "window",
}
# Fields from which facts are derived, or that choose another model.
_DERIVED = frozenset(
    {
        "architectures",
        "model_type",
        "quantization_config",
        "layer_types",
        "use_sliding_window",
        "vision_config",
        "audio_config",
        "first_k_dense_replace",
        "decoder_sparse_step",
        "n_shared_experts",
        "shared_expert_intermediate_size",
    }
)


def overrides_problem(user: UserArguments, facts: ModelFacts) -> Refusal | None:
    """An override of geometry that facts don't hold too, or one that isn't a JSON object."""
    for name, value in user.flags:
        base, _, path = name.partition(".")
        if base != _FLAG:
            continue
        read: object = _json(value or "")
        for key in reversed(path.split(".") if path else []):
            read = {key: read}
        if not isinstance(read, Mapping):
            return _refuse(name, value, "must be a JSON object")
        for key, wanted in _fields(read):
            if key in _KNOWN and wanted != getattr(facts, _KNOWN[key]):
                said = f"changes {key}, which the plan counts with; use spec.model.facts to say it"
                return _refuse(name, value, f"{said} too")
            if key in _DERIVED:
                return _refuse(
                    name, value, f"changes {key}, which no plan can follow; leave it out"
                )
    return None


def _json(text: str) -> object:
    """A value as JSON, else the text itself (`--hf-overrides.model_type qwen2`)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _fields(read: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in read.items():
        if key == "text_config" and isinstance(value, Mapping):
            yield from _fields(value)
        else:
            yield key, value


def _refuse(name: str, value: str | None, problem: str) -> Refusal:
    shown = (value or "")[:80]
    said = f"--{name} {shown} {problem}"
    return Refusal("InvalidArgument", f"spec.engine.args[{name}]", shown, said)
