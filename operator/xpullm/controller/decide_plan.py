"""The plan in force: the stored one while the plan-relevant spec is the same, else a new one.

A stored plan and its pod template are kept as they are: an upgrade of the operator, another node
or something newly learned re-rolls nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from xpullm import catalog
from xpullm.api import LLMDeployment, Reason
from xpullm.controller import decide_records
from xpullm.controller.decide_cluster import (
    allocation_of,
    cards_in,
    matching_nodes,
    unsupported,
)
from xpullm.controller.decide_pods import dig, entries, text
from xpullm.controller.types import Snapshot
from xpullm.healing.growth import begin
from xpullm.healing.history import attempts, decode_history, encode_history
from xpullm.healing.levers import memory
from xpullm.healing.policy import policy_of
from xpullm.healing.tuning import key_of
from xpullm.healing.types import PastStep
from xpullm.planner import PlanRequest, encode, inputs_hash, resolve, with_arguments
from xpullm.planner import plan as make_plan
from xpullm.planner.behind import resolve_behind
from xpullm.planner.codec import plan_hash as hashed
from xpullm.planner.types import Infeasible, Learned, Plan, Refusal
from xpullm.resources import codec, names, others
from xpullm.resources.deployment import Truth, read_truth, stored_plan, truth_of
from xpullm.resources.hostmemory import users_memory, with_users_memory
from xpullm.resources.pod import pod_template
from xpullm.resources.settings import PodSettings


@dataclass(frozen=True, slots=True)
class Standing:
    """The plan in force with its history, and the Deployment's annotations that say so.

    `fresh`: made in this pass, so nothing runs it yet. `by_claim`: pods get the card by a
    ResourceClaimTemplate of the name `claim_template`.
    """

    plan: Plan
    history: tuple[PastStep, ...]
    truth: Truth
    fresh: bool

    @property
    def allocation(self) -> str:
        return "ResourceClaim" if self.claim_template else "DevicePlugin"

    @property
    def claim_template(self) -> str:
        claims = entries(self.truth.template, "spec", "resourceClaims")
        return next((text(item, "resourceClaimTemplateName") for item in claims), "")


def stored(snapshot: Snapshot) -> Standing | None:
    """What the Deployment says of itself, whatever the spec has become."""
    truth = read_truth(snapshot.deployment)
    plan = _unpacked(truth.plan) if truth is not None else None
    if truth is None or plan is None:
        return None
    return Standing(plan, decode_history(truth.history), truth, fresh=False)


@lru_cache(maxsize=4096)  # one per deployment: a plan is read at every pass, and never changes
def _unpacked(packed: str) -> Plan | None:
    """None for what can't be read: then it is planned anew."""
    return stored_plan(packed)


@lru_cache(maxsize=4096)
def placeless(packed: str) -> tuple[Plan, str] | None:
    """A stored plan, and the hash that it has wherever it runs: moving away keeps it."""
    plan = _unpacked(packed)
    if plan is None:
        return None
    return plan, plan.hash if not plan.avoid_nodes else hashed(replace(plan, avoid_nodes=())).hash


def standing(
    llmd: LLMDeployment, snapshot: Snapshot, settings: PodSettings, now: float
) -> Standing | Refusal | Infeasible:
    """The plan in force, or why there is none."""
    inputs = inputs_hash(llmd.spec)
    kept = stored(snapshot)
    if kept is not None and kept.truth.inputs_hash == inputs:
        return kept
    problem = unsupported(llmd, snapshot)
    if problem is not None:
        return problem
    request = request_of(llmd, snapshot)
    if isinstance(request, Refusal):
        return request
    plan = make_plan(request, Learned())
    if isinstance(plan, Infeasible):
        return plan
    known = learned_for(plan, snapshot, now)
    if known.entries:
        better = make_plan(request, known)
        plan = plan if isinstance(better, Infeasible) else better
    plan = begin(plan, policy_of(llmd.spec), request)
    plan = with_users_memory(llmd.spec, plan, request)
    return stand(llmd, snapshot, settings, plan, remembered(snapshot, inputs), inputs)


def with_same_memory(llmd: LLMDeployment, before: Plan, plan: Plan, lever: str) -> Plan:
    """The next plan of a step, with host memory as it was where the user set it: another argument
    than memory itself must not move it."""
    if users_memory(llmd.spec) == (None, None) or lever in memory.LEVERS:
        return plan
    host = before.host
    kept = replace(plan.host, request_bytes=host.request_bytes, limit_bytes=host.limit_bytes)
    request = request_behind(llmd, plan)
    if kept == plan.host or isinstance(request, Refusal):
        return plan
    return with_arguments(plan, request, plan.arguments, host=kept)


def remembered(snapshot: Snapshot, inputs: str) -> tuple[PastStep, ...]:
    """The steps taken for these inputs, also where the rest of the annotations is lost."""
    notes = dig(snapshot.deployment, "metadata", "annotations")
    if text(notes, names.ANNOTATION_INPUTS) != inputs:
        return ()
    return decode_history(text(notes, names.ANNOTATION_HISTORY))


def stand(
    llmd: LLMDeployment,
    snapshot: Snapshot,
    settings: PodSettings,
    plan: Plan,
    history: tuple[PastStep, ...],
    inputs: str,
    *,
    before: Standing | None = None,
) -> Standing:
    """Render a plan. `before`: the one that a step changes; pods get their cards as they did."""
    card = catalog.gpus()[plan.gpu]
    entry = catalog.find_engine(plan.engine, plan.engine_version)
    allocation = before.allocation if before else allocation_of(llmd, card, snapshot)
    template = pod_template(
        llmd,
        plan,
        card,
        allocation=allocation,
        model_positional=entry is not None and entry.model_argument == "positional",
        settings=settings,
        claim_template=others.claim_template_name(
            llmd.metadata.name, card, plan.gpu_count, catalog.gpus().values()
        ),
    )
    packed = codec.pack(encode(plan))
    truth = truth_of(inputs, packed, encode_history(history), attempts(history), template)
    return Standing(plan, history, truth, fresh=before is None)


def with_history(now_standing: Standing, history: tuple[PastStep, ...]) -> Standing:
    """The same plan and template with a judged history: only an annotation changes."""
    changed = replace(now_standing.truth, history=encode_history(history), news="")
    return Standing(now_standing.plan, history, changed, now_standing.fresh)


def request_of(llmd: LLMDeployment, snapshot: Snapshot) -> PlanRequest | Refusal:
    """What is asked of the planner."""
    if llmd.spec.gpu.type is not None:
        return resolve(llmd.spec)
    cards = tuple(card.name for card in cards_in(snapshot))
    if not cards:
        return Refusal(
            Reason.NO_MATCHING_NODE,
            "spec.gpu.type",
            "",
            "no node shows a known Intel GPU: set spec.gpu.type, label nodes with"
            f" {names.LABEL_GPU_TYPE}, or install Intel's GPU plugin with its NFD rules",
        )
    return resolve(llmd.spec, cards=cards)


def request_behind(llmd: LLMDeployment, plan: Plan) -> PlanRequest | Refusal:
    """The request that a plan in force answers."""
    return resolve_behind(llmd.spec, plan)


def learned_for(plan: Plan, snapshot: Snapshot, now: float) -> Learned:
    """What was learned for this plan's model on its card, on the kernels that its nodes run."""
    nodes = matching_nodes(catalog.gpus()[plan.gpu], snapshot)
    kernels = sorted({text(node, "status", "nodeInfo", "kernelVersion") for node in nodes}) or [""]
    keys = [key_of(plan, kernel) for kernel in kernels]
    return decide_records.learned(snapshot.records, keys, now, len(nodes))
