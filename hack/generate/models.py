"""Adds a model to the catalogue from its config.json.

    python hack/generate/models.py --model org/name --source URL path/to/config.json
    python hack/generate/models.py --survey path/to/model_configs.json    (rebuild from a survey)

Only fields that memory depends on are kept, under their own names. The file is sorted, so that two
runs give the same bytes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[2] / "operator/xpullm/catalog/data/models.json"

# Fields of the survey that are about the entry, not config.json fields.
_ABOUT = {
    "model", "aliases", "source", "unsourced", "notes", "kaito_file_size",
    "total_params_computed", "weights_16bit_gib_computed", "kv_bytes_per_token_16bit_tp1",
}  # fmt: skip

_KEPT_PREFIXES = ("num_", "n_", "linear_", "mamba_", "moe_", "qk_", "kv_", "q_lora", "v_head")
_KEPT = {
    "architectures", "model_type", "hidden_size", "intermediate_size", "head_dim", "vocab_size",
    "tie_word_embeddings", "max_position_embeddings", "sliding_window", "use_sliding_window",
    "sliding_window_pattern", "layer_types", "layer_types_count", "rope_scaling", "torch_dtype",
    "dtype", "quant_method", "quantization_config", "full_attention_interval", "text_config",
    "vision_config", "first_k_dense_replace", "shared_expert_intermediate_size", "attention_bias",
    "mlp_bias", "global_head_dim", "attention_k_eq_v", "decoder_sparse_step", "mlp_only_layers",
    "hidden_size_per_layer_input", "vocab_size_per_layer_input",
    "head_dim_v", "hybrid_override_pattern", "state_size", "conv_kernel", "expand",
}  # fmt: skip


def kept(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config.json that memory depends on."""
    result: dict[str, Any] = {}
    for key, value in sorted(config.items()):
        if value is None or not (key in _KEPT or key.startswith(_KEPT_PREFIXES)):
            continue
        result[key] = kept(value) if key in {"text_config", "vision_config"} else value
    return result


def from_survey(path: Path) -> dict[str, Any]:
    rows = json.loads(path.read_text(encoding="utf-8"))["models"]
    models: dict[str, Any] = {}
    for row in rows:
        config = {k: v for k, v in sorted(row.items()) if k not in _ABOUT and v is not None}
        entry: dict[str, Any] = {"config": config, "source": row["source"]}
        for field in ("aliases", "unsourced", "notes"):
            if row.get(field):
                entry[field] = row[field]
        models[row["model"]] = entry
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("--survey", action="store_true", help="FILE is a survey of many models")
    parser.add_argument("--model", help="organisation/name")
    parser.add_argument("--alias", action="append", default=[], help="a model of equal geometry")
    parser.add_argument("--source", help="where the config.json comes from")
    args = parser.parse_args()
    models = json.loads(CATALOGUE.read_text(encoding="utf-8")) if CATALOGUE.exists() else {}
    if args.survey:
        models.update(from_survey(args.file))
    elif args.model and args.source:
        config = kept(json.loads(args.file.read_text(encoding="utf-8")))
        models[args.model] = {"config": config, "source": [args.source]}
        if args.alias:
            models[args.model]["aliases"] = args.alias
    else:
        parser.error("--model and --source are needed for a config.json")
    text = json.dumps(dict(sorted(models.items())), indent=1, ensure_ascii=False) + "\n"
    CATALOGUE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
