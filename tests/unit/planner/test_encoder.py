"""The encoder of a multimodal model: what it adds to the profile, and what switches do to it."""

from typing import Any

import pytest

from xpullm.catalog import find_engine, find_model, quantizations
from xpullm.planner import Arguments, Estimate, estimate, parse_config

GIB = 1 << 30
VL3, VL7 = "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"


def answer(
    model: str,
    *extra: tuple[str, str | None],
    version: str = "0.25.0",
    gib: float = 80,
    platform: str = "xpu",
    **given: Any,
) -> Estimate:
    engine, entry = find_engine("vllm", version), find_model(model)
    assert engine is not None
    assert entry is not None
    arguments = Arguments(
        **{"max_model_len": 8192, "max_num_seqs": 4, "max_num_batched_tokens": 2048, **given},
        gpu_memory_utilization=0.9,
        extra=extra,
    )
    return estimate(
        parse_config(entry["config"]),
        quantizations()["bf16"],
        None,
        engine,
        arguments,
        platform=platform,
        visible_bytes=int(gib * GIB),
    )


def activation(model: str, *extra: tuple[str, str | None], **given: Any) -> float:
    ledger = answer(model, *extra, **given).ledger
    assert ledger is not None
    return ledger.activation_bytes / GIB


def test_one_image_costs_its_patches_and_the_rows_it_becomes() -> None:
    """Printed: 4.06 and 4.93 GiB. 16384 tokens of 4 patches; a patch has 3 hidden rows of 1280, 3
    inner rows of 3420 and 8 of 1176 pixels, 2 bytes each: 2.87 GiB. The MLP adds its rows."""
    tower = 16384 * 4 * (3 * 1280 + 3 * 3420 + 8 * 1176) * 2 / GIB
    assert tower == pytest.approx(2.870, abs=0.001)
    for model, hidden, inner, seen in ((VL3, 2048, 11008, 4.06), (VL7, 3584, 18944, 4.93)):
        text = 16384 * (3 * hidden + 3 * inner) * 2 / GIB
        assert activation(model) == pytest.approx(tower + text, rel=0.025)
        assert seen <= activation(model) <= seen * 1.03


def test_v0_encodes_every_image_of_a_prompt() -> None:
    """Printed with six images of a 7B: 17.23 GiB."""
    six = ("limit-mm-per-prompt", '{"image": 6}')
    old: dict[str, Any] = {"version": "0.8.3", "max_num_batched_tokens": 8192}
    assert 17.23 <= activation(VL7, six, **old) <= 17.23 + 2.2
    for five in (
        ("limit-mm-per-prompt", '{"image": 5}'),
        ("limit-mm-per-prompt", "image=5"),
        ("limit-mm-per-prompt", '{"image": {"count": 5}}'),
        ("limit-mm-per-prompt.image", "5"),
    ):
        more = activation(VL7, five, **old) - activation(VL7, **old)
        assert more == pytest.approx(4 * 16384 * 184 * 1024 / GIB)


def test_v1_encodes_what_its_budget_holds() -> None:
    """One image of 16384 tokens is above the batch: five of them take turns."""
    assert activation(VL7, ("limit-mm-per-prompt", '{"image": 5}')) == activation(VL7)


@pytest.mark.parametrize(
    "off",
    [
        [("limit-mm-per-prompt", '{"image":0,"video":0}')],
        [("limit-mm-per-prompt.image", "0"), ("limit-mm-per-prompt.video", "0")],
        [("language-model-only", None)],
    ],
)
def test_an_encoder_that_is_off_costs_nothing(off: list[tuple[str, str | None]]) -> None:
    assert activation(VL7, *off) < 0.5


def test_images_off_leaves_videos_on() -> None:
    assert activation(VL7, ("limit-mm-per-prompt", '{"image":0}')) == activation(VL7)
    assert activation("google/gemma-3-4b-it", ("limit-mm-per-prompt", '{"image":0}')) < 0.9


def test_skipping_the_profile_moves_the_encoder_out_of_the_budget() -> None:
    seen, skipped = answer(VL7, gib=40), answer(VL7, ("skip-mm-profiling", None), gib=40)
    assert seen.ledger is not None
    assert skipped.ledger is not None
    moved = seen.ledger.activation_bytes - skipped.ledger.activation_bytes
    assert moved > 4 * GIB
    assert skipped.ledger.outside_bytes - seen.ledger.outside_bytes == moved
    assert skipped.ledger.kv_cache_bytes - seen.ledger.kv_cache_bytes == moved
    assert (seen.safe, skipped.starts, skipped.safe) == (True, True, False)


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        ("google/gemma-3-4b-it", 3.89),
        ("google/gemma-3-12b-it", 3.94),
        ("google/gemma-3-27b-it", 3.99),
    ],
)
def test_inputs_and_outputs_stay_while_the_text_model_runs(model: str, printed: float) -> None:
    """Printed by 0.19 on an H100: 32 images of 256 tokens, 1024 sequences."""
    shape: dict[str, Any] = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}
    shape["platform"] = "cuda"
    assert printed <= activation(model, version="0.19.1", **shape) <= printed * 1.05


def test_cross_attention_is_never_called_safe() -> None:
    """Printed by V0 for 128 sequences with an image each: 36.63 GiB."""
    shape: dict[str, Any] = {
        "max_num_seqs": 128,
        "max_model_len": 65536,
        "max_num_batched_tokens": 65536,
    }
    shape["platform"] = "cuda"
    seen = answer("meta-llama/Llama-3.2-11B-Vision", version="0.8.3", **shape)
    assert seen.ledger is not None
    assert 36.63 <= seen.ledger.activation_bytes / GIB <= 36.63 * 1.05
    assert (seen.starts, seen.safe) == (True, False)
    assert "cross attention" in seen.reason


def test_a_video_fills_the_context_unless_videos_are_off() -> None:
    """14 frames of the largest image at most, two to a token: 7 x 16384 tokens."""
    images_only = ("limit-mm-per-prompt.video", "0")
    for context, images in ((8192, 1), (32768, 2), (65536, 4), (128000, 7)):
        more = activation(VL7, max_model_len=context) - activation(
            VL7, images_only, max_model_len=context
        )
        assert more == pytest.approx((images - 1) * 16384 * 184 * 1024 / GIB)
