"""Figures that engines print, in bytes and counts."""

import pytest
from tests.unit.diagnosis.logs import OOM, SEED_OOM, TOO_LONG

from xpullm_runtime.diagnosis.figures import is_single_allocation, parse

MIB, GIB = 2**20, 2**30


def test_torchs_out_of_memory():
    assert parse(OOM) == {
        "tried_bytes": 772 * MIB,
        "total_bytes": int(15.11 * GIB),
        "free_bytes": 118 * MIB,
        "allocated_bytes": int(14.40 * GIB),
        "unallocated_bytes": int(105.60 * MIB),
        "reserved_bytes": int(14.40 * GIB) + int(105.60 * MIB),
    }


def test_the_seeds_out_of_memory_by_ipex():
    assert parse(SEED_OOM) == {
        "tried_bytes": 130 * MIB,
        "total_bytes": int(15.11 * GIB),
        "allocated_bytes": int(11.09 * GIB),
        "reserved_bytes": int(11.23 * GIB),
    }


def test_torch_without_a_free_figure():
    found = parse(
        "XPU out of memory. Tried to allocate 4.00 GiB. GPU 0 has a total capacity of 15.11 GiB. "
        "Of the allocated memory 0 bytes is allocated by PyTorch, and 0 bytes is reserved by "
        "PyTorch but unallocated."
    )
    assert found["total_bytes"] == int(15.11 * GIB)
    assert found["allocated_bytes"] == 0
    assert is_single_allocation(found)


def test_the_engines_estimate_of_the_length():
    assert parse(TOO_LONG) == {
        "max_model_len": 40960,
        "kv_needed_bytes": int(5.62 * GIB),
        "kv_available_bytes": int(3.60 * GIB),
        "max_model_len_fits": 26208,
    }


def test_v0s_capacity_is_its_estimate():
    found = parse(
        "The model's max seq len (32768) is larger than the maximum number of tokens that can be "
        "stored in KV cache (24320)."
    )
    assert found["max_model_len"] == 32768
    assert found["max_model_len_fits"] == 24320


def test_v0s_memory_profile():
    found = parse(
        "model weights take 5.20GiB; non_torch_memory takes 0.03GiB; PyTorch activation peak memory "  # noqa: E501
        "takes 1.42GiB; the rest of the memory reserved for KV Cache is -1.05GiB."
    )
    assert found == {
        "weights_bytes": int(5.20 * GIB),
        "non_torch_bytes": int(0.03 * GIB),
        "activation_bytes": int(1.42 * GIB),
        "kv_available_bytes": int(-1.05 * GIB),
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("Model loading took 14.2488 GiB and 31.2 seconds", "weights_bytes", int(14.2488 * GIB)),
        ("Loading model weights took 8.4913 GB", "weights_bytes", int(8.4913 * GIB)),
        ("Available KV cache memory: -0.61 GiB", "kv_available_bytes", int(-0.61 * GIB)),
        ("GPU KV cache size: 54,112 tokens", "kv_cache_tokens", 54112),
        ("# GPU blocks: 229, # CPU blocks: 512", "gpu_blocks", 229),
        ("torch peak memory increase: 0.42GiB; x", "activation_bytes", int(0.42 * GIB)),
        ("non-torch forward increase memory: 0.22GiB; x", "non_torch_bytes", int(0.22 * GIB)),
        ("derived max_model_len (max_position_embeddings=32768 or", "max_model_len_derived", 32768),
        ("derived max_model_len (None=8192 in model's config", "max_model_len_derived", 8192),
        ("warming up sampler with 256 dummy requests", "warmup_sequences", 256),
        ("you tried to allocate 116813856768 bytes", "host_tried_bytes", 116813856768),
        ("can't allocate 21583194624 Bytes of memory", "tried_bytes", 21583194624),
    ],
)
def test_single_figures(text, name, value):
    assert parse(text)[name] == value


def test_memory_that_somebody_else_holds():
    assert parse(
        "Free memory on device xpu:0 (0.22/30.3 GiB) on startup is less than desired GPU memory "
        "utilization (0.7, 21.21 GiB)."
    ) == {
        "free_bytes": int(0.22 * GIB),
        "total_bytes": int(30.3 * GIB),
        "requested_bytes": int(21.21 * GIB),
    }


@pytest.mark.parametrize(
    "figures",
    [
        {"tried_bytes": 3 * GIB, "allocated_bytes": 0},  # below the limit
        {"tried_bytes": 32 * GIB, "total_bytes": 12 * GIB, "allocated_bytes": 0},  # more than all
        {
            "tried_bytes": 8 * GIB,
            "free_bytes": 16 * GIB,
            "allowed_bytes": 8 * GIB,
        },  # a fraction set
        {"tried_bytes": 5 * GIB, "free_bytes": GIB, "allocated_bytes": 9 * GIB},  # the card is full
    ],
)
def test_what_is_no_single_allocation_limit(figures):
    assert not is_single_allocation({"total_bytes": 16 * GIB} | figures)


@pytest.mark.parametrize(
    "rubbish",
    [
        "Tried to allocate 1.2.3 GiB",
        "Tried to allocate 9" + "9" * 60 + " GiB",
        "(. KV cache is needed",
    ],
)
def test_rubbish_has_no_figures(rubbish):
    assert "tried_bytes" not in parse(rubbish)


def test_vllm_says_after_a_start_what_it_used() -> None:
    """vLLM 0.25, v1/worker/gpu_worker.py; GiB comes before the word, unlike everywhere else."""
    found = parse(
        "Free memory on device (22.99/23.5 GiB) on startup. Desired GPU memory utilization is"
        " (0.975, 22.91 GiB). Actual usage is 18.49 GiB for weight, 0.42 GiB for peak activation,"
        " 0.22 GiB for non-torch memory, and 0.0 GiB for CUDAGraph memory."
    )
    assert found["activation_bytes"] == int(0.42 * 2**30)
    assert found["non_torch_bytes"] == int(0.22 * 2**30)


def test_a_pinned_pool_is_what_was_reserved() -> None:
    line = (
        "Initial free memory 22.99 GiB, reserved 3.5 GiB memory for KV Cache as specified by"
        " kv_cache_memory_bytes config and skipped memory profiling."
    )
    assert parse(line)["kv_available_bytes"] == int(3.5 * 2**30)
