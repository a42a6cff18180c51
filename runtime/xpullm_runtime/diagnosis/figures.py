"""Figures that engines print about memory, as bytes and counts.

Texts: IPEX's and torch's out-of-memory messages (all their wordings), vLLM V0's and V1's start-up
lines and refusals (vLLM v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py, worker/worker.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_UNITS = {
    "bytes": 1, "byte": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
    "kb": 2**10, "mb": 2**20, "gb": 2**30,  # vLLM and torch mean binary units by GB and MB
}  # fmt: skip
_SIZE = r"(-?[\d.]{1,20}) ?([KMGT]i?B|[Bb]ytes?)"
LIMIT = 2**60  # larger is no size but a damaged line

_SIZES = {
    "tried_bytes": r"Tried to allocate " + _SIZE,
    "free_bytes": r"of which " + _SIZE + r" is free",
    "total_bytes": r"(?:has a total capac?ity of |; )"
    + _SIZE
    + r"(?= of which|\. | total capacity|\.$)",
    "allowed_bytes": _SIZE + r" allowed;",
    "allocated_bytes": r"(?:Of the allocated memory |total capacity; )" + _SIZE
    + r" (?:is allocated by|already allocated)",
    "reserved_bytes": r"already allocated; " + _SIZE + r" reserved in total",
    "unallocated_bytes": _SIZE + r" is reserved by PyTorch but unallocated",
    "kv_needed_bytes": r"\(" + _SIZE + r" KV cache is needed",
    "kv_available_bytes": r"(?:larger than the available KV cache memory \("
    r"|Available KV cache memory: "
    r"|Initial free memory [\d.]{1,9} GiB, reserved "
    r"|rest of the memory reserved for KV Cache is |kv_cache_size=)" + _SIZE,
    "weights_bytes": r"(?:Model loading took |[Ll]oading model weights took |model weights take )"
    + _SIZE,
    "activation_bytes": r"(?:PyTorch activation peak memory takes |"
    r"torch peak memory increase: |[Pp]eak activation memory[^\d\n]{0,20})"
    + _SIZE,
    "non_torch_bytes": r"(?:non_torch_memory takes |non-torch memory[^\d\n]{0,20}"
    r"|non-torch forward increase memory: |non_torch_memory=)"
    + _SIZE,
    "requested_bytes": r"(?:requested memory: ?|Requested memory: [\d.]{1,9} \(util\), )" + _SIZE,
}  # fmt: skip
# In "Actual usage is … GiB for weight, … GiB for peak activation, …" (v1/worker/gpu_worker.py).
_USED = {
    "activation_bytes": re.compile(_SIZE + r" for peak activation"),
    "non_torch_bytes": re.compile(_SIZE + r" for non-torch memory"),
}
_COUNTS = {
    # "GPU" until 0.26; then the device's own name, and " + host" (v1/core/kv_cache_utils.py).
    "kv_cache_tokens": r"\b[CGX]PU(?: \+ host)? KV cache size: ([\d,]{1,15}) tokens",
    "max_model_len_fits": r"estimated maximum model length is (\d{1,12})",
    "max_model_len": r"max seq(?:uence)? len \((\d{1,12})\)",
    "kv_token_capacity": r"stored in KV cache \((\d{1,12})\)",
    "gpu_blocks": r"# (?:GPU|cuda|xpu) blocks: (\d{1,12})",
    "max_model_len_derived": r"derived max_model_len \([^)\d]{0,60}=?(\d{1,12})",
    "max_model_len_wanted": r"User-specified max_model_len \((\d{1,12})\)",
    "warmup_sequences": r"warming up sampler with (\d{1,9}) dummy requests",
    "host_tried_bytes": r"you tried to allocate (\d{1,18}) bytes",
    "tried_bytes": r"(?:can't allocate |zeMemAlloc\w{1,20} size=)(\d{1,18})",
}
_BUSY = re.compile(
    r"Free memory on device[^(\n]{0,40}\(([\d.]{1,12})/([\d.]{1,12}) ?GiB\).{0,80}?"
    r"\([\d.]{1,8}, ([\d.]{1,12}) ?GiB\)"
)
_SIZE_PATTERNS = {name: re.compile(text) for name, text in _SIZES.items()}
_COUNT_PATTERNS = {name: re.compile(text) for name, text in _COUNTS.items()}

# A line that holds one of these may hold a figure.
LITERALS = (
    "Tried to allocate", "KV cache", "KV Cache", "kv_cache_size=", "odel loading took",
    "odel weights t", " blocks: ",
    "Free memory on device", "derived max_model_len", "dummy requests", "you tried to allocate",
    "can't allocate", "zeMemAlloc", "activation memory", "equested memory:",
    "estimated maximum model", "stored in KV",
)  # fmt: skip


def size(number: str, unit: str) -> int | None:
    """Bytes of "772.00", "MiB"; None where that is no number."""
    try:
        value = float(number) * _UNITS[unit.lower()]
    except (ValueError, KeyError, OverflowError):
        return None
    return int(value) if abs(value) < LIMIT else None


def parse(text: str) -> dict[str, int]:
    """Figures in one line (or record) of a log; the first of each name."""
    out: dict[str, int] = {}
    for name, pattern in _SIZE_PATTERNS.items():
        if (found := pattern.search(text)) and (value := size(found[1], found[2])) is not None:
            out[name] = value
    for name, pattern in _COUNT_PATTERNS.items():
        if found := pattern.search(text):
            out.setdefault(name, int(found[1].replace(",", "") or 0))
    if found := _BUSY.search(text):
        names = ("free_bytes", "total_bytes", "requested_bytes")
        for name, number in zip(names, found.groups(), strict=True):
            if (value := size(number, "GiB")) is not None:
                out[name] = value
    if "Actual usage is" in text:
        out |= _used(text)
    if "reserved_bytes" not in out and {"allocated_bytes", "unallocated_bytes"} <= out.keys():
        out["reserved_bytes"] = out["allocated_bytes"] + out["unallocated_bytes"]
    if (tokens := out.get("kv_token_capacity")) is not None:
        out.setdefault("max_model_len_fits", tokens)
    return out


def _used(text: str) -> dict[str, int]:
    found = {name: pattern.search(text) for name, pattern in _USED.items()}
    sizes = {name: size(match[1], match[2]) for name, match in found.items() if match}
    return {name: value for name, value in sizes.items() if value is not None}


def collect(lines: Iterable[str]) -> dict[str, int]:
    """Figures of several lines, in the order of the log; a later line's figure replaces."""
    out: dict[str, int] = {}
    for line in lines:
        out |= parse(line)
    return out


def is_single_allocation(figures: Mapping[str, int]) -> bool:
    """One block of 4 GiB or more was refused although the card had room for it.

    Alchemist's limit (PyTorch XPU: "can NOT allocate memory block with size larger than 4GB").
    """
    tried = figures.get("tried_bytes", 0)
    total = figures.get("total_bytes", tried)
    if tried < 4 * 2**30 or tried > total or "allowed_bytes" in figures:
        return False
    free = figures.get("free_bytes")
    return figures.get("allocated_bytes") == 0 or (free is not None and tried < free)


def consistent(figures: Mapping[str, int]) -> bool:
    """Whether an out-of-memory message's own numbers can be true."""
    tried, total = figures.get("tried_bytes", 0), figures.get("total_bytes", 0)
    allocated = figures.get("allocated_bytes", 0)
    return tried > 0 and total > 0 and 0 <= allocated <= total
