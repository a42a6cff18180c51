"""Intel GPUs as the kernel shows them to an unprivileged container: render nodes and total VRAM.

Used VRAM is hidden without CAP_PERFMON (uAPI xe_drm.h and i915_drm.h), total VRAM is not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What Level Zero shows of the driver's total on Linux discrete GPUs (intel/compute-runtime
# shared/source/os_interface/linux/drm_memory_manager.cpp): visible = 0.95 * total.
VISIBLE_PERCENT = 95

_VRAM_CLASS = 1  # DRM_XE_MEM_REGION_CLASS_VRAM, I915_MEMORY_CLASS_DEVICE
_REGION_BYTES = 88  # struct drm_xe_mem_region and struct drm_i915_memory_region_info
_MAX_BYTES = 1 << 16

# ioctl(fd, request, buffer) fills the buffer in place; a parameter so that tests can stand in.
Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True, slots=True)
class RenderNode:
    """`error` is the errno of opening it (0 if it opens); `total_bytes` 0 if not known."""

    name: str
    driver: str = ""
    total_bytes: int = 0
    error: int = 0


def render_nodes(
    dev: Path = Path("/dev/dri"), sys_char: Path = Path("/sys/dev/char")
) -> list[RenderNode]:
    """Every /dev/dri/renderD* that is visible here, in order."""
    found = []
    for path in sorted(dev.glob("renderD*")):
        try:
            driver = _driver(path, sys_char)
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            found.append(RenderNode(path.name, error=error.errno or errno.EIO))
            continue
        try:
            found.append(RenderNode(path.name, driver, total_vram(fd, driver)))
        finally:
            os.close(fd)
    return found


def total_vram(fd: int, driver: str, ioctl: Ioctl = fcntl.ioctl) -> int:
    """Bytes of device memory that the driver reports; 0 for another driver or an old kernel."""
    query = {"xe": _query_xe, "i915": _query_i915}.get(driver)
    try:
        return query(fd, ioctl) if query else 0
    except (OSError, struct.error):
        return 0


def _driver(path: Path, sys_char: Path) -> str:
    number = path.stat().st_rdev
    link = sys_char / f"{os.major(number)}:{os.minor(number)}" / "device" / "driver"
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return ""


def _iowr(number: int, size: int) -> int:
    """_IOWR('d', number, size) of asm-generic/ioctl.h."""
    return (3 << 30) | (size << 16) | (ord("d") << 8) | number


def _query_xe(fd: int, ioctl: Ioctl) -> int:
    """DRM_IOCTL_XE_DEVICE_QUERY, DRM_XE_DEVICE_QUERY_MEM_REGIONS (xe_drm.h)."""
    layout = struct.Struct("=QIIQQQ")  # extensions, query, size, data, reserved[2]
    request = _iowr(0x40, layout.size)
    head = bytearray(layout.pack(0, 1, 0, 0, 0, 0))
    ioctl(fd, request, head)  # the first call asks for the size
    size = min(layout.unpack(head)[2], _MAX_BYTES)
    data = ctypes.create_string_buffer(size)
    head = bytearray(layout.pack(0, 1, size, ctypes.addressof(data), 0, 0))
    ioctl(fd, request, head)
    # u32 num_mem_regions, u32 pad; region: u16 class, u16 instance, u32 page size, u64 total …
    return _sum_regions(data.raw, first=8)


def _query_i915(fd: int, ioctl: Ioctl) -> int:
    """DRM_IOCTL_I915_QUERY, DRM_I915_QUERY_MEMORY_REGIONS (i915_drm.h, Linux 5.18)."""
    layout = struct.Struct("=QiIQ")  # query_id, length, flags, data_ptr
    item = ctypes.create_string_buffer(layout.pack(4, 0, 0, 0), layout.size)
    request = _iowr(0x79, 16)
    head = struct.pack("=IIQ", 1, 0, ctypes.addressof(item))  # num_items, flags, items_ptr
    ioctl(fd, request, bytearray(head))
    size = layout.unpack(item.raw)[1]
    if not 0 < size <= _MAX_BYTES:
        return 0
    data = ctypes.create_string_buffer(size)
    item.raw = layout.pack(4, size, 0, ctypes.addressof(data))
    ioctl(fd, request, bytearray(head))
    # u32 num_regions, u32 rsvd[3]; region: u16 class, u16 instance, u32 rsvd, u64 probed_size …
    return _sum_regions(data.raw, first=16)


def _sum_regions(data: bytes, first: int) -> int:
    count = struct.unpack_from("=I", data)[0]
    total = 0
    for index in range(count):
        offset = first + index * _REGION_BYTES
        kind, size = struct.unpack_from("=H6xQ", data, offset)
        total += size if kind == _VRAM_CLASS else 0
    return int(total)
