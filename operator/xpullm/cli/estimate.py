"""`xpullm estimate --batch`: what an engine will allocate for given arguments, row by row."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import IO, Annotated, Any

import typer

from xpullm.cli.inputs import InputError, answered, fail, opened, read_text, rows


def estimate(
    batch: Annotated[
        bool, typer.Option("--batch", help="JSON lines in, from standard input or FILE; JSON out.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="One JSON row, '-' for standard input."),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="json")] = "json",
) -> None:
    """Tell whether given arguments start and hold the worst load.

    A row: id, engine, engine_version, config (a model's config.json), quantization,
    device_total_gib, context_gib, args. A row that cannot be answered gets "starts": null and a
    reason; it never ends the batch.

    Exit codes: 0 the batch was answered, or the one row is safe; 2 invalid input; 3 the one row
    does not start or may die under load.
    """
    if output != "json":
        fail(f"--output: {output!r} is not json")
    try:
        if batch:
            answer_rows(file)
        else:
            answer_one(file)
    except InputError as error:
        fail(str(error))


def answer_rows(path: str | None) -> None:
    """A line of JSON for each row of the file, of standard input where none is given."""
    with opened(path) as source:
        for answer in answers(source):
            sys.stdout.write(answered(answer))


def answer_one(path: str | None) -> None:
    """The answer to a file's one row, and the exit code that tells it."""
    if path is None:
        raise InputError("give --batch (rows on standard input) or --file ROW.json")
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: empty; a row is a JSON object")
    (answer,) = answers(io.BytesIO(text.replace("\n", " ").encode()), numbered=False)
    typer.echo(answered(answer, indent=2), nl=False)
    raise typer.Exit(2 if answer["starts"] is None else 0 if answer["safe"] else 3)


def answers(source: IO[bytes], *, numbered: bool = True) -> Iterator[dict[str, Any]]:
    """One answer for each row, in order. A row without an id that can't be answered is named by
    its line."""
    from xpullm.planner.batch import estimate_row, unanswered

    for number, row, wrong in rows(source):
        answer = unanswered(wrong) if wrong else estimate_row(row)
        if numbered and not wrong and answer["starts"] is None and answer["id"] is None:
            answer["reason"] = f"line {number}: {answer['reason']}"
        yield answer
