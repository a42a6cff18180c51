"""The ladder's data: complete for every cause, only known levers, and no useless tightening."""

import pytest

from xpullm.healing.decide import LEVERS
from xpullm.healing.ladder import rule_for, rules
from xpullm.healing.situation import Pool
from xpullm_runtime.diagnosis import causes
from xpullm_runtime.diagnosis.types import Diagnosis

TIGHTENING = {
    "lower-budget",
    "raise-budget",
    "max-num-batched-tokens",
    "max-num-seqs",
    "max-model-len",
    "kv-cache-dtype",
    "quantization",
    "gpu-count",
}


@pytest.mark.parametrize("cause", sorted(causes()))
def test_every_cause_that_diagnosis_names_has_a_rule_of_its_own(cause):
    for pool in Pool:
        assert rule_for(Diagnosis(cause, "unknown"), pool).cause == cause


@pytest.mark.parametrize("cause", sorted(causes()))
def test_what_arguments_do_not_help_is_not_tightened(cause):
    if causes()[cause]["helps"] == "arguments":
        return
    for rule in rules():
        if rule.cause == cause:
            assert not {move.lever for move in rule.moves} & TIGHTENING


def test_every_lever_is_known_and_every_rule_ends_in_advice():
    for rule in rules():
        assert {move.lever for move in rule.moves} <= LEVERS.keys() | {"wait"}
        assert {move.when for move in rule.moves} <= {"", "spare", "wished", "foreign", "full"}
        assert set(rule.pool) <= set(Pool)
        endless = any(move.lever == "wait" and not move.times for move in rule.moves)
        assert rule.stop or endless


def test_special_cases_stand_before_general_ones():
    seen = {}
    for rule in rules():
        key = (rule.cause, rule.phase)
        general = not (rule.pool or rule.evidence or rule.figure)
        assert not seen.get(key), f"{rule} can never be reached"
        seen[key] = general


def test_a_cause_that_nobody_knows_waits_once_then_asks():
    rule = rule_for(Diagnosis("a_cause_of_tomorrow", "runtime"), Pool.PINNED)
    assert [move.lever for move in rule.moves] == ["wait"]


def test_on_an_engine_that_fills_up_again_batched_tokens_are_no_rung():
    """Measured by us, vLLM 0.25: 8192 to 2048 batched tokens healed neither of two models."""
    rule = rule_for(Diagnosis("device_oom_runtime", "runtime"), Pool.LEFTOVER)
    assert [move.lever for move in rule.moves] == ["lower-budget", "max-num-seqs", "node"]
    pinned = rule_for(Diagnosis("device_oom_runtime", "runtime"), Pool.PINNED)
    assert [move.lever for move in pinned.moves][:2] == ["lower-budget", "max-num-batched-tokens"]
