"""Every signature and every cause of the data files does what it says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.diagnosis import HELPS, PHASES, Evidence, causes, classify, signatures
from xpullm_runtime.diagnosis.scan import without_digits

SIGNATURES = signatures()


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: s.id)
def test_the_example_of_a_signature_yields_its_cause(signature):
    found = classify(Evidence(log=signature.example))
    if signature.cause == "device_oom":  # a family: the phase makes it one of them
        assert found.cause.startswith("device_oom_")
    else:
        assert found.cause == signature.cause


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: s.id)
def test_a_signature_is_well_formed(signature):
    assert signature.cause in causes() or signature.cause == "device_oom"
    assert signature.where in ("head", "line", "k8s", "frame", "raised")
    assert signature.rank in range(6)
    assert not signature.phase or signature.phase in PHASES
    assert all(without_digits(literal).strip() for literal in signature.literals)
    re.compile(signature.regex)
    re.compile(signature.exclude)


def test_ids_are_unique():
    assert len({signature.id for signature in SIGNATURES}) == len(SIGNATURES)


@pytest.mark.parametrize("cause", causes())
def test_a_cause_says_what_it_means_and_what_helps(cause):
    known = causes()[cause]
    assert known["helps"] in HELPS
    for field in ("title", "meaning", "remedy", "useless"):
        assert known[field].strip()
    assert known["first_move"]["default"]


def test_what_a_person_must_do_is_never_called_a_tightening():
    for known in causes().values():
        if known["helps"] == "person":
            assert "lower" not in known["first_move"]["default"]


@given(st.sampled_from(SIGNATURES), st.integers(0, 40))
def test_a_cut_example_never_raises(signature, cut):
    classify(Evidence(log=signature.example[cut:], exit_code=1))
    classify(Evidence(log=signature.example[: -cut or None], exit_code=1))
