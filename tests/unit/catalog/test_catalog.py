"""The catalogue is complete, consistent, and every entry says where it comes from."""

import json
from typing import Any

import pytest
from hack.generate import models as generator

from xpullm.api import Model
from xpullm.catalog import (
    accountings,
    default_engine,
    engines,
    families,
    find_engine,
    find_model,
    gpus,
    gpus_by_pci_id,
    models,
    nearest,
    quantization_for,
    quantizations,
)
from xpullm.planner import parse_config

GIB = 1 << 30


def test_every_entry_names_its_source() -> None:
    entries: list[Any] = [
        *gpus().values(),
        *quantizations().values(),
        *accountings().values(),
        *families().values(),
        *(version for family in engines().values() for version in family),
    ]
    assert [e for e in entries if not e.source] == []


@pytest.mark.parametrize(
    ("name", "visible_gib", "kmd", "bfloat16", "engine"),
    [
        ("arc-a770-16g", 15.11, "i915", False, "ipex-llm"),
        ("arc-b580", 11.33, "xe", True, "vllm"),
        ("arc-pro-b60", 22.71, "xe", True, "vllm"),
        ("arc-pro-b70", 30.30, "xe", True, "vllm"),
        ("max-1550", 60.78, "i915", True, "vllm"),
    ],
)
def test_cards_as_an_engine_sees_them(
    name: str, visible_gib: float, kmd: str, bfloat16: bool, engine: str
) -> None:
    gpu = gpus()[name]
    assert gpu.visible_bytes / GIB == pytest.approx(visible_gib, abs=0.01)
    assert gpu.resource == f"gpu.intel.com/{kmd}"
    assert (gpu.bfloat16, gpu.default_engine) == (bfloat16, engine)


def test_torch_reports_more_than_the_driver_on_newer_cards_only() -> None:
    assert gpus()["arc-pro-b70"].torch_total_bytes / GIB == pytest.approx(31.89, abs=0.01)
    a770 = gpus()["arc-a770-16g"]
    assert a770.torch_total_bytes == a770.visible_bytes


def test_every_discrete_product_is_there() -> None:
    ids = (
        "56a6", "56a5", "56a2", "56a1", "56a0", "56b0", "56b1", "56b3",
        "e20c", "e20b", "e212", "e211", "e222", "e223", "56c1", "56c0",
        "0bda", "0b69", "0bd5",
    )  # fmt: skip
    assert [i for i in ids if not gpus_by_pci_id(i)] == []


def test_an_ambiguous_pci_id_gives_both_boards() -> None:
    assert [g.name for g in gpus_by_pci_id("0x56A0")] == ["arc-a770-8g", "arc-a770-16g"]
    assert [g.name for g in gpus_by_pci_id("e211")] == ["arc-pro-b60"]
    assert gpus_by_pci_id("ffff") == ()


def test_every_card_has_an_engine_that_runs_on_it() -> None:
    for gpu in gpus().values():
        assert default_engine(gpu.default_engine, gpu.architecture) is not None, gpu.name


def test_engines_only_name_formats_and_flags_that_exist() -> None:
    for family in engines().values():
        for engine in family:
            for name in engine.quantizations:
                assert engine.name in quantizations()[name].flags, (engine.key, name)
            passed = [f for f, _ in (*engine.defaults, *engine.tensor_parallel)]
            passed += [f for f, _ in engine.request_logging_off]
            passed += [engine.accounting.pin] if engine.accounting.pin else []
            assert set(passed) <= engine.flags, engine.key


@pytest.mark.parametrize(
    ("engine", "version", "generation", "assumed"),
    [
        ("vllm", "0.8.3", "v0-xpu", False),
        ("vllm", "0.10.1rc2.dev189+ge2db1164a", "v1-xpu", False),
        ("vllm", "0.19.0", "v1-unified-018", False),
        ("vllm", "0.25.1", "v1-unified-025", False),
        ("vllm", "0.31.0", "v1-unified-025", True),
        ("vllm", "0.3.3", "v0-xpu", True),
        ("llm-scaler", "0.21.0-b3.1", "v1-unified-021", False),
    ],
)
def test_versions_select_a_generation(
    engine: str, version: str, generation: str, assumed: bool
) -> None:
    found = find_engine(engine, version)
    assert found is not None
    assert (found.accounting.name, found.assumed) == (generation, assumed)


def test_no_engine_without_numbers_in_its_version() -> None:
    assert find_engine("vllm", "latest") is None
    assert find_engine("triton", "1.0") is None


def test_ipex_llm_stores_fp8_in_its_own_way() -> None:
    assert quantization_for("fp8", "ipex-llm").lm_head
    assert not quantization_for("fp8", "vllm").lm_head


def test_at_least_95_models_all_readable() -> None:
    distinct = {id(entry): entry for entry in models().values()}
    assert len(distinct) >= 95
    for entry in distinct.values():
        assert parse_config(entry["config"]).layers > 0
        assert entry["source"] or entry["unsourced"]


def test_models_by_alias_and_in_any_case() -> None:
    assert find_model("google/gemma-2-9b-it") is find_model("GOOGLE/gemma-2-9b")
    assert find_model("nobody/nothing") is None


@pytest.mark.parametrize(
    "size", ["2-7B", "2-72B", "2.5-1.5B", "2.5-7B", "2.5-14B", "2.5-32B", "2.5-72B"]
)
def test_instruct_models_have_the_positions_of_their_own_config(size: str) -> None:
    base, instruct = find_model(f"Qwen/Qwen{size}"), find_model(f"Qwen/Qwen{size}-Instruct")
    assert base is not None
    assert instruct is not None
    assert base["config"]["max_position_embeddings"] == 131072
    assert instruct["config"] == {**base["config"], "max_position_embeddings": 32768}


def test_every_id_can_be_written_in_spec_model_id() -> None:
    for name in models():
        assert Model(id=name).id == name


def test_the_generator_changes_nothing_in_what_it_made() -> None:
    stored = json.loads(generator.CATALOGUE.read_text(encoding="utf-8"))
    assert generator.tidy(stored) == stored
    generator.check(stored)


def test_the_generator_takes_remarks_off_aliases_and_refuses_other_ids() -> None:
    survey = {"a/b": {"config": {}, "source": [], "aliases": ["a/b-it (another dtype)"]}}
    tidied = generator.tidy(survey)
    assert tidied["a/b"]["aliases"] == ["a/b-it"]
    assert tidied["a/b"]["notes"] == "a/b-it: another dtype."
    with pytest.raises(ValueError, match="a/b c"):
        generator.check({"a/b c": {}})
    with pytest.raises(ValueError, match="a/b"):
        generator.check({"a/b": {"aliases": ["a/b"]}})


def test_nearest_names() -> None:
    assert nearest("sym-int4", quantizations())[0] == "sym_int4"
    assert nearest("arc-a770", gpus())[0] in {"arc-a770-16g", "arc-a770-8g"}
