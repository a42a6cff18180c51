"""Builds the zipapp: `python -m xpullm_runtime.build OUT.pyz`.

The same sources give the same bytes on every machine: sorted entries, a fixed time, no compression
(zlib's output differs between its versions).
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
SUFFIXES = (".py", ".json")
_MAIN = "from xpullm_runtime.__main__ import main\n\nraise SystemExit(main())\n"


def archive() -> bytes:
    """The zipapp's bytes."""
    root = Path(__file__).resolve().parent
    files = {"__main__.py": _MAIN.encode()}
    for path in sorted(root.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            files[f"{root.name}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.create_system = 3  # Unix, wherever it is built
            zipped.writestr(info, files[name])
    return SHEBANG + buffer.getvalue()


def write(target: Path, data: bytes) -> None:
    """Atomically: a reader sees the old file or the whole new one, executable for all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    """Write the archive to the one argument."""
    if len(sys.argv) != 2:
        print("usage: python -m xpullm_runtime.build OUT.pyz", file=sys.stderr)
        return 2
    write(Path(sys.argv[1]), archive())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
