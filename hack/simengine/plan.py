"""The arguments that decide memory, with each generation's defaults filled in."""

import argparse
import os
from dataclasses import dataclass

from .model import METHODS, Model


@dataclass(frozen=True)
class Arguments:
    """What the command line asks for, resolved."""

    longest: int  # --max-model-len
    fit_longest: bool  # -1 or auto: shrink to what fits
    sequences: int  # --max-num-seqs
    batched_tokens: int  # --max-num-batched-tokens
    chunked: bool
    utilization: float
    block_size: int
    blocks_override: int | None
    pinned_pool: int | None  # --kv-cache-memory-bytes
    kv_bytes: int  # of one element
    ranks: int  # --tensor-parallel-size
    swap_bytes: int  # V0: host memory for preempted sequences
    low_bit: str  # V0
    method: str  # V1


@dataclass(frozen=True)
class Pool:
    """The KV cache."""

    blocks: int
    block_size: int
    size: int  # bytes

    @property
    def tokens(self) -> int:
        """Tokens that it holds."""
        return self.blocks * self.block_size


class BadArgumentsError(Exception):
    """A combination that the configuration refuses, in vLLM's words."""


def resolve_v0(parsed: argparse.Namespace, model: Model) -> Arguments:
    """Defaults of vLLM 0.8 as ipex-llm builds it (engine/arg_utils.py, config.py)."""
    chunked = bool(parsed.enable_chunked_prefill)
    longest = _length(parsed, model, pydantic=False)
    return _checked(parsed, model, longest, chunked=chunked, utilization=0.9, block_size=16)


def resolve_v1(parsed: argparse.Namespace, model: Model) -> Arguments:
    """Defaults of vLLM 0.26 for a device below 70 GiB."""
    chunked = parsed.enable_chunked_prefill is not False
    longest = _length(parsed, model, pydantic=True)
    return _checked(parsed, model, longest, chunked=chunked, utilization=0.92, block_size=64)


def _checked(
    parsed: argparse.Namespace,
    model: Model,
    longest: int,
    *,
    chunked: bool,
    utilization: float,
    block_size: int,
) -> Arguments:
    sequences = parsed.max_num_seqs or 256
    tokens = parsed.max_num_batched_tokens or (2048 if chunked else max(longest, 2048))
    ranks = parsed.tensor_parallel_size
    if not chunked and tokens < longest:
        raise BadArgumentsError(
            f"max_num_batched_tokens ({tokens}) is smaller than max_model_len ({longest}). This "
            "effectively limits the maximum sequence length to max_num_batched_tokens and makes "
            "vLLM reject longer sequences. Please increase max_num_batched_tokens or decrease "
            "max_model_len."
        )
    if tokens < sequences:
        raise BadArgumentsError(
            f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs "
            f"({sequences})."
        )
    if model.heads % ranks:
        raise BadArgumentsError(
            f"Total number of attention heads ({model.heads}) must be divisible by tensor "
            f"parallel size ({ranks})."
        )
    if parsed.gpu_memory_utilization is not None and not 0 < parsed.gpu_memory_utilization <= 1:
        raise BadArgumentsError(
            f"GPU memory utilization must be less than 1.0. Got {parsed.gpu_memory_utilization}."
        )
    method = parsed.quantization or model.checkpoint_method
    if method not in METHODS:
        known = sorted(filter(None, METHODS))
        raise BadArgumentsError(f"Unknown quantization method: {method}. Must be one of {known}.")
    return Arguments(
        longest=longest,
        fit_longest=parsed.max_model_len == -1,
        sequences=sequences,
        batched_tokens=tokens,
        chunked=chunked,
        utilization=parsed.gpu_memory_utilization or utilization,
        block_size=parsed.block_size or block_size,
        blocks_override=parsed.num_gpu_blocks_override,
        pinned_pool=parsed.kv_cache_memory_bytes,
        kv_bytes=1 if parsed.kv_cache_dtype.startswith("fp8") else 2,
        ranks=ranks,
        swap_bytes=int(parsed.swap_space * (1 << 30)),
        low_bit=parsed.load_in_low_bit,
        method=method,
    )


def _length(parsed: argparse.Namespace, model: Model, *, pydantic: bool) -> int:
    wanted = parsed.max_model_len
    if wanted in (None, -1):
        return model.longest
    if wanted > model.longest and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        text = (
            f"User-specified max_model_len ({wanted}) is greater than the derived max_model_len "
            f"(max_position_embeddings={model.longest} or model_max_length=None in model's "
            "config.json). This may lead to incorrect model outputs or CUDA errors. To allow "
            "overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"
        )
        raise BadArgumentsError(f"Value error, {text}" if pydantic else text)
    return int(wanted)
