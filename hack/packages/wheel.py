"""A published wheel, read member by member over HTTP range requests, and cached."""

from __future__ import annotations

import io
import json
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hack.bootstrap import cache_root, find_uv

_BLOCK = 1 << 18
_ATTEMPTS = 3
_TIMEOUT_S = 60


class PackageError(Exception):
    """A package can't be read; the message says which and why."""


class UnreachableError(PackageError):
    """The package index did not answer."""


@dataclass
class Wheel:
    """One released wheel: `Wheel("vllm", "0.10.2")`. Nothing is fetched before it is asked for."""

    name: str
    version: str
    _folder: Path = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._folder = cache_root() / "packages" / f"{self.name}-{self.version}"

    @property
    def names(self) -> list[str]:
        """All members' paths, in the archive's order."""
        listing = self._folder / "names.json"
        if not listing.exists():
            _write(listing, json.dumps(self._archive.namelist()).encode())
        names: list[str] = json.loads(listing.read_text(encoding="utf-8"))
        return names

    def text(self, path: str) -> str:
        """One member's text.

        Raises:
            PackageError: there is no such member, or the package index can't be read.
        """
        if path not in self.names:
            raise PackageError(f"{self.name} {self.version} has no {path}")
        kept = self._folder / "files" / path
        if not kept.exists():
            try:
                _write(kept, self._archive.read(path))
            except OSError as error:
                raise UnreachableError(f"{self.name} {self.version}: {path}: {error}") from error
        return kept.read_text(encoding="utf-8")

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        url, size = locate(self.name, self.version)
        try:
            return zipfile.ZipFile(io.BufferedReader(RangeFile(url, size), _BLOCK))
        except OSError as error:
            raise UnreachableError(f"{self.name} {self.version}: {error}") from error


def locate(name: str, version: str) -> tuple[str, int]:
    """The URL and the size of a version's Linux wheel, as uv's resolver finds them.

    Raises:
        UnreachableError: the package index did not answer.
        PackageError: it has no such wheel.
    """
    command = [
        str(find_uv()), "pip", "compile", "--quiet", "--no-deps", "--no-header",
        "--prerelease", "allow", "--format", "pylock.toml", "--python-version", "3.12",
        "--python-platform", "x86_64-manylinux_2_34", "-",
    ]  # fmt: skip
    done = subprocess.run(command, input=f"{name}=={version}\n", capture_output=True, text=True)
    if done.returncode:
        kind = PackageError if "there is no version of" in done.stderr else UnreachableError
        raise kind(f"{name} {version}: {' '.join(done.stderr.split())[-400:]}")
    wheels = tomllib.loads(done.stdout)["packages"][0].get("wheels", [])
    if not wheels:
        raise PackageError(f"{name} {version} has no wheel for x86-64 Linux")
    return str(wheels[0]["url"]), int(wheels[0]["size"])


class RangeFile(io.RawIOBase):
    """A remote file of known size that can be read at any place; the server must know ranges."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._position = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._fetch(self._position, end - 1)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, first: int, last: int) -> bytes:
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={first}-{last}"})
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    if answer.status != 206:
                        raise PackageError(f"{self._url}: no range requests ({answer.status})")
                    data: bytes = answer.read(last - first + 1)
                    return data
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise OSError(f"{self._url}: {error}") from error
                time.sleep(2**attempt)
        raise AssertionError("unreachable")


def _write(path: Path, data: bytes) -> None:
    """All or nothing: another process may read or write the same cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{time.monotonic_ns()}.part")
    part.write_bytes(data)
    part.replace(path)
