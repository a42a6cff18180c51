"""What a multimodal encoder needs beside the text model.

The profile run encodes the largest item as often as the budget allows, keeps inputs and outputs,
and then runs the text model (vLLM v1/worker/gpu_model_runner.py profile_run). V0 encodes within
the model's own forward, once per image that a prompt may have: 2.87 GiB per image of 16384 tokens
and the MLP over its rows are what Qwen2.5-VL-3B (4.06 GiB), 7B (4.93) and a 7B with six images
(17.23) printed. The sum is taken for all engines; it is the safe side where encoding comes first.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from xpullm.planner.target import Target
from xpullm.planner.types import Arguments

_MODALITIES = ("image", "video", "audio")


@dataclass(frozen=True, slots=True)
class EncoderLoad:
    """`working` bytes while items are encoded, `kept` bytes of inputs and outputs held while the
    text model runs, `rows` of text that one item becomes. `profiled`: the engine's profile sees
    them; else they come on top at the first request."""

    working: int = 0
    kept: int = 0
    rows: int = 0
    profiled: bool = True


NONE = EncoderLoad()


def encoder_load(target: Target, arguments: Arguments, tokens: int) -> EncoderLoad:
    """The encoder's share for these arguments; nothing where it is off or there is none."""
    facts = target.facts
    extra = dict(arguments.extra)
    if not facts.multimodal or switched_on(extra.get("language-model-only", "false")):
        return NONE
    limits = item_limits(arguments)
    kinds = _MODALITIES[: 2 if facts.encoder_video else 1]
    if all(limits.get(kind) == 0 for kind in kinds):
        return NONE
    images = max((limits[kind] for kind in kinds if kind in limits), default=0)
    item = facts.encoder_item_tokens
    longest = item
    if facts.encoder_video > 1 and limits.get("video") != 0:
        # As many frames as the context holds (vLLM models/qwen2_vl.py get_max_video_tokens).
        longest *= max(1, min(facts.encoder_video, arguments.max_model_len // item))
    budget = max(tokens, longest)
    if target.accounting.prefill_follows_context:  # V0: every image of a prompt, in each sequence
        prompts = arguments.max_num_seqs if facts.encoder_each_sequence else 1
        budget = max(tokens, item * max(1, images) * prompts)
    elif images and item:  # v1/core/encoder_cache_manager.py: the budget bounds items of a step
        budget = min(budget, longest * max(1, images) * arguments.max_num_seqs)
    output = facts.hidden * target.form.element
    return EncoderLoad(
        working=budget * facts.encoder_token_bytes,
        kept=budget * (facts.encoder_input_bytes + output),
        rows=item,
        profiled=not switched_on(extra.get("skip-mm-profiling", "false")),
    )


def switched_on(value: str | None) -> bool:
    """Whether a flag with this value is on; a bare flag (None) is."""
    return value is None or value.casefold() not in ("false", "0")


def item_limits(arguments: Arguments) -> dict[str, int]:
    """--limit-mm-per-prompt by modality: as JSON, as image=2,video=0, or with dotted names."""
    limits: dict[str, int] = {}
    for name, value in arguments.extra:
        flag, _, modality = name.partition(".")
        if flag != "limit-mm-per-prompt" or not value:
            continue
        if modality:
            limits |= _counted({modality.partition(".")[0]: value})
        else:
            limits |= _counted(_parsed(value))
    return limits


def _parsed(text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return dict(re.findall(r"(\w+)\s*=\s*(\d+)", text))
    return values if isinstance(values, dict) else {}


def _counted(values: dict[str, object]) -> dict[str, int]:
    """Counts by modality; {"count": 2, ...} is the newer form of 2 (vLLM config/multimodal.py)."""
    counts: dict[str, int] = {}
    for name, value in values.items():
        number = value.get("count") if isinstance(value, dict) else value
        if isinstance(number, str) and number.isdigit():
            number = int(number)
        if isinstance(number, int) and number >= 0:
            counts[name] = min(number, 4096)
    return counts
