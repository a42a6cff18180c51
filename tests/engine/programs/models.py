"""Build models by transformers' own classes without memory (device "meta"), and run eight tokens.

Runs in the engine's environment. Standard input: {name: config.json fields}. Standard output, last
line: {name: {"parameters": int, "kv_token_bytes": int}}. Tied matrices count once.
"""

import json
import sys
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

TOKENS = 8
# What is about the checkpoint, or about how far positions reach, does not shape a parameter.
DROPPED = {"architectures", "quantization_config", "quant_method", "rope_scaling", "model_type"}


def cache_bytes_per_token(model: Any) -> int:
    """16-bit bytes that the model's own cache grows by with each token."""
    ids = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True).past_key_values
    total = 0
    for layer in cache.layers:
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if tensor is not None:
                assert tensor.shape[2] == TOKENS, tensor.shape
                total += tensor.numel() // TOKENS * 2
    return total


logging.set_verbosity_error()
answer = {}
for name, config in json.load(sys.stdin).items():
    fields = {key: value for key, value in config.items() if key not in DROPPED}
    if "kv_lora_rank" in fields:
        fields.pop("head_dim", None)  # latent attention has three of its own
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **fields), dtype=torch.bfloat16
        )
    answer[name] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "kv_token_bytes": cache_bytes_per_token(model.eval()),
    }
print(json.dumps(answer))
