"""A model's geometry from its config.json, and this program's own arithmetic on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KNOWN = Path(__file__).with_name("models.json")

# Bytes of one weight. ipex-llm: 64-weight blocks, SYCL kernels' QK 64 (csrc/xpu/base.hpp).
_LOW_BIT = {
    "sym_int4": 34 / 64, "woq_int4": 34 / 64, "asym_int4": 36 / 64, "nf4": 34 / 64, "fp4": 34 / 64,
    "fp6": 50 / 64, "fp8": 1.0, "fp8_e5m2": 1.0, "fp8_e4m3": 66 / 64, "sym_int8": 66 / 64,
    "fp16": 2.0, "bf16": 2.0,
}  # fmt: skip
# vLLM's methods; int4 with 128-weight groups, a scale and a zero point each. sym_int4 is
# llm-scaler's (group 128, 16-bit scales).
METHODS = {
    "": 2.0, "fp8": 1.0, "fp8_per_tensor": 1.0, "fp8_per_block": 1.0, "compressed-tensors": 1.0,
    "awq": 0.53, "auto_awq": 0.53, "gptq": 0.53, "auto_gptq": 0.53, "inc": 0.53,
    "mxfp4": 0.53125, "mxfp8": 1.03125, "sym_int4": 0.515625,
}  # fmt: skip


class ModelError(Exception):
    """The model cannot be had; the message is what the hub client says."""


@dataclass(frozen=True)
class Model:
    """The numbers of a dense or mixture-of-experts decoder that decide its memory."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    experts: int
    vocabulary: int
    tied: bool
    longest: int  # tokens, the model's own maximum
    checkpoint_method: str  # quantization of the files, "" for 16 bit
    architecture: str

    def block_weights(self) -> int:
        """Weights in the layers' linear modules."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        feed_forward = 3 * self.hidden * self.intermediate * max(1, self.experts)
        return self.layers * (attention + feed_forward)

    def table_weights(self) -> int:
        """Weights of the embedding, which has the size of the output head."""
        return self.vocabulary * self.hidden

    def kv_bytes_per_token(self, element_bytes: int, ranks: int = 1) -> int:
        """Keys and values of one token on one rank; heads are replicated, never split further."""
        heads = max(1, self.kv_heads // ranks)
        return 2 * self.layers * heads * self.head_size * element_bytes

    def sixteen_bit_bytes(self) -> int:
        """The whole checkpoint in 16 bit."""
        return 2 * (self.block_weights() + self.table_weights() * (1 if self.tied else 2))


def low_bit_bytes(model: Model, low_bit: str) -> float:
    """Device bytes on ipex-llm: linear modules and an untied head in low bit, embedding 16 bit."""
    size = _LOW_BIT.get(low_bit)
    if size is None:
        raise ValueError(f"Unknown load_in_low_bit value: {low_bit}, expected: {list(_LOW_BIT)}.")
    head = 0 if model.tied else model.table_weights()
    return (model.block_weights() + head) * size + model.table_weights() * 2


def method_bytes(model: Model, method: str) -> float:
    """Device bytes on vLLM: only the layers are quantized, embedding and head stay 16 bit."""
    tables = model.table_weights() * (1 if model.tied else 2)
    return model.block_weights() * METHODS[method] + tables * 2


def find(name: str) -> Model:
    """A model by local folder or by a known id.

    Raises:
        ModelError: neither; the text is what transformers prints for it.
    """
    folder = Path(name)
    if folder.is_dir():
        file = folder / "config.json"
        if not file.exists():
            raise ModelError(f"{name} does not appear to have a file named config.json.")
        return parse(name, json.loads(file.read_text()))
    known = json.loads(_KNOWN.read_text())["models"]
    if name in known:
        return parse(name, known[name])
    raise ModelError(
        f"{name} is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a "
        "token having permission to this repo either by logging in with `hf auth login` or by "
        "passing `token=<your_token>`"
    )


def parse(name: str, config: dict[str, Any]) -> Model:
    """Read config.json's fields."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    width = config.get("moe_intermediate_size") if experts else None
    return Model(
        name=name,
        layers=config["num_hidden_layers"],
        hidden=hidden,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or hidden // heads,
        intermediate=width or config["intermediate_size"],
        experts=experts,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        longest=config.get("max_position_embeddings", 2048),
        checkpoint_method=(config.get("quantization_config") or {}).get("quant_method", ""),
        architecture=(config.get("architectures") or ["UnknownForCausalLM"])[0],
    )
