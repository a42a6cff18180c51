"""Model + card + workload -> `Plan`, or `Infeasible` or `Refusal` with the way out. Pure."""

from xpullm.planner.batch import estimate_row
from xpullm.planner.build import explain, with_arguments
from xpullm.planner.codec import decode, encode, inputs_hash
from xpullm.planner.estimate import estimate
from xpullm.planner.facts import ModelFacts, parse_config
from xpullm.planner.fields import FactsError
from xpullm.planner.planning import plan
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.resolve import resolve
from xpullm.planner.types import (
    Alternative,
    Arguments,
    Estimate,
    HostMemory,
    Infeasible,
    Learned,
    LearnedEntry,
    Ledger,
    Plan,
    Refusal,
    Serving,
    Term,
)

__all__ = [
    "Alternative",
    "Arguments",
    "Choice",
    "Estimate",
    "FactsError",
    "HostMemory",
    "Infeasible",
    "Learned",
    "LearnedEntry",
    "Ledger",
    "ModelFacts",
    "Plan",
    "PlanRequest",
    "Refusal",
    "Serving",
    "Term",
    "UserArguments",
    "decode",
    "encode",
    "estimate",
    "estimate_row",
    "explain",
    "inputs_hash",
    "parse_config",
    "plan",
    "resolve",
    "with_arguments",
]
