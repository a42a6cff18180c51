"""Diagnosis: from what a failed pod leaves behind to a cause, a phase and what helps."""

from .batch import diagnose_row, engine_of, first_move, generation
from .classify import classify
from .interest import interesting, marks
from .signatures import causes, signatures
from .types import HELPS, PHASES, Diagnosis, Evidence

__all__ = [
    "HELPS",
    "PHASES",
    "Diagnosis",
    "Evidence",
    "causes",
    "classify",
    "diagnose_row",
    "engine_of",
    "first_move",
    "generation",
    "interesting",
    "marks",
    "signatures",
]
