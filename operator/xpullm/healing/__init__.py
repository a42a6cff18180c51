"""What to change after a failure, in one step, and what was learned. Pure.

`heal` answers a failure; `grow` raises utilization step by step; `tuning` keeps what held and what
failed.
"""

from xpullm.healing.growth import grow
from xpullm.healing.heal import heal
from xpullm.healing.history import (
    decode_history,
    encode_history,
    past_step,
    status_history,
)
from xpullm.healing.judge import judge, judge_healthy
from xpullm.healing.types import Growth, Health, PastStep, Policy, Step, Stop, Wait

__all__ = [
    "Growth",
    "Health",
    "PastStep",
    "Policy",
    "Step",
    "Stop",
    "Wait",
    "decode_history",
    "encode_history",
    "grow",
    "heal",
    "judge",
    "judge_healthy",
    "past_step",
    "status_history",
]
