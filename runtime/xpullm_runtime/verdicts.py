"""The diagnosis package's functions, or plain stand-ins while a part of it is missing."""

from __future__ import annotations

from collections.abc import Mapping

from .diagnosis.types import Diagnosis, Evidence

try:
    from .diagnosis import classify, interesting
    from .diagnosis.figures import figures_of
except ImportError:

    def classify(evidence: Evidence) -> Diagnosis:  # noqa: ARG001
        return Diagnosis("unknown")

    def interesting(line: str) -> bool:
        return "Error" in line or "rror:" in line

    def figures_of(line: str) -> Mapping[str, int]:  # noqa: ARG001
        return {}
