"""What the flags say of speculative decoding: which method, how many tokens, which draft model.

The forms are vLLM's (config/speculative.py SpeculativeConfig): `--speculative-config` with a JSON
object, its keys one by one (`--speculative-config.model`), and the flags that 0.6 has in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xpullm.catalog import find_model, models, nearest, quantizations
from xpullm.planner.facts import ModelFacts, parse_config

FLAG = "speculative-config"
# Draft from the text itself: no weights and no cache of their own.
_TEXT = ("ngram", "ngram_gpu", "suffix")
# vLLM 0.6 engine/arg_utils.py, and the key that each became.
_OLD_FLAGS = {
    "speculative-model": "model",
    "num-speculative-tokens": "num_speculative_tokens",
    "speculative-draft-tensor-parallel-size": "draft_tensor_parallel_size",
    "speculative-model-quantization": "quantization",
}
# Families whose checkpoints hold layers that predict further tokens (SpeculativeConfig
# hf_config_override).
_PREDICTING = (
    "deepseek_v3", "deepseek_v4", "glm_moe_dsa", "pangu_ultra_moe", "kimi_k3", "mimo", "glm4_moe",
    "glm_ocr", "ernie4_5_moe", "nemotron_h", "qwen3_next", "qwen3_5", "qwen4_exp", "bailing_hybrid",
    "exaone_moe", "exaone4_5", "longcat_flash", "step3p5", "hy_v3", "hy_v4", "inkling",
    "minimax_m3", "glm5_next", "dots3_note", "intern_s2_preview", "interns2_mobius",
)  # fmt: skip
_MOST_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding as asked for. `tokens` are drafted per step; 0: none.

    `draft` is the draft model (None: no model, or the layers of the target itself: `own_layer`).
    `predicts`: of the model only the layer that predicts further tokens is loaded. `quantization`
    is the draft's format as given, `tensor` its tensor-parallel size. `keeps_logits`: of every
    drafted token, to sample from the draft's own distribution. `problem` says why it can't
    be computed, with the way out; then nothing else counts.
    """

    tokens: int = 0
    draft: ModelFacts | None = None
    name: str = ""
    predicts: bool = False
    quantization: str = ""
    tensor: int | None = None
    kv_cache_dtype: str = ""
    any_vocabulary: bool = False
    keeps_logits: bool = False
    problem: str = ""

    @property
    def drafts(self) -> bool:
        """Needs weights and a share of the KV cache."""
        return self.predicts or self.draft is not None

    @property
    def own_layer(self) -> bool:
        """Drafts with a layer of the target's own checkpoint."""
        return self.predicts and self.draft is None


NONE = Speculation()


def speculation(extra: tuple[tuple[str, str | None], ...]) -> Speculation:
    """Reads the flags that are not among the planner's own."""
    if not any(n.startswith("speculative-") or n in _OLD_FLAGS for n, _ in extra):
        return NONE
    return _read(extra)


@lru_cache(maxsize=256)
def _read(extra: tuple[tuple[str, str | None], ...]) -> Speculation:
    config: dict[str, Any] = {}
    for name, value in extra:
        if name == FLAG:
            try:
                given = json.loads(value or "")
            except (ValueError, RecursionError):
                given = None
            if not isinstance(given, dict):
                return Speculation(problem=_not_an_object(value))
            config.update(given)
        elif name.startswith(f"{FLAG}."):
            config[name.removeprefix(f"{FLAG}.").replace("-", "_")] = _value(value)
        elif name in _OLD_FLAGS:
            config[_OLD_FLAGS[name]] = _value(value)
    return _checked(config) if config else NONE


def _not_an_object(value: str | None) -> str:
    return (
        f"{(value or '')[:60]!r} must be a JSON object with method or model and"
        ' num_speculative_tokens, like {"method": "ngram", "num_speculative_tokens": 3}'
    )


def _value(text: str | None) -> Any:
    """As vLLM reads one key: JSON where it is, else the text (utils/argparse_utils.py)."""
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return text


def _checked(config: Mapping[str, Any]) -> Speculation:
    method, name = str(config.get("method") or ""), config.get("model")
    if name is not None and not isinstance(name, str):
        return Speculation(problem=f"model {name!r:.60} must be the id of a model")
    if name in ("ngram", "[ngram]"):
        method, name = "ngram", None
    predicts = method == "mtp" or method.endswith("_mtp")
    tokens = config.get("num_speculative_tokens")
    if tokens is None and (predicts or method == "suffix"):
        tokens = 1 if predicts else 24  # n_predict; suffix_decoding_max_tree_depth
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens <= _MOST_TOKENS:
        shown = "is missing; set it" if tokens is None else f"{tokens!r:.40} must be a whole number"
        return Speculation(problem=f"num_speculative_tokens {shown}, 1 to {_MOST_TOKENS}")
    if method in _TEXT:
        return Speculation(tokens)
    if name is None:
        if predicts:
            return Speculation(tokens, predicts=True, keeps_logits=_keeps_logits(config))
        return Speculation(
            problem=f"method {method or 'draft_model'!r:.40} needs model, the id of its draft"
            " model; or use method ngram, which has none"
        )
    entry = find_model(name)
    if entry is None:
        near = ", ".join(nearest(name, models()))
        return Speculation(
            problem=f"draft model {name[:80]!r} isn't in the catalogue, so its memory is unknown;"
            f" use a model of it (nearest: {near}), or method ngram, which has none"
        )
    draft = parse_config(entry["config"])
    tensor, form = config.get("draft_tensor_parallel_size"), config.get("quantization")
    if tensor is not None and (isinstance(tensor, bool) or not isinstance(tensor, int)):
        return Speculation(problem=f"draft_tensor_parallel_size {tensor!r:.40} must be a number")
    stored = draft.stored.name if draft.stored else ""
    known = quantizations()
    if form and form != stored and (form not in known or known[form].methods):
        online = ", ".join(n for n in known if not known[n].methods)
        return Speculation(
            problem=f"quantization {form!r:.40} isn't one that {name[:80]} can be loaded in; leave"
            f" it out, or use one of {online}"
        )
    dtype = config.get("kv_cache_dtype")
    return Speculation(
        tokens,
        draft,
        name,
        predicts or is_predicting(draft),
        str(form or ""),
        tensor,
        dtype if isinstance(dtype, str) else "",
        config.get("use_heterogeneous_vocab") is True,
        _keeps_logits(config),
        "" if not draft.is_hybrid or is_predicting(draft) else _keeps_states(name),
    )


def _keeps_logits(config: Mapping[str, Any]) -> bool:
    return config.get("draft_sample_method") == "probabilistic"


def _keeps_states(name: str) -> str:
    return (
        f"draft model {name[:80]!r} keeps states instead of keys and values, whose share of the KV"
        " cache is unknown; use one that doesn't, or method ngram"
    )


def is_predicting(facts: ModelFacts) -> bool:
    """Whether the checkpoint holds layers that predict further tokens."""
    return facts.model_type.startswith(_PREDICTING)


def contradiction(asked: Speculation, facts: ModelFacts, tensor: int) -> str:
    """What the engine refuses at once for this target; "" where there is nothing."""
    draft = asked.draft
    if asked.own_layer and not is_predicting(facts):
        return (
            f"speculative-config: method mtp needs layers that predict further tokens, which"
            f" {facts.model_type or 'this model'} has not; name a draft model, or use method ngram"
        )
    if draft is None or asked.predicts:
        return ""
    if draft.vocab != facts.vocab and not asked.any_vocabulary:
        return (
            f"speculative-config: the vocabulary of {asked.name} ({draft.vocab}) is not the"
            f" target's ({facts.vocab}); use a draft model of the same family"
        )
    size = asked.tensor or tensor
    if size not in (1, tensor):
        return (
            f"speculative-config: draft_tensor_parallel_size {size} must be 1 or"
            f" tensor-parallel-size {tensor}"
        )
    if draft.heads % size:
        return (
            f"speculative-config: {draft.heads} attention heads of {asked.name} are not divisible"
            f" by {size} ranks; set draft_tensor_parallel_size to 1"
        )
    return ""
