"""What is read from the kernel: cgroups of both versions, DRM fdinfo, total VRAM, environment."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest

from xpullm_runtime.cgroup import HostMemory, MemoryCgroup, own_cgroup
from xpullm_runtime.drm import render_nodes, total_vram
from xpullm_runtime.envscripts import ALLOWED, EnvScriptError, parse, source
from xpullm_runtime.fdinfo import GpuMemory, gpu_memory

GIB = 1 << 30


def proc(tmp_path: Path, mountinfo: str, cgroup: str) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "mountinfo").write_text(mountinfo)
    (folder / "cgroup").write_text(cgroup)
    return folder


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_1_inside_a_container_shows_the_own_group_at_the_mounts_root(
    tmp_path: Path,
) -> None:
    mount = tmp_path / "memory"
    write(
        mount,
        memory__limit_in_bytes="8589934592\n",
        memory__usage_in_bytes="3221225472\n",
        memory__max_usage_in_bytes="4294967296\n",
        memory__stat="cache 5\ntotal_cache 2147483648\ntotal_shmem 536870912\n"
        "total_inactive_file 1073741824\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    group = own_cgroup(
        proc(
            tmp_path,
            f"36 35 0:31 /kubepods/pod1/c1 {mount} ro,nosuid - cgroup cgroup rw,memory\n",
            "9:memory:/kubepods/pod1/c1\n1:name=systemd:/x\n0::/\n",
        )
    )
    # Peak and kills count since the start, not since the group's birth.
    # Of the 2 GiB of pages of files half a GiB is shared memory, which stays.
    held = 3 * GIB // 2
    assert group.sample() == HostMemory(8 * GIB, 3 * GIB, 2 * GIB, 3 * GIB, held, oom_kills=0)
    write(
        mount,
        memory__max_usage_in_bytes="5368709120\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    )
    held = 7 * GIB // 2  # usage stood at 5 GiB since the last look, the cache at 1.5 GiB
    assert group.sample() == HostMemory(8 * GIB, 3 * GIB, 2 * GIB, 5 * GIB, held, oom_kills=1)


def test_version_2_with_an_old_kernel_keeps_the_highest_usage_seen(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    write(
        mount / "user" / "session",
        memory__max="max\n",
        memory__current="3221225472\n",
        memory__stat="anon 1\nfile 1073741824\nshmem 0\ninactive_file 0\n"
        "slab_reclaimable 1048576\n",
        memory__events="low 0\noom 0\noom_kill 0\n",
    )
    group = own_cgroup(
        proc(tmp_path, f"30 25 0:26 / {mount} rw - cgroup2 cgroup2 rw\n", "0::/user/session\n")
    )
    held = 2 * GIB - (1 << 20)
    assert group.sample() == HostMemory(0, 3 * GIB, 3 * GIB, 3 * GIB, held)
    write(
        mount / "user" / "session",
        memory__current="1073741824\n",
        memory__events="low 0\noom 1\noom_kill 1\n",
    )
    assert group.sample() == HostMemory(0, GIB, GIB, 3 * GIB, held, oom_kills=1)


def test_where_the_page_cache_is_not_told_nothing_is_said_of_the_rest(tmp_path: Path) -> None:
    write(tmp_path, memory__current="3221225472\n")
    assert MemoryCgroup(tmp_path, 2).sample() == HostMemory(0, 3 * GIB, 3 * GIB, 3 * GIB)


def test_version_1_without_a_limit_has_none(tmp_path: Path) -> None:
    write(
        tmp_path / "memory" / "a",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__usage_in_bytes="1\n",
    )
    group = own_cgroup(
        proc(
            tmp_path,
            f"36 35 0:31 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n",
            "9:memory:/a\n",
        )
    )
    assert group.sample().limit_bytes == 0


def test_no_cgroup_is_no_error(tmp_path: Path) -> None:
    assert own_cgroup(tmp_path / "nothing").sample() == HostMemory()


XE = """pos: 0
drm-driver: xe
drm-client-id: 7
drm-pdev: 0000:03:00.0
drm-total-vram0: 900 MiB
drm-resident-vram0: 512 MiB
drm-resident-gtt: 2048 KiB
"""
I915 = """drm-driver: i915
drm-client-id: 9
drm-pdev: 0000:04:00.0
drm-resident-local0: 1024 KiB
drm-resident-system0: 4096
"""


def test_vram_of_a_process_tree_counts_each_client_once(tmp_path: Path) -> None:
    for pid, number, target, text in (
        ("10", "3", "/dev/dri/renderD128", XE),
        ("10", "4", "/dev/dri/renderD128", XE),  # the same client through a second descriptor
        ("11", "3", "/dev/dri/renderD128", XE),  # and in a child that inherited it
        ("11", "5", "/dev/dri/renderD129", I915),
        ("11", "6", "/tmp/file", XE.replace("7", "8")),
    ):
        (tmp_path / pid / "fd").mkdir(parents=True, exist_ok=True)
        (tmp_path / pid / "fdinfo").mkdir(exist_ok=True)
        (tmp_path / pid / "fd" / number).symlink_to(target)
        (tmp_path / pid / "fdinfo" / number).write_text(text)
    assert gpu_memory([10, 11, 12], tmp_path) == GpuMemory(
        device_bytes=(512 << 20) + (1 << 20), host_bytes=(2 << 20) + 4096
    )


def regions(head: bytes, *memories: tuple[int, int]) -> bytes:
    """Memory regions as both drivers lay them out: class, instance, …, size, 72 bytes of rest."""
    return head + b"".join(
        struct.pack("=HHIQ", kind, 0, 65536, size) + bytes(72) for kind, size in memories
    )


def test_total_vram_of_an_xe_device() -> None:
    answer = regions(struct.pack("=II", 2, 0), (0, 64 * GIB), (1, 12216 << 20))
    requests = []

    def ioctl(fd: int, request: int, buffer: bytearray) -> None:
        requests.append(request)
        _, query, size, pointer, _, _ = struct.unpack("=QIIQQQ", buffer)
        assert (fd, query) == (5, 1)
        if size:
            assert size == len(answer)
            ctypes.memmove(pointer, answer, size)
        else:
            struct.pack_into("=I", buffer, 12, len(answer))

    assert total_vram(5, "xe", ioctl) == 12216 << 20
    assert requests == [0xC0286440] * 2  # as a C compiler computes DRM_IOCTL_XE_DEVICE_QUERY


def test_total_vram_of_an_i915_device() -> None:
    answer = regions(struct.pack("=IIII", 2, 0, 0, 0), (0, 64 * GIB), (1, 16288 << 20))
    requests = []

    def ioctl(fd: int, request: int, buffer: bytearray) -> None:
        requests.append(request)
        count, _, pointer = struct.unpack("=IIQ", buffer)
        item = (ctypes.c_char * 24).from_address(pointer)
        query, length, _, data = struct.unpack("=QiIQ", item.raw)
        assert (count, query) == (1, 4)
        if length:
            ctypes.memmove(data, answer, length)
        else:
            item[8:12] = struct.pack("=i", len(answer))

    assert total_vram(5, "i915", ioctl) == 16288 << 20
    assert requests == [0xC0106479] * 2


def test_an_unknown_driver_or_a_refusing_kernel_is_not_known() -> None:
    def refuse(fd: int, request: int, buffer: bytearray) -> None:
        raise OSError(22, "Invalid argument")

    assert total_vram(5, "nvidia", refuse) == 0
    assert total_vram(5, "xe", refuse) == 0
    assert total_vram(5, "i915", refuse) == 0


def test_render_nodes_that_cannot_be_opened_are_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "renderD128").mkdir()  # opening a folder for writing fails: EISDIR
    (tmp_path / "card0").touch()
    assert [(node.name, node.error) for node in render_nodes(tmp_path)] == [("renderD128", 21)]


def test_a_script_adds_to_the_environment_and_the_shells_own_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "setvars.sh"
    script.write_text(
        "echo noise; export LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH FORCED=$1\n"
        "export MULTI=$'two\\nlines'; f() { :; }; export -f f; unset GONE\n"
    )
    monkeypatch.setattr("xpullm_runtime.envscripts.ALLOWED", __import__("re").compile(".*"))
    before = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/lib", "GONE": "x", "PWD": "/kept"}
    assert source([str(script)], before) == {
        "PATH": "/usr/bin:/bin",
        "LD_LIBRARY_PATH": "/opt/lib:/lib",
        "FORCED": "--force",
        "MULTI": "two\nlines",
        "PWD": "/kept",
    }


@pytest.mark.parametrize(
    "path",
    [
        "setvars.sh",
        "/opt/../etc/x.sh",
        "/opt/intel/x",
        "/etc/profile.sh",
        "/opt/a b.sh",
        "/opt/$(id).sh",
        "/opt/x.sh\n",
        "/opt/.hidden/x.sh",
        "-c",
    ],
)
def test_other_paths_never_reach_the_shell(path: str) -> None:
    with pytest.raises(EnvScriptError, match="is no script below /opt or /llm"):
        source([path], {})


def test_the_scripts_of_intels_images_are_allowed() -> None:
    assert ALLOWED.fullmatch("/opt/intel/oneapi/setvars.sh")
    assert ALLOWED.fullmatch("/opt/intel/1ccl-wks/setvars.sh")


def test_a_script_that_the_image_lacks_is_named() -> None:
    with pytest.raises(EnvScriptError, match=r"/opt/none/x\.sh: the image has no such file"):
        source(["/opt/none/x.sh"], {})


def test_an_environment_is_read_as_bytes() -> None:
    assert parse(b"A=1\0B=x=y\0C=\xff\0BASH_FUNC_f%%=() { :; }\0") == {
        "A": "1", "B": "x=y", "C": "\udcff",
    }  # fmt: skip
