"""Rows in, rows out; anything may be rubbish."""

import json
from pathlib import Path

import pytest

from xpullm_runtime.diagnosis import causes, diagnose_row

DATA = Path(__file__).parents[2] / "data"
TIGHTEN = {cause for cause, known in causes().items() if known["helps"] == "arguments"}


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def measured(name):
    right = tighten = wrong = 0
    data = rows(name)
    for row in data:
        answer = diagnose_row(row)
        right += answer["cause"] == row["label"]
        tighten += (answer["helps"] == "arguments") == (row["label"] in TIGHTEN)
        wrong += answer["helps"] == "arguments" and row["label"] not in TIGHTEN
    return right / len(data), tighten / len(data), wrong


@pytest.mark.parametrize(
    "name",
    [
        "failures.jsonl",
        "failures_written.jsonl",
        "failures_public.jsonl",
        "failures_public_2.jsonl",
        "failures_public_3.jsonl",
    ],
)
def test_labelled_failures(name):
    right, tighten, wrong = measured(name)
    assert right >= 0.97
    assert tighten >= 0.99
    assert wrong == 0


def test_the_shape_of_an_answer():
    row = {
        "id": "a",
        "log": "OSError: [Errno 98] Address already in use",
        "exit_code": 1,
        "pod": None,
    }
    assert diagnose_row(row) == {
        "id": "a",
        "cause": "port_in_use",
        "phase": "starting",
        "helps": "wait",
        "first_move": "retry, then another port",
        "evidence": ["OSError: [Errno 98] Address already in use"],
    }


@pytest.mark.parametrize(
    "rubbish",
    [None, 1, "x", [], {}, {"log": None}, {"log": 5}, {"log": ["a", 1]}, {"exit_code": "1"},
     {"exit_code": True}, {"pod": "x"}, {"pod": []}, {"log": "\x00\ud800" * 9}, {"log": "a" * 10**6}],  # noqa: E501
)  # fmt: skip
def test_rubbish_gets_an_answer(rubbish):
    answer = diagnose_row(rubbish)
    assert answer["cause"] == "unknown"
    json.dumps(answer)


def test_an_argument_that_corrects_itself_names_its_value():
    log = (
        "ValueError: User-specified max_model_len (40960) is greater than the derived max_model_len"
        " (max_position_embeddings=32768 or model_max_length=None in model's config.json)."
    )
    answer = diagnose_row({"log": log, "exit_code": 1})
    assert (answer["cause"], answer["helps"]) == ("bad_arguments", "person")
    assert answer["first_move"] == "lower max-model-len to 32768"


def test_the_first_move_depends_on_the_engines_generation():
    log = "INFO:     Application startup complete.\nRuntimeError: XPU out of memory. Tried to allocate 1.00 GiB"  # noqa: E501
    assert diagnose_row({"log": log})["first_move"] == "lower kv-cache-memory-bytes"
    assert diagnose_row({"log": log, "engine": "vLLM V0 (ipex-llm)"})["first_move"] == (
        "lower max-num-batched-tokens"
    )
