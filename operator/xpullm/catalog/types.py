"""Facts about cards, engines and quantizations, as the planner reads them. All values are frozen;
each is loaded once and compared by identity.

The facts themselves are data files in `catalog/data`; each entry there names its source.
Bytes are plain `int`, a fraction of a byte per weight is a `float`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class GPU:
    """One kind of card, seen as what a scheduler hands out and what an engine can use of it.

    `usable_bytes` is what the kernel driver reports for one device, `visible_bytes` what the
    user-mode driver lets a process use (0.95 x usable on Linux discrete cards): all plans are made
    in visible bytes. `torch_total_bytes` is the largest total that any driver and torch version
    report for it; engines that multiply utilization with torch's total see this.
    `devices_per_unit`: how many torch devices one allocated unit shows (a Max 1550 shows two
    tiles). `max_allocation_bytes`: the largest single allocation, 0 without a limit.
    `compute_units`: what the engine's kernels size per-unit buffers with. `host_mirror`: with
    several cards in one process the driver pins as much host memory as they use.
    """

    name: str
    title: str
    architecture: str
    pci_ids: tuple[str, ...]
    kmd: str
    vram_bytes: int
    usable_bytes: int
    visible_bytes: int
    torch_total_bytes: int
    devices_per_unit: int
    max_allocation_bytes: int
    compute_units: int
    bfloat16: bool
    host_mirror: bool
    default_engine: str
    source: str
    notes: str = ""

    @property
    def resource(self) -> str:
        """The extended resource of Intel's GPU device plugin."""
        return f"gpu.intel.com/{self.kmd}"


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """How weights are stored on the device.

    `linear_bytes` is per weight of a quantized linear layer, scales included; 0 where the group
    layout says it: `weight_bits` per weight, `scale_bytes` and `zero_bits` per group of
    `group_size`. `channel_scale_bytes` is per output feature. Layers whose input features are not
    a multiple of `in_features_multiple` stay 16-bit. `lm_head`: an untied output head is quantized
    too. `moe_only`: only expert weights are. `online`: quantized while loading a 16-bit
    checkpoint. `methods`: names in a checkpoint's quantization_config. `flags` are what each
    engine needs; an engine that is not in it cannot serve the format. `precision` orders formats
    by fidelity. `dtypes`: activation types it works with, the preferred first.
    """

    name: str
    title: str
    linear_bytes: float
    weight_bits: int
    group_size: int
    scale_bytes: float
    zero_bits: int
    channel_scale_bytes: int
    in_features_multiple: int
    lm_head: bool
    moe_only: bool
    online: bool
    precision: int
    dtypes: tuple[str, ...]
    methods: tuple[str, ...]
    flags: Mapping[str, tuple[tuple[str, str | None], ...]]
    source: str
    notes: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Memory of one sampler implementation, in units of U = S * V * 4 bytes.

    `profile_units` are in the engine's own profile. Outside it: `runtime_units` and one V * 4 row
    per compute unit (`runtime_rows`) from the first real sampling on, and `warmup_units` at once
    while the engine warms up after it sized the pool.
    """

    name: str
    profile_units: float
    runtime_units: float
    runtime_rows: bool
    warmup_units: float
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Runtime:
    """Memory outside the framework's allocator on one platform, in bytes, and how certain it is.

    `context_bytes` is taken before the engine's first snapshot; `one_rank_bytes` and
    `ranks_bytes` (tensor parallel) are what the engine prints as non-torch memory.
    `fixed_bytes`: small allocations of the first real step that no profile sees.
    `gemm_workspace_bytes`: the matrix library's, taken through the framework's allocator.
    `compile_bytes`: what compiling adds to the activation peak; `graph_layer_bytes`: one layer
    in one captured graph. `max_split_bytes`: blocks from this size on are not split while weights
    load, so that each is rounded to 2 MiB (0: no such rule). `zero_point_bits`: what a zero point
    becomes in the platform's 4-bit kernel (0: as stored). `block_size`: the KV block
    where it isn't the engine's own (0). `shares`: (ranks, percent) limits of
    planned use.
    `margin_bytes`: what fragmentation took on top in measured runs under the worst load.
    """

    platform: str
    context_bytes: int
    one_rank_bytes: int
    ranks_bytes: int
    fixed_bytes: int
    margin_bytes: int
    gemm_workspace_bytes: int
    compile_bytes: int
    graph_layer_bytes: int
    max_split_bytes: int
    compute_units: int
    zero_point_bits: int
    block_size: int
    shares: tuple[tuple[int, int], ...]
    source: str
    context_source: str
    graph_source: str

    def share_percent(self, ranks: int) -> int:
        """The largest share of visible memory that a plan may use with so many ranks."""
        return min((share for least, share in self.shares if ranks >= least), default=95)


@dataclass(frozen=True, slots=True, eq=False)
class Accounting:
    """How one engine generation turns a card and its arguments into a KV pool.

    `pool`: "peak" subtracts weights, activation peak and runtime from the budget; "current" only
    what is allocated after the profile run (V0 XPU: activations are not in the sum).
    `runtime_assumed_bytes`: subtracted instead of a measured runtime where `runtime` is "assumed".
    `start_gate`: it refuses to start when free memory is below utilization x total.
    `graphs_in_budget`: an estimate of graph memory is subtracted before sizing the pool.
    `total`: "driver" (0.95 x usable on Intel) or "torch". `pin`: the flag that sets the pool's
    size directly, or "". `prefill_follows_context`: without chunked prefill the batch is raised to
    the model length. `hybrid_groups`: layers of different kinds share one pool in groups; else
    window layers take full length. `expert_multiples`, by platform: what the hidden and the
    intermediate size of MXFP4 experts are rounded up to. `v2_runner`: "" or "dense" or "listed";
    `v2_architectures` run on the V2 runner in any case.
    """

    name: str
    title: str
    pool: str
    runtime: str
    runtime_assumed_bytes: int
    start_gate: bool
    graphs_in_budget: bool
    total: str
    pin: str
    tokens_from_concurrency: bool
    prefill_follows_context: bool
    hybrid_groups: bool
    v2_runner: str
    v2_architectures: frozenset[str]
    expert_multiples: Mapping[str, tuple[int, int]]
    sampler: Sampler
    v2_sampler: Sampler
    runtimes: Mapping[str, Runtime]
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """How one model architecture is built, where its config.json does not say.

    `gated_mlp`: gate and up projections (3 matrices), else 2. `keeps_gate_up`: the engine's MLP
    holds the gate_up output while it computes the down projection. `qkv_bias`, `qk_norm`, `norms`
    per layer. `expert_bias`: experts have biases. `head_before_tie`: the engine builds an output
    head and drops it when tying, so that loading needs one more. `always_tied`;
    `transformers_backend`: run through transformers (no rotary table of its own). `output_gate`:
    the query projection has twice its size.
    `multimodal`: has an encoder besides the text model, of `vision_millions` parameters where the
    config has no vision_config; a layer of its audio_config has `audio_layer_squares` times the
    square of its width. Its largest item takes `encoder_item_tokens`, each costing
    `encoder_token_kib` while it is encoded and `encoder_input_kib` of input. `encoder_video`: the
    longest video in images of that size (0: takes none), as far as the context holds them.
    `encoder_each_sequence`: V0 profiles an item in every sequence. `unmodelled`: what the estimate
    leaves out, so that it can't be called safe. `mamba`: Mamba2 layers "in-place" of attention,
    "beside" it in every layer, or "alone" (layers of one mixer each); "" for none. `mamba_state`:
    type of their states where the config has none ("": the model's). `rotary`: has rotary tables.
    """

    name: str
    gated_mlp: bool
    keeps_gate_up: bool
    qkv_bias: bool
    qk_norm: bool
    norms: int
    expert_bias: bool
    head_before_tie: bool
    always_tied: bool
    transformers_backend: bool
    output_gate: bool
    multimodal: bool
    vision_millions: int
    audio_layer_squares: int
    encoder_item_tokens: int
    encoder_token_kib: int
    encoder_input_kib: int
    encoder_video: int
    encoder_each_sequence: bool
    unmodelled: str
    mamba: str
    mamba_state: str
    rotary: bool
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """One version of one engine: image, program, the flags it knows, and how it counts memory.

    The model is given as `model_argument`: "positional" (after `command`) or "--model".
    `defaults` are flags of every plan, `tensor_parallel` (and `tensor_parallel_env`) those for more
    than one rank, `request_logging_off` those that keep prompts out of the log; names are without
    dashes.
    `env_scripts` must be sourced before the engine starts. `chunked_prefill`: "default" (on) or
    "flag" (off unless asked for) or "none" (prompts run whole, so that the batch must hold one).
    `eager_only`: graphs are not available. `block_size_flag`: pass
    --block-size, else the engine chooses `block_size` itself. `host_staging` says where an online
    quantization holds the 16-bit checkpoint: "full" (host), "device", or "stream" (nowhere whole).
    `mla`: models with latent attention run. `float16_refused`: model types for which it refuses
    float16. `assumed`: an unlisted version that was given the facts of the newest entry below it.
    `values`: what flags take, where that is checked: "int", "float", or the words.
    """

    name: str
    version: str
    vllm_version: str
    title: str
    image: str
    command: tuple[str, ...]
    model_argument: str
    accounting: Accounting
    accounting_cuda: Accounting | None
    flags: frozenset[str]
    defaults: tuple[tuple[str, str | None], ...]
    env: Mapping[str, str]
    env_scripts: tuple[str, ...]
    architectures: tuple[str, ...]
    quantizations: tuple[str, ...]
    kv_cache_dtypes: tuple[str, ...]
    block_size: int
    block_size_flag: bool
    default_utilization: float
    chunked_prefill: str
    eager_only: bool
    tensor_parallel: tuple[tuple[str, str | None], ...]
    tensor_parallel_env: Mapping[str, str]
    swap_space_gib: float
    request_logging_off: tuple[tuple[str, str | None], ...]
    host_staging: str
    experimental: bool
    source: str
    notes: str = ""
    mla: bool = True
    float16_refused: tuple[str, ...] = ()
    assumed: bool = False
    values: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and version, as people write an engine."""
        return f"{self.name} {self.version}"
