"""What is found before the engine starts."""

from __future__ import annotations

import errno

from xpullm_runtime.cgroup import HostMemory
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.drm import RenderNode
from xpullm_runtime.preflight import Finding, check

GIB = 1 << 30
MIB = 1 << 20
# What the plan for an Arc A770 16 GB counts on: 0.95 of the driver's 16288 MiB.
CONFIG = RuntimeConfig(
    devices=1, vram_bytes=15473 * MIB, host_memory_bytes=16 * GIB, shm_bytes=4 * GIB
)
A770_16G = RenderNode("renderD128", "i915", 16288 * MIB)
A770_8G = RenderNode("renderD128", "i915", 8127 * MIB)
HOST = HostMemory(limit_bytes=16 * GIB)


def found(
    config: RuntimeConfig = CONFIG,
    nodes: tuple[RenderNode, ...] = (A770_16G,),
    host: HostMemory = HOST,
    shm_bytes: int = 4 * GIB,
    available_bytes: int = 32 * GIB,
) -> list[Finding]:
    return check(config, nodes, host, shm_bytes, available_bytes)


def test_the_planned_machine_has_no_findings() -> None:
    assert found() == []


def test_the_8_gb_board_of_the_same_pci_id_stops_the_start() -> None:
    assert found(nodes=(A770_8G,)) == [
        Finding(
            "wrong_gpu",
            "renderD128 has 7.54 GiB of visible VRAM, the plan is for 15.11 GiB: "
            "label the node with xpullm.io/gpu-type",
            fatal=True,
        )
    ]


def test_a_small_card_beside_the_planned_one_stops_nothing() -> None:
    """Without a device plugin all cards of a machine are visible."""
    small = RenderNode("renderD129", "i915", 6064 * MIB)
    assert [(f.cause, f.fatal) for f in found(nodes=(A770_16G, small))] == [("wrong_gpu", False)]
    two = RuntimeConfig(devices=2, vram_bytes=15473 * MIB)
    assert [f.fatal for f in found(config=two, nodes=(A770_16G, small))] == [True]


def test_a_larger_card_or_an_unknown_total_stops_nothing() -> None:
    assert found(nodes=(RenderNode("renderD128", "xe", 24480 * MIB),)) == []
    assert found(nodes=(RenderNode("renderD128", "other", 0),)) == []


def test_missing_devices_are_a_finding_that_leaves_the_engine_its_own_word() -> None:
    assert [(f.cause, f.fatal) for f in found(nodes=())] == [("no_device", False)]
    assert found(nodes=())[0].text.startswith("0 of 1 GPUs visible in /dev/dri")
    assert found(config=RuntimeConfig(), nodes=()) == []


def test_a_device_without_permission_names_the_group() -> None:
    nodes = (RenderNode("renderD128", error=errno.EACCES),)
    assert [f.cause for f in found(nodes=nodes)] == ["permission_denied"]
    assert "supplementalGroups" in found(nodes=nodes)[0].text


def test_host_memory_below_the_plan_is_named_with_both_figures() -> None:
    text = "the memory limit is 8.00 GiB, the plan needs 16.00 GiB: raise the limit"
    assert found(host=HostMemory(limit_bytes=8 * GIB)) == [Finding("host_oom", text)]
    assert found(host=HostMemory(), available_bytes=0) == []
    assert [f.cause for f in found(available_bytes=8 * GIB)] == ["host_oom"]


def test_small_shared_memory_is_named() -> None:
    assert [f.cause for f in found(shm_bytes=64 * MIB)] == ["shm_exhausted"]
    assert found(shm_bytes=0) == []


def test_what_stops_the_start_comes_first() -> None:
    findings = found(nodes=(A770_8G,), shm_bytes=64 * MIB, host=HostMemory(limit_bytes=GIB))
    assert [f.cause for f in findings] == ["wrong_gpu", "host_oom", "shm_exhausted"]
