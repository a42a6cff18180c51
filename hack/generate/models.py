"""Adds a model to the catalogue from its config.json.

    python hack/generate/models.py --model org/name --source URL path/to/config.json
    python hack/generate/models.py --survey path/to/model_configs.json    (rebuild from a survey)
    python hack/generate/models.py    (renew the entries that are made from others')

Only fields that memory depends on are kept, under their own names. The file is sorted, so that two
runs give the same bytes.
"""

import argparse
import json
import re
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
    "sliding_window_pattern", "layer_types", "layer_types_count", "rope_scaling", "rope_parameters",
    "torch_dtype",
    "dtype", "quant_method", "quantization_config", "full_attention_interval", "text_config",
    "vision_config", "audio_config", "depth", "embed_dim", "width", "position_embedding_size",
    "d_model", "encoder_layers", "first_k_dense_replace", "shared_expert_intermediate_size",
    "attention_bias", "mlp_bias", "global_head_dim", "attention_k_eq_v", "decoder_sparse_step",
    "mlp_only_layers", "hidden_size_per_layer_input", "vocab_size_per_layer_input",
    "head_dim_v", "hybrid_override_pattern", "state_size", "conv_kernel", "expand",
}  # fmt: skip

_NESTED = frozenset({"text_config", "vision_config", "audio_config"})

_FIELDS = ("config", "source", "aliases", "unsourced", "notes")

# Ids as spec.model.id takes them (api/model.py).
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")

_CARD = 'model card, "Processing Long Texts": config.json is set for up to 32,768 tokens'

# Instruct models of their base model's geometry, but with 32,768 positions in their config.json
# (more only with YaRN): the base model, and where the positions are to be read.
_INSTRUCT_POSITIONS = 32768
_INSTRUCT = {
    "Qwen/Qwen2-7B-Instruct": ("Qwen/Qwen2-7B", "github:QwenLM/Qwen3#663, #679"),
    "Qwen/Qwen2-72B-Instruct": ("Qwen/Qwen2-72B", "github:QwenLM/Qwen3#679, NVIDIA/RULER#56"),
    "Qwen/Qwen2.5-1.5B-Instruct": ("Qwen/Qwen2.5-1.5B", "its config.json, in transformers' logs"),
    "Qwen/Qwen2.5-7B-Instruct": ("Qwen/Qwen2.5-7B", f"github:QwenLM/Qwen3#1133; {_CARD}"),
    "Qwen/Qwen2.5-14B-Instruct": ("Qwen/Qwen2.5-14B", _CARD),
    "Qwen/Qwen2.5-32B-Instruct": ("Qwen/Qwen2.5-32B", _CARD),
    "Qwen/Qwen2.5-72B-Instruct": ("Qwen/Qwen2.5-72B", _CARD),
}  # fmt: skip


def kept(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config.json that memory depends on."""
    result: dict[str, Any] = {}
    for key, value in sorted(config.items()):
        if value is None or not (key in _KEPT or key.startswith(_KEPT_PREFIXES)):
            continue
        result[key] = kept(value) if key in _NESTED else value
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


def tidy(models: dict[str, Any]) -> dict[str, Any]:
    """With Instruct models beside their base models, and remarks taken off the aliases."""
    result = {name: _with_plain_aliases(entry) for name, entry in models.items()}
    for name, (base_id, source) in _INSTRUCT.items():
        base = result.get(base_id)
        if base is None:
            continue
        own = {key: value for key, value in base.items() if key not in {"aliases", "notes"}}
        own["config"] = {**base["config"], "max_position_embeddings": _INSTRUCT_POSITIONS}
        own["source"] = [source, *base["source"]]
        own["notes"] = f"Geometry of {base_id}, positions of its own config.json."
        result[name] = own
    return result


def _with_plain_aliases(entry: dict[str, Any]) -> dict[str, Any]:
    """An alias is an id alone; what a survey writes behind it in brackets becomes a note."""
    result = dict(entry)
    plain = []
    for alias in result.pop("aliases", ()):
        name, _, remark = alias.partition(" ")
        if name not in _INSTRUCT:
            plain.append(name)
        if remark:
            before = [result["notes"]] if "notes" in result else []
            result["notes"] = " ".join([*before, f"{name}: {remark.strip('()')}."])
    result["aliases"] = plain
    return {key: result[key] for key in _FIELDS if key == "source" or result.get(key)}


def check(models: dict[str, Any]) -> None:
    """Raises ValueError for an id that spec.model.id could never name, or that is there twice."""
    ids = [i for name, entry in models.items() for i in (name, *entry.get("aliases", ()))]
    wrong = [i for i in ids if not _ID.fullmatch(i) or ids.count(i) > 1]
    if wrong:
        raise ValueError(
            f"not an id of its own, organisation/name: {', '.join(sorted(set(wrong)))}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--survey", action="store_true", help="FILE is a survey of many models")
    parser.add_argument("--model", help="organisation/name")
    parser.add_argument("--alias", action="append", default=[], help="a model of equal geometry")
    parser.add_argument("--source", help="where the config.json comes from")
    args = parser.parse_args()
    models = json.loads(CATALOGUE.read_text(encoding="utf-8")) if CATALOGUE.exists() else {}
    if args.file is None:
        pass
    elif args.survey:
        models.update(from_survey(args.file))
    elif args.model and args.source:
        config = kept(json.loads(args.file.read_text(encoding="utf-8")))
        models[args.model] = {"config": config, "source": [args.source]}
        if args.alias:
            models[args.model]["aliases"] = args.alias
    else:
        parser.error("--model and --source are needed for a config.json")
    models = tidy(models)
    check(models)
    text = json.dumps(dict(sorted(models.items())), indent=1, ensure_ascii=False) + "\n"
    CATALOGUE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
