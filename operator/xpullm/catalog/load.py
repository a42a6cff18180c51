"""Reads the catalogue's data files. Each table is parsed once, when it is first asked for."""

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xpullm.catalog.types import (
    GPU,
    Accounting,
    Engine,
    Family,
    Quantization,
    Runtime,
    Sampler,
)

DATA = Path(__file__).parent / "data"
MIB = 1 << 20

# Linux user-mode driver, discrete cards: compute-runtime drm_memory_manager.cpp.
_VISIBLE_PERCENT = 95


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


@cache
def gpus() -> Mapping[str, GPU]:
    """All cards by catalogue name."""
    architectures = _toml("architectures.toml")
    result: dict[str, GPU] = {}
    for name, row in _toml("gpus.toml").items():
        arch = architectures[row["architecture"]]
        usable = row["usable_mib"] * MIB
        visible = row["usable_mib"] * _VISIBLE_PERCENT // 100 * MIB
        result[name] = GPU(
            name=name,
            title=row["title"],
            architecture=row["architecture"],
            pci_ids=tuple(row["pci_ids"]),
            kmd=row["kmd"],
            vram_bytes=row["vram_mib"] * MIB,
            usable_bytes=usable,
            visible_bytes=visible,
            torch_total_bytes=usable if arch.get("torch_reports_physical") else visible,
            devices_per_unit=row.get("devices_per_unit", 1),
            max_allocation_bytes=arch.get("max_allocation_bytes", 0),
            compute_units=row["compute_units"],
            bfloat16=arch["bfloat16"],
            host_mirror=arch.get("host_mirror", False),
            default_engine=arch["default_engine"],
            source=row["source"],
            notes=row.get("notes", ""),
        )
    return MappingProxyType(result)


@cache
def quantizations() -> Mapping[str, Quantization]:
    """All storage formats by catalogue name, as the engines in general store them."""
    return MappingProxyType(
        {n: _quantization(n, r) for n, r in _toml("quantizations.toml").items()}
    )


@cache
def quantization_for(name: str, engine: str) -> Quantization:
    """The format as this engine stores it (ipex-llm's fp8 is not vLLM's)."""
    row = _toml_quantizations()[name]
    special = row.get("per_engine", {}).get(engine)
    return _quantization(name, {**row, **special}) if special else quantizations()[name]


@cache
def _toml_quantizations() -> dict[str, Any]:
    return _toml("quantizations.toml")


def _quantization(name: str, row: Mapping[str, Any]) -> Quantization:
    return Quantization(
        name=name,
        title=row["title"],
        linear_bytes=row.get("linear_bytes", 0.0),
        weight_bits=row.get("bits", 0),
        group_size=row.get("group_size", 0),
        scale_bytes=row.get("scale_bytes", 0),
        zero_bits=row.get("zero_bits", 0),
        channel_scale_bytes=row.get("channel_scale_bytes", 0),
        in_features_multiple=row.get("multiple", 1),
        lm_head=row.get("lm_head", False),
        moe_only=row.get("moe_only", False),
        online=row.get("online", False),
        precision=row["precision"],
        dtypes=tuple(row["dtypes"]),
        methods=tuple(row.get("methods", ())),
        flags=MappingProxyType({e: _flags(f) for e, f in row["engines"].items()}),
        source=row["source"],
        notes=row.get("notes", ""),
    )


def _flags(rows: list[list[str]]) -> tuple[tuple[str, str | None], ...]:
    return tuple((row[0], row[1] if len(row) > 1 else None) for row in rows)


@cache
def accountings() -> Mapping[str, Accounting]:
    """All engine generations by name."""
    data = _toml("accounting.toml")
    samplers = {n: Sampler(name=n, **row) for n, row in data["sampler"].items()}
    runtimes = {n: _runtime(row) for n, row in data["runtime"].items()}
    rows: dict[str, dict[str, Any]] = {}
    result: dict[str, Accounting] = {}
    for name, raw in data["generation"].items():
        row = {**rows.get(raw.get("base", ""), {}), **raw}
        rows[name] = row
        used = [runtimes[r] for r in row["runtimes"]]
        result[name] = Accounting(
            name=name,
            title=row["title"],
            pool=row["pool"],
            runtime=row["runtime"],
            runtime_assumed_bytes=row.get("runtime_assumed_mib", 0) * MIB,
            start_gate=row["start_gate"],
            graphs_in_budget=row["graphs_in_budget"],
            total=row["total"],
            pin=row["pin"],
            tokens_from_concurrency=row.get("tokens_from_concurrency", False),
            prefill_follows_context=row["prefill_follows_context"],
            hybrid_groups=row["hybrid_groups"],
            v2_runner=row.get("v2_runner", ""),
            v2_architectures=frozenset(row.get("v2_architectures", ())),
            expert_multiples=MappingProxyType(
                {p: (n[0], n[1]) for p, n in row.get("expert_multiples", {}).items()}
            ),
            sampler=samplers[row["sampler"]],
            v2_sampler=samplers["v2"],
            runtimes=MappingProxyType({r.platform: r for r in used}),
            source=row["source"],
        )
    return MappingProxyType(result)


def _runtime(row: Mapping[str, Any]) -> Runtime:
    return Runtime(
        platform=row["platform"],
        context_bytes=row["context_mib"] * MIB,
        one_rank_bytes=row["one_rank_mib"] * MIB,
        ranks_bytes=row["ranks_mib"] * MIB,
        fixed_bytes=row["fixed_mib"] * MIB,
        margin_bytes=row["margin_mib"] * MIB,
        gemm_workspace_bytes=row.get("gemm_workspace_mib", 0) * MIB,
        compile_bytes=row.get("compile_mib", 0) * MIB,
        graph_layer_bytes=int(row.get("graph_layer_mib", 0) * MIB),
        max_split_bytes=row.get("max_split_mib", 0) * MIB,
        compute_units=row["compute_units"],
        zero_point_bits=row.get("zero_point_bits", 0),
        block_size=row.get("block_size", 0),
        shares=tuple((int(n), p) for n, p in row.get("shares_percent", {}).items()),
        source=row["source"],
        context_source=row["context_source"],
        graph_source=row["graph_source"],
    )


@cache
def flag_lists() -> Mapping[str, list[str]]:
    """The long flags, without dashes, of each known vLLM release (hack/generate/flags.py)."""
    lists: dict[str, list[str]] = json.loads((DATA / "flags.json").read_text(encoding="utf-8"))
    return MappingProxyType(lists)


@cache
def flag_values() -> Mapping[str, Mapping[str, str | tuple[str, ...]]]:
    """What flags of each known vLLM release take (hack/generate/flagvalues.py)."""
    changes = json.loads((DATA / "flagvalues.json").read_text(encoding="utf-8"))
    current: dict[str, str | tuple[str, ...]] = {}
    result: dict[str, Mapping[str, str | tuple[str, ...]]] = {}
    for release, changed in changes.items():
        read = {f: tuple(k) if isinstance(k, list) else k for f, k in changed.items()}
        current = {f: k for f, k in {**current, **read}.items() if k is not None}
        result[release] = MappingProxyType(current)
    return MappingProxyType(result)


@cache
def engines() -> Mapping[str, tuple[Engine, ...]]:
    """All versions of each engine, oldest first."""
    flags = flag_lists()
    result: dict[str, tuple[Engine, ...]] = {}
    for name, family in _toml("engines.toml").items():
        common = {k: v for k, v in family.items() if k != "version"}
        rows: dict[str, dict[str, Any]] = {}
        entries: list[Engine] = []
        for raw in family["version"]:
            row = {**common, **rows.get(raw.get("like", ""), {}), **raw}
            rows[raw["version"]] = row
            entries.append(_engine(name, row, flags))
        result[name] = tuple(entries)
    return MappingProxyType(result)


def _engine(name: str, row: Mapping[str, Any], flags: Mapping[str, list[str]]) -> Engine:
    known = accountings()
    return Engine(
        name=name,
        version=row["version"],
        vllm_version=row["vllm_version"],
        title=row["title"],
        image=row["image"],
        command=tuple(row["command"]),
        model_argument=row["model_argument"],
        accounting=known[row["accounting"]],
        accounting_cuda=known[row["accounting_cuda"]] if "accounting_cuda" in row else None,
        flags=frozenset(flags[row["flags"]]) | frozenset(row.get("extra_flags", ())),
        values=flag_values()[row["flags"]],
        defaults=_flags(row["defaults"]),
        env=MappingProxyType(dict(row.get("env", {}))),
        env_scripts=tuple(row.get("env_scripts", ())),
        architectures=tuple(row["architectures"]),
        quantizations=tuple(row["quantizations"]),
        kv_cache_dtypes=tuple(row.get("kv_cache_dtypes", ("auto",))),
        block_size=row["block_size"],
        block_size_flag=row.get("block_size_flag", False),
        default_utilization=row["default_utilization"],
        chunked_prefill=row.get("chunked_prefill", "default"),
        eager_only=row.get("eager_only", False),
        tensor_parallel=_flags(row.get("tensor_parallel", [])),
        tensor_parallel_env=MappingProxyType(dict(row.get("tensor_parallel_env", {}))),
        swap_space_gib=row.get("swap_space_gib", 0.0),
        request_logging_off=_flags(row.get("request_logging_off", [])),
        host_staging=row["host_staging"],
        experimental=row.get("experimental", False),
        mla=row.get("mla", True),
        float16_refused=tuple(row.get("float16_refused", ())),
        source=row["source"],
        notes=row.get("notes", ""),
    )


@cache
def families() -> Mapping[str, Family]:
    """Architectures by config.json's model_type."""
    data = _toml("families.toml")
    base = data.pop("default")
    rows: dict[str, dict[str, Any]] = {"": base}
    for name, raw in data.items():
        rows[name] = {**rows[raw.pop("like", "")], **raw}
    return MappingProxyType({name: Family(name=name, **row) for name, row in rows.items()})


@cache
def models() -> Mapping[str, Mapping[str, Any]]:
    """All models by name and alias: {"config": config.json fields, "source": [...], ...}."""
    data = json.loads((DATA / "models.json").read_text(encoding="utf-8"))
    result: dict[str, Mapping[str, Any]] = {}
    for name, entry in data.items():
        result[name] = entry
        for alias in entry.get("aliases", ()):
            result.setdefault(alias, entry)
    return MappingProxyType(result)
