"""Parameters of the encoders beside the text model, from the sub-configs of config.json."""

from xpullm.catalog.types import Family
from xpullm.planner.fields import Fields


def tower_params(outer: Fields, family: Family, unsure: list[str]) -> int:
    """Parameters of the vision and audio towers together; what had to be assumed goes to `unsure`.

    Raises FactsError for counts that are no counts."""
    return _vision(outer, family, unsure) + _audio(outer, family)


def _vision(outer: Fields, family: Family, unsure: list[str]) -> int:
    """A tower of the usual shape: 4 h^2 of attention and a gated MLP in each layer, and a table of
    positions for both axes where the config has one (transformers gemma4 Gemma4VisionConfig)."""
    vision = Fields(outer.mapping("vision_config"), "vision_config")
    depth = vision.first("depth", "num_hidden_layers", "num_layers")
    hidden = vision.first("hidden_size", "embed_dim", "width")
    if not depth or not hidden:
        unsure.append(
            f"the vision tower isn't described; {family.vision_millions} million parameters assumed"
        )
        return family.vision_millions * 1_000_000
    inner = vision.optional("intermediate_size") or 4 * hidden
    positions = 2 * vision.optional("position_embedding_size")
    return depth * (4 * hidden * hidden + 3 * hidden * inner) + positions * hidden


def _audio(outer: Fields, family: Family) -> int:
    """Layers of `audio_layer_squares` x h^2; none without a description of them."""
    audio = Fields(outer.mapping("audio_config"), "audio_config")
    hidden = audio.first("hidden_size", "d_model")
    layers = audio.first("num_hidden_layers", "encoder_layers")
    return layers * family.audio_layer_squares * hidden * hidden
