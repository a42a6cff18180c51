"""Host memory of one pod: what loading and running need. Sizes are whole MiB."""

from __future__ import annotations

from xpullm.planner.lora import host_lora_bytes
from xpullm.planner.modules import up
from xpullm.planner.sizes import Sizes
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, HostMemory, Term
from xpullm.planner.weights import checkpoint_bytes, weights

GIB = 1 << 30
MIB = 1 << 20

_PROCESSES = "measured on vLLM: engine core 2.5-3.6 GiB, 0.6-1 GiB per further rank or API process"
_BASE = 3584 * MIB
_RANK = 1 * GIB
# Page cache of the file being read, charged to the container while active.
_LOADER = 2 * GIB
_SHM_ONE = 2 * GIB
_SHM_RANKS = 8 * GIB
_COMPILE = 4 * GIB
_CONVERSION = "ipex-llm vllm/xpu/model_convert.py; llm-scaler VLLM_OFFLOAD_WEIGHTS_BEFORE_QUANT"
# Room above the peak: the kernel kills at the limit, an estimate is not that exact.
_HEADROOM_PERCENT = 15


def host_memory(where: Target, arguments: Arguments, s: Sizes) -> HostMemory:
    """Request and limit: the peak while loading, with head-room in the limit."""
    copies = _copies(arguments)
    ranks = arguments.tensor_parallel_size * arguments.pipeline_parallel_size * copies
    terms = [
        Term(
            "engine",
            _BASE + (ranks - 1) * _RANK,
            "3.5 GiB + 1 GiB per further rank",
            f"{ranks} rank(s)",
            _PROCESSES,
        ),
        *_loading(where, ranks, s),
    ]
    if arguments.swap_space_gib:
        swap = int(arguments.swap_space_gib * GIB) * ranks
        terms.append(
            Term(
                "swap space",
                swap,
                "swap-space per card, pinned",
                f"{arguments.swap_space_gib:g} GiB, {ranks} card(s)",
                "vLLM worker/cache_engine.py",
            )
        )
    if arguments.cpu_offload_gib:
        moved = min(int(arguments.cpu_offload_gib * GIB), _movable(where, arguments)) * ranks
        terms.append(
            Term(
                "weights offloaded",
                moved,
                "min(cpu-offload-gb, weights of the layers) per card",
                f"{arguments.cpu_offload_gib:g} GiB, {ranks} card(s)",
                "vLLM model_executor/models/utils.py maybe_offload_to_cpu",
            )
        )
    if adapters := host_lora_bytes(where.facts, arguments):
        terms.append(
            Term(
                "LoRA adapters",
                adapters * ranks,
                "max-cpu-loras x one adapter per rank, pinned",
                f"{ranks} ranks",
                "vLLM lora/lora_model.py pin_memory",
            )
        )
    if not arguments.enforce_eager:
        terms.append(
            Term(
                "compiler",
                _COMPILE,
                "4 GiB for torch.compile and kernel compilers",
                "enforce-eager is off",
                "a 1.2B model was killed at a limit of 8 GiB after its memory profile",
            )
        )
    if ranks > 1 and where.host_mirror:
        mirror = (s.weights.resident + max(0, s.pool)) * ranks
        terms.append(
            Term(
                "driver mirror",
                mirror,
                "device memory x ranks (host pages pinned for peers)",
                f"{ranks} cards visible to one process",
                "compute-runtime#953; vLLM#50269",
            )
        )
    shm = _SHM_RANKS if ranks > 1 else _SHM_ONE
    terms.append(
        Term(
            "shared memory",
            shm,
            "2 GiB for one rank, 8 GiB for several (/dev/shm)",
            f"{ranks} rank(s)",
            "vLLM docs/deployment/k8s.md; ipex-llm docker run --shm-size",
        )
    )
    peak = sum(t.bytes for t in terms)
    request = up(peak, 256 * MIB)
    limit = up(peak * (100 + _HEADROOM_PERCENT) // 100, 256 * MIB)
    return HostMemory(request, limit, shm, tuple(terms))


def _movable(where: Target, arguments: Arguments) -> int:
    """The most that --cpu-offload-gb moves from a card: its layers, not the vocabulary."""
    tensor, pipeline = arguments.tensor_parallel_size, arguments.pipeline_parallel_size
    return max(weights(where.facts, where.form, tensor, pipeline, e).layers for e in (False, True))


def _copies(arguments: Arguments) -> int:
    """Copies of the model in the pod: --data-parallel-size."""
    text = dict(arguments.extra).get("data-parallel-size") or ""
    return int(text) if text.isdecimal() and len(text) < 5 else 1


def _loading(where: Target, ranks: int, s: Sizes) -> list[Term]:
    checkpoint = checkpoint_bytes(where.facts)
    if not (where.quantization.online and where.engine.host_staging == "full"):
        return [
            Term(
                "loader",
                min(_LOADER, checkpoint),
                "min(2 GiB, checkpoint): page cache of the file being read",
                f"checkpoint {checkpoint} bytes",
                "vLLM model_executor/model_loader/weight_utils.py: safetensors are mapped",
            )
        ]
    facts = where.facts
    largest = max(facts.vocab, 2 * facts.intermediate) * facts.hidden * 4
    return [
        Term(
            "checkpoint",
            checkpoint,
            "parameters x 2 bytes, whole in host memory while quantizing",
            f"{checkpoint // 2} parameters",
            _CONVERSION,
        ),
        Term(
            "conversion",
            largest * ranks,
            "max(vocabulary, 2 x intermediate) x hidden x 4 bytes, per rank",
            f"vocabulary {facts.vocab}, intermediate {facts.intermediate}, hidden {facts.hidden},"
            f" {ranks} rank(s)",
            _CONVERSION,
        ),
        Term(
            "quantized copy",
            s.weights.resident * ranks,
            "resident weights x ranks: the copy grows before the checkpoint goes",
            f"{s.weights.resident} bytes, {ranks} rank(s)",
            _CONVERSION,
        ),
    ]
