"""What the catalogue says of a vLLM release is what that release's published package holds."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from hack.generate.flags import RELEASES, vllm_flags
from hack.generate.flagvalues import flag_values
from hack.packages.wheel import Wheel
from tests.contract.packages.conftest import literal_values

from xpullm.catalog import Engine, engines, quantizations
from xpullm.catalog.load import flag_lists
from xpullm.catalog.load import flag_values as values_of_releases

Opened = Callable[[str, str], Wheel]
VLLM = engines()["vllm"]


def test_every_list_of_the_catalogue_has_a_release() -> None:
    assert list(flag_lists()) == list(RELEASES)


@pytest.mark.parametrize("name", RELEASES)
def test_flags_are_those_of_the_package(wheel: Opened, name: str) -> None:
    assert flag_lists()[name] == vllm_flags(wheel("vllm", RELEASES[name]))


@pytest.mark.parametrize("name", RELEASES)
def test_values_are_those_of_the_package(wheel: Opened, name: str) -> None:
    read = flag_values(wheel("vllm", RELEASES[name]))
    known = {
        f: list(k) if isinstance(k, tuple) else k for f, k in values_of_releases()[name].items()
    }
    assert known == read
    assert set(known) <= set(flag_lists()[name])


@pytest.mark.parametrize("engine", VLLM, ids=lambda e: e.version)
def test_quantizations_and_cache_types_exist(wheel: Opened, engine: Engine) -> None:
    package = wheel("vllm", engine.vllm_version)
    module = package.text("vllm/model_executor/layers/quantization/__init__.py")
    typed = "QuantizationMethods = Literal" in module  # since 0.8.5
    methods = literal_values(module, "QuantizationMethods" if typed else "QUANTIZATION_METHODS")
    passed = {
        value
        for name in engine.quantizations
        for flag, value in quantizations()[name].flags.get("vllm", ())
        if flag == "quantization"
    }
    assert passed <= methods
    if "vllm/config/cache.py" in package.names:  # a module of its own since 0.10.2
        known = literal_values(package.text("vllm/config/cache.py"), "CacheDType")
        assert set(engine.kv_cache_dtypes) <= known


@pytest.mark.parametrize("engine", VLLM, ids=lambda e: e.version)
def test_the_worker_reads_the_flag_that_pins_its_pool(wheel: Opened, engine: Engine) -> None:
    """The parser accepts --kv-cache-memory-bytes from 0.10.2 on, the XPU worker heeds it later."""
    package = wheel("vllm", engine.vllm_version)
    if engine.accounting.pin == "num-gpu-blocks-override":
        assert "num_gpu_blocks_override" in package.text("vllm/engine/arg_utils.py")
        return
    worker = ast.parse(package.text("vllm/v1/worker/xpu_worker.py"))
    (cls,) = (n for n in worker.body if isinstance(n, ast.ClassDef) and n.name == "XPUWorker")
    own = [n for n in cls.body if getattr(n, "name", "") == "determine_available_memory"]
    source = ast.unparse(own[0]) if own else package.text("vllm/v1/worker/gpu_worker.py")
    heeds = "self.cache_config.kv_cache_memory_bytes" in source
    assert heeds is (engine.accounting.pin == "kv-cache-memory-bytes")
