"""Laws of diagnosis: it answers whatever it is given, and no text alone makes it act."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

from xpullm_runtime.diagnosis import (
    HELPS,
    PHASES,
    Evidence,
    causes,
    classify,
    diagnose_row,
    interesting,
    marks,
    signatures,
)

LITERALS = sorted({literal for one in signatures() for literal in one.literals})
PREFIXES = (
    "", "(EngineCore_DP0 pid=271) ERROR 07-01 10:00:00 [core.py:866] ", "[rank0]: ", "svc-1  | ",
    "2025-11-11T11:11:11.111111111Z stderr F ", "\x1b[36m(RayWorker pid=3, ip=10.0.0.1)\x1b[0m ",
    "ERROR 10-23 23:20:26 registry.py:272] ",
)  # fmt: skip
MARKERS = (
    "INFO:     Application startup complete.",
    "INFO 07-01 10:00:00 [x.py:1] Model loading took 4.5 GiB and 3 seconds",
    "Traceback (most recent call last):",
    '  File "/a.py", line 1, in load_weights',
)

# Lines that are nearly signatures: their literals, examples and pieces between any text.
pieces = st.one_of(
    st.sampled_from(LITERALS),
    st.sampled_from([one.example for one in signatures()]),
    st.sampled_from(MARKERS),
    st.text(max_size=40),
)
lines = st.builds(
    lambda prefix, parts: prefix + " ".join(parts),
    st.sampled_from(PREFIXES),
    st.lists(pieces, max_size=4),
)
logs = st.lists(lines, max_size=30).map("\n".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
states = st.fixed_dictionaries(
    {},
    optional={
        "terminated": st.fixed_dictionaries(
            {},
            optional={
                "reason": st.sampled_from(["Error", "OOMKilled", "Completed", "StartError", ""]),
                "exitCode": st.integers(-1, 300) | st.text(max_size=2),
                "message": st.text(max_size=60),
            },
        ),
        "waiting": st.fixed_dictionaries({"reason": st.sampled_from(["CrashLoopBackOff", "x"])}),
        "running": st.just({}),
    },
)
pods = st.one_of(
    st.dictionaries(st.text(max_size=8), json_values, max_size=4),
    st.fixed_dictionaries(
        {
            "status": st.fixed_dictionaries(
                {},
                optional={
                    "reason": st.sampled_from(["Evicted", "NodeLost", "", "Strange"]) | json_values,
                    "conditions": json_values,
                    "containerStatuses": st.lists(
                        st.fixed_dictionaries(
                            {"name": st.just("engine")},
                            optional={"state": states, "lastState": states},
                        ),
                        max_size=2,
                    ),
                },
            )
        }
    ),
)


@examples(200)
@given(logs, st.none() | st.integers(0, 255), pods | st.none(), st.none() | st.booleans())
def test_it_always_answers_in_its_own_words(log, code, pod, was_ready):
    found = classify(Evidence(log=log, exit_code=code, pod=pod, was_ready=was_ready))
    assert found.cause in causes()
    assert found.phase in PHASES
    assert found.helps in HELPS
    assert len(found.evidence) <= 6
    assert all(len(line) <= 300 and line.isprintable() for line in found.evidence)
    assert all(isinstance(value, int) for value in found.figures.values())


@examples(200)
@given(logs)
def test_no_text_alone_makes_it_act(log):
    """Neither without a dead engine nor while it serves."""
    assert not classify(Evidence(log=log)).actionable
    assert not classify(Evidence(log=log, exit_code=1, alive=True)).actionable


@examples(200)
@given(st.lists(pieces, max_size=4).map(" ".join), st.integers(1, 255))
def test_what_a_user_sent_never_makes_it_act(text, code):
    """Request logging prints prompts in quotes, on one line."""
    echo = (
        f"INFO 07-01 10:00:00 [logger.py:39] Received request cmpl-1: prompt: {text!r}, params: x"
    )
    found = classify(Evidence(log=f"{MARKERS[0]}\n{echo}", exit_code=code))
    assert not found.actionable
    assert not interesting(echo)
    assert not marks(echo)


@examples(200)
@given(st.sampled_from(signatures()), st.sampled_from(PREFIXES), st.sampled_from(["\n", "\r\n"]))
def test_a_prefix_changes_no_cause(signature, prefix, newline):
    if signature.native:
        return  # a logger's prefix is what tells these from an engine's own message
    plain = classify(Evidence(log=signature.example))
    dressed = newline.join(prefix + line for line in signature.example.split("\n"))
    found = classify(Evidence(log=dressed))
    family = "device_oom" if plain.cause.startswith("device_oom") else plain.cause
    assert found.cause.startswith(family)


@examples(200)
@given(json_values)
def test_a_row_of_rubbish_gets_an_answer(row):
    answer = diagnose_row(row)
    assert answer["cause"] in causes()
    json.dumps(answer)


@given(logs)
def test_the_same_evidence_gives_the_same_answer(log):
    evidence = Evidence(log=log, exit_code=1)
    assert classify(evidence) == classify(evidence)


@given(st.sampled_from(LITERALS), st.integers(1, 400), st.text("ab .:('\"[", max_size=6))
def test_repetition_in_a_line_is_harmless(literal, times, between):
    """The shape of text on which careless patterns take for ever (the suite's limit would tell)."""
    classify(Evidence(log=(literal + between) * times, exit_code=1))
