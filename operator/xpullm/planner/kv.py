"""The KV cache: bytes per block, what one request needs, how many tokens a pool holds.

vLLM v1/kv_cache_interface.py (page sizes), v1/core/kv_cache_utils.py (groups, capacity, maximum
length), v1/core/single_type_kv_cache_manager.py (window layers).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from xpullm.planner.facts import ModelFacts
from xpullm.planner.modules import local_kv_heads, up


@dataclass(frozen=True, slots=True)
class KVLayout:
    """How layers share one pool on one rank.

    A block of the pool holds `block_size` tokens of `group_layers` layers and takes `block_bytes`.
    `full_groups`, `window_groups` and `state_groups` each hold blocks of their own for a request.
    """

    block_size: int
    block_bytes: int
    group_layers: int
    full_groups: int
    window_groups: int
    state_groups: int
    window: int
    batched_tokens: int
    state_blocks: int
    token_bytes: int

    def blocks_for(self, tokens: int) -> int:
        """Blocks that one request of this length needs."""
        size = self.block_size
        blocks = self.full_groups * -(-tokens // size)
        if self.window_groups:
            kept = min(self.window - 1 + self.batched_tokens, tokens)
            blocks += self.window_groups * (-(-kept // size) + 1)
        return blocks + self.state_groups * self.state_blocks

    def need_bytes(self, tokens: int) -> int:
        """Pool that one request of this length needs."""
        return self.blocks_for(tokens) * self.block_bytes

    def pool_bytes(self, tokens: int, requests: int) -> int:
        """The smallest pool that holds so many requests of this length at once."""
        blocks = requests * self.blocks_for(tokens) + (1 if self.state_groups else 0)
        return blocks * self.block_bytes

    def blocks(self, pool: int) -> int:
        """Blocks that fit into a pool, without the null block where state blocks share it."""
        blocks = max(0, pool) // self.block_bytes
        return max(0, blocks - 1) if self.state_groups else blocks

    def longest(self, pool: int, limit: int) -> int:
        """The longest request that the pool can serve, at most `limit` tokens; 0 for none."""
        blocks = self.blocks(pool)
        if self.blocks_for(limit) <= blocks:
            return limit
        if not (self.window_groups or self.state_groups):
            return min(limit, blocks // max(1, self.full_groups) * self.block_size)
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.blocks_for(middle) <= blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def capacity(self, pool: int, max_model_len: int, from_concurrency: bool) -> int:
        """Tokens that the engine prints as its capacity."""
        blocks = self.blocks(pool)
        if not from_concurrency:
            groups = self.full_groups + self.window_groups + self.state_groups
            return blocks // groups * self.block_size
        return blocks * max_model_len // max(1, self.blocks_for(max_model_len))


def kv_element_bytes(kv_cache_dtype: str, model_element: int = 2) -> int:
    """Bytes of one cached element: 1 for the fp8 types, the model's own for "auto", else 2."""
    if kv_cache_dtype.startswith("fp8"):
        return 1
    return model_element if kv_cache_dtype == "auto" else 2


@lru_cache(maxsize=8192)
def kv_layout(
    facts: ModelFacts,
    tensor: int,
    pipeline: int,
    block_size: int,
    element: int,
    batched_tokens: int,
    hybrid_groups: bool,
    draft: tuple[int, int] = (0, 0),
    speculative_tokens: int = 0,
    align: bool = False,
) -> KVLayout:
    """The layout that the engine gives this model on one rank. `draft` is a draft model's layers
    and their bytes per token and layer: they share the pool, whose groups have pages of one size;
    layers that all attend to everything form one group with pages of their own."""
    draft_layers, draft_token = draft
    full, window, linear = (
        -(-n // pipeline) for n in (facts.full_layers, facts.window_layers, facts.linear_layers)
    )
    if not hybrid_groups:
        full, window = full + window, 0
    full_token, window_token = _token_bytes(facts, tensor, element, window > 0)
    if linear:
        full += draft_layers
        full_token = max(full_token, draft_token if draft_layers else 0)
        return _state_layout(
            facts, tensor, full, linear, block_size, full_token, batched_tokens,
            speculative_tokens, align,
        )  # fmt: skip
    if not full or not window:
        count, token = (full, full_token) if full else (window, window_token)
        return KVLayout(
            block_size=block_size,
            block_bytes=block_size * (token * count + draft_token * draft_layers),
            group_layers=count + draft_layers,
            full_groups=1 if full else 0,
            window_groups=0 if full else 1,
            state_groups=0,
            window=facts.window,
            batched_tokens=batched_tokens,
            state_blocks=0,
            token_bytes=token * count + draft_token * draft_layers,
        )
    if draft_layers:
        full, full_token = full + draft_layers, max(full_token, draft_token)
    group = _group_size(full, window)
    page = max(full_token, window_token)
    return KVLayout(
        block_size=block_size,
        block_bytes=group * block_size * page,
        group_layers=group,
        full_groups=-(-full // group),
        window_groups=-(-window // group),
        state_groups=0,
        window=facts.window,
        batched_tokens=batched_tokens,
        state_blocks=0,
        token_bytes=full * full_token + window * window_token,
    )


def _group_size(first: int, second: int) -> int:
    """Layers per group: the smaller kind's, or the larger one's where they are nearly as many
    (v1/core/kv_cache_utils.py _get_kv_cache_groups_uniform_page_size)."""
    small, large = min(first, second), max(first, second)
    return large if large < small * 1.5 else small


def layer_token_bytes(facts: ModelFacts, tensor: int, element: int) -> int:
    """Bytes per token of the largest kind of attention layer on one rank."""
    return max(_token_bytes(facts, tensor, element, facts.window_layers > 0))


def _token_bytes(facts: ModelFacts, tensor: int, element: int, mixed: bool) -> tuple[int, int]:
    """Bytes per token of one full and one window layer."""
    if facts.is_mla:
        latent = (facts.kv_lora_rank + facts.rope_head_dim) * element
        return latent, latent
    window = 2 * local_kv_heads(facts.kv_heads, tensor) * facts.head_dim * element
    if not mixed:
        return window, window
    heads = local_kv_heads(facts.global_kv_heads, tensor)
    return 2 * heads * facts.global_head_dim * element, window


def _state_layout(
    facts: ModelFacts,
    tensor: int,
    full: int,
    linear: int,
    block_size: int,
    token: int,
    batched_tokens: int,
    speculative_tokens: int,
    align: bool,
) -> KVLayout:
    """Attention blocks are raised until a page holds one state (v1/core/kv_cache_utils.py)."""
    state = state_bytes(facts, tensor)
    size = up(-(-state // token), block_size)
    group = _group_size(full, linear) if full else linear
    return KVLayout(
        block_size=size,
        block_bytes=group * size * token,
        group_layers=group,
        full_groups=-(-full // group),
        window_groups=0,
        state_groups=-(-linear // group),
        window=0,
        batched_tokens=batched_tokens,
        state_blocks=(2 if align else 1) + speculative_tokens,
        token_bytes=full * token,
    )


def state_bytes(facts: ModelFacts, tensor: int) -> int:
    """Constant state of one sequence in one linear-attention layer, bytes on one rank."""
    if facts.mamba is not None:
        return facts.mamba.sequence_bytes(tensor)
    keys = facts.linear_key_heads * facts.linear_key_dim
    values = facts.linear_value_heads * facts.linear_value_dim
    recurrent = values * facts.linear_key_dim * facts.state_bytes
    convolution = (facts.conv_kernel - 1) * (2 * keys + values) * 2
    return (recurrent + convolution) // tensor
