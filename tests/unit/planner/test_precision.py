"""Every plan says what the next precision up would cost, where there is one."""

from typing import Any

import pytest
from tests.unit.planner.requests import planned

from xpullm.api.llmdeployment import LLMDeploymentSpec

B60 = {"type": "arc-pro-b60"}


def note(model: str | dict[str, Any], **fields: Any) -> str:
    given = {"model": {"id": model} if isinstance(model, str) else model, **fields}
    made = planned(LLMDeploymentSpec.model_validate(given))
    said = [n for n in made.notes if "higher precision" in n]
    assert len(said) <= 1
    return said[0] if said else ""


def gib_more(text: str) -> float:
    return float(text.split("weights take ")[1].split(" GiB")[0])


def test_on_another_number_of_tiles_the_weights_of_all_are_compared() -> None:
    said = note("Qwen/Qwen3-8B", quantization="fp8", gpu={"type": "max-1550", "count": 1})
    assert said.startswith("bf16 fits too")
    assert said.endswith(" GiB more in all, on 2 tiles")
    # 36 layers of 4096 x (4096 + 2 x 1024 + 4096 + 3 x 12288) weights, one byte more of each; not
    # of embedding and head.
    assert gib_more(said) == pytest.approx(6.47, abs=0.1)


@pytest.mark.parametrize("card", ["arc-pro-b60", "arc-b580"])
def test_of_a_4_bit_checkpoint_it_is_the_unquantized_models(card: str) -> None:
    said = note("Qwen/Qwen3-8B-AWQ", gpu={"type": card, "count": 1})
    assert said.startswith("fp8 of Qwen/Qwen3-8B fits too")
    assert gib_more(said) > 3


def test_an_original_that_is_not_known_is_not_named() -> None:
    facts = {
        "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "vocab_size": 151936,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 12288, "max_position_embeddings": 40960, "torch_dtype": "float16",
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    }  # fmt: skip
    said = note({"id": "acme/own-GPTQ", "facts": facts}, gpu=B60)
    assert said.startswith("fp8 of the unquantized checkpoint, where one is published, fits too")


def test_where_it_needs_more_cards_it_says_how_many() -> None:
    said = note("Qwen/Qwen3-32B", quantization="fp8", gpu=B60)
    assert said.startswith("bf16 is of higher precision and needs 4 cards: context ")
    assert said.endswith(" GiB more in all, on 4 cards")
    assert gib_more(said) == pytest.approx(29.1, abs=1)


def test_where_no_number_of_cards_is_enough_it_says_so() -> None:
    said = note("deepseek-ai/DeepSeek-R1", gpu={"type": "max-1550", "count": 8})
    assert said == "nothing of higher precision than fp8-checkpoint fits up to 8 x max-1550"


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/gpt-oss-20b"])
def test_nothing_is_above_16_bit_or_what_is_only_published_so(model: str) -> None:
    assert note(model, gpu={**B60, "count": 1}) == ""
