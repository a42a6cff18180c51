"""Files and rows as every command reads and answers them, and how one ends where it can't.

Imports nothing that takes time: every command needs this before it knows what else.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import typer

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_ROW_BYTES = 16 * 1024 * 1024  # one line of a batch


class InputError(Exception):
    """What the user gave can't be read; the message names file and place. Exit code 2."""


def fail(message: str) -> NoReturn:
    """End the command: invalid input."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def read_text(path: str) -> str:
    """A file's text, "-" for standard input; at most MAX_FILE_BYTES.

    Raises:
        InputError: it can't be read, or is larger.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 1024**2} MiB")
    return data.decode(errors="replace")


@contextmanager
def opened(path: str | None) -> Iterator[IO[bytes]]:
    """A file of any size, standard input where it is "-" or none is given.

    Raises:
        InputError: it can't be opened. What fails later, such as a closed pipe behind us, is not
            the file's error.
    """
    if path is None or path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with file:
        yield file


def rows(source: IO[bytes]) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Number and JSON object of each line that is not empty; or none, and why it can't be read.

    Memory is bounded, however long a line is.
    """
    number = 0
    while line := source.readline(MAX_ROW_BYTES):
        number += 1
        if not line.strip():
            continue
        try:
            if len(line) >= MAX_ROW_BYTES and not line.endswith(b"\n"):
                while (rest := source.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
                    pass
                raise ValueError(f"longer than {MAX_ROW_BYTES} bytes")
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"must be a JSON object, is {type(row).__name__}")
        except (ValueError, RecursionError) as error:
            yield number, {}, f"line {number}: not a JSON row: {error}"
        else:
            yield number, row, ""


def answered(answer: Mapping[str, Any], indent: int | None = None) -> str:
    """An answer as JSON, with its newline. JSON knows no NaN and no infinity, though Python reads
    them: what is repeated of a row has null instead."""
    try:
        return json.dumps(answer, allow_nan=False, indent=indent) + "\n"
    except ValueError:
        return json.dumps(_finite(answer), indent=indent) + "\n"


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
    return value
