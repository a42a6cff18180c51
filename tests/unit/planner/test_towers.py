"""Encoders beside the text model: what config.json describes is counted, the rest is assumed."""

from typing import Any

import pytest

from xpullm.catalog import families
from xpullm.planner.fields import FactsError, Fields
from xpullm.planner.towers import tower_params

MILLION = 1_000_000

# transformers' gemma4 configuration: Gemma4VisionConfig and Gemma4AudioConfig of the small models.
SMALL_VISION = {
    "num_hidden_layers": 16,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "position_embedding_size": 10240,
}
AUDIO = {"num_hidden_layers": 12, "hidden_size": 1024}


def params(family: str, **config: Any) -> tuple[int, list[str]]:
    unsure: list[str] = []
    return tower_params(Fields(config, "config.json"), families()[family], unsure), unsure


def test_a_described_vision_tower() -> None:
    # 16 x (4 x 768^2 + 3 x 768 x 3072) + 2 x 10240 x 768; the model card says 150 million
    assert params("gemma4", vision_config=SMALL_VISION) == (166_723_584, [])


def test_an_audio_tower_comes_on_top() -> None:
    # 12 x 24 x 1024^2; the model card says 300 million
    with_audio, unsure = params("gemma4", vision_config=SMALL_VISION, audio_config=AUDIO)
    assert (with_audio, unsure) == (166_723_584 + 301_989_888, [])


def test_whisper_names_its_encoder_otherwise() -> None:
    # Qwen2-Audio: 32 x 12 x 1280^2; whisper-large's encoder has 635 million
    audio = {"encoder_layers": 32, "d_model": 1280}
    found, _ = params("qwen2", vision_config=SMALL_VISION, audio_config=audio)
    assert found - 166_723_584 == 629_145_600


@pytest.mark.parametrize(("family", "millions"), [("gemma3", 424), ("gemma4", 569)])
def test_what_is_not_described_is_assumed_and_said(family: str, millions: int) -> None:
    found, unsure = params(family)
    assert found == millions * MILLION
    assert unsure == [f"the vision tower isn't described; {millions} million parameters assumed"]


@pytest.mark.parametrize("audio", [None, {}, {"hidden_size": 1024}, {"num_hidden_layers": 12}])
def test_an_audio_tower_without_a_size_is_none(audio: Any) -> None:
    assert params("gemma4", vision_config=SMALL_VISION, audio_config=audio)[0] == 166_723_584


def test_absurd_sizes_name_their_field() -> None:
    with pytest.raises(FactsError, match="audio_config"):
        params("gemma4", audio_config={"num_hidden_layers": -1, "hidden_size": 1024})
