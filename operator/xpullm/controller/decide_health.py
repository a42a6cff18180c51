"""Which conditions tell the truth about a deployment whose plan stands."""

from __future__ import annotations

from xpullm.api import Reason
from xpullm.controller.decide_answer import Answer
from xpullm.controller.decide_conditions import Health, Said, reason_of, shorten
from xpullm.controller.decide_heal import sentence
from xpullm.controller.decide_plan import Standing
from xpullm.controller.decide_pods import condition, dig, entries, text, whole
from xpullm.controller.types import Object
from xpullm.healing.growth import CAUSE
from xpullm.planner.types import Infeasible, Refusal

GIB = 1 << 30


def counts(deployment: Object | None) -> tuple[int, int]:
    """Pods that exist, and pods that serve, as the Deployment's controller counted them."""
    status = (deployment or {}).get("status")
    return max(0, whole(status, "replicas")), max(0, whole(status, "readyReplicas"))


def rolled_out(deployment: Object | None, replicas: int, *, lag: bool = False) -> bool:
    """Nothing is left to replace or to wait for (kubectl rollout status). With `lag`, also while
    the Deployment's controller has not looked at the newest version yet."""
    if deployment is None or whole(deployment, "spec", "replicas") != replicas:
        return False
    status = deployment.get("status")
    updated = whole(status, "updatedReplicas")
    return (
        (lag or whole(status, "observedGeneration") >= whole(deployment, "metadata", "generation"))
        and updated >= replicas
        and whole(status, "replicas") <= updated
        and whole(status, "availableReplicas") >= replicas
        and whole(status, "readyReplicas") >= replicas
    )


def summary(standing: Standing) -> str:
    plan = standing.plan
    return (
        f"{plan.model} {plan.quantization} on {plan.gpu_count} × {plan.gpu} with {plan.engine}"
        f" {plan.engine_version}: context {plan.context_length}, concurrency {plan.concurrency},"
        f" {plan.utilization_percent} % of {plan.ledger.visible_bytes / GIB:.2f} GiB planned"
    )


def was_ready(live: Object) -> bool:
    """Whether the stored status says Ready of this very spec."""
    told = condition(live, "Ready", "True")
    return bool(told) and told.get("observedGeneration") == dig(live, "metadata", "generation")


def health(
    standing: Standing,
    answer: Answer,
    deployment: Object | None,
    replicas: int,
    max_attempts: int,
    *,
    ready_before: bool = False,
) -> Health:
    """`standing`: as it will be after this pass. `ready_before`: the status says so of this spec;
    our own write of an annotation, which raises a Deployment's generation too, does not end that
    (kubernetes pkg/registry/apps/deployment/strategy.go)."""
    _, serving = counts(deployment)
    planned = Said("True", Reason.PLANNED, summary(standing))
    if replicas == 0:
        off = "spec.replicas is 0"
        return Health(
            Said("True", Reason.SCALED_TO_ZERO, off),
            planned,
            Said("False", Reason.SCALED_TO_ZERO, off),
        )
    available = _available(serving, replicas)
    changing = standing.fresh or answer.step is not None
    complete = rolled_out(deployment, replicas, lag=ready_before)
    if not changing and answer.failure is None and complete:
        said = Said("True", Reason.REPLICAS_READY, f"{serving} of {replicas} replicas serve")
        return Health(said, planned, available)
    ready, progress = _unready(standing, answer, deployment, replicas, max_attempts)
    return Health(ready, planned, available, progress)


def _available(serving: int, replicas: int) -> Said:
    if serving:
        return Said("True", Reason.SERVING, f"{serving} of {replicas} replicas serve")
    return Said("False", Reason.REPLICAS_UNREADY, f"0 of {replicas} replicas serve")


def _unready(
    standing: Standing, answer: Answer, deployment: Object | None, replicas: int, max_attempts: int
) -> tuple[Said, str]:
    """Why it is not Ready, and whether a person must act."""
    _, serving = counts(deployment)
    failure, plan = answer.failure, standing.plan
    if failure is not None and answer.step is None:
        what = sentence(plan, failure)
        if answer.stop is not None:
            reason = reason_of(answer.stop.reason, Reason.NOT_HEALABLE)
            told = f"{answer.stop.text.rstrip('.')}. Cause: {what}"
            return Said("False", reason, told), "Stalled"
        if answer.hold is not None:
            held = f"{answer.hold.text}. Cause: {what}"
            return Said("False", answer.hold.reason, held), "Reconciling"
        if answer.wait is not None:
            unplaced = failure.diagnosis.cause == "unschedulable_gpu"
            reason = Reason.UNSCHEDULABLE if unplaced else Reason.BACKING_OFF
            return Said("False", reason, f"{answer.wait.text}. Cause: {what}"), "Reconciling"
    refused = "" if standing.fresh or answer.step is not None else _refused(deployment)
    if refused:
        told = f"Kubernetes refuses to create pods: {refused}"
        return Said("False", Reason.REPLICAS_UNREADY, told), "Reconciling"
    late = f"; {answer.delay}" if answer.delay else ""
    last = standing.history[-1] if standing.history else None
    if last is not None and last.effect == "" and last.cause == CAUSE:
        told = f"growth: {last.lever} {last.before} → {last.after}"
        return Said("False", Reason.GROWING, told + late), "Reconciling"
    if last is not None and last.effect == "":
        against = f"{last.cause} in phase {last.phase}: {last.lever} {last.before} → {last.after}"
        number = f"attempt {last.attempt} of {max_attempts} against "
        told = (number if last.attempt else "growth is taken back after ") + against
        return Said("False", Reason.HEALING, told + late), "Reconciling"
    if not serving:
        told = f"the engines of plan {plan.hash} start"
        return Said("False", Reason.STARTING, told + late), "Reconciling"
    updated = not standing.fresh and _updated(deployment, replicas)
    reason = Reason.REPLICAS_UNREADY if updated else Reason.ROLLING_OUT
    told = f"plan {plan.hash}: {serving} of {replicas} replicas serve"
    return Said("False", reason, told + late), "Reconciling"


def _refused(deployment: Object | None) -> str:
    """Why no pod can be made: a quota, or pod security admission. The Deployment's controller
    keeps the first message while the reason stays (SetDeploymentCondition)."""
    return text(condition(deployment, "ReplicaFailure", "True"), "message")


def _updated(deployment: Object | None, replicas: int) -> bool:
    """Every pod that exists is of the newest template."""
    status = (deployment or {}).get("status")
    return (
        whole(status, "observedGeneration") >= whole(deployment, "metadata", "generation")
        and whole(status, "updatedReplicas") >= replicas
    )


def no_plan(problem: Refusal | Infeasible, deployment: Object | None, replicas: int) -> Health:
    """A person must act, except where a node may still come."""
    _, serving = counts(deployment)
    if isinstance(problem, Refusal):
        value = f" = {problem.value}" if problem.value else ""
        told = f"{problem.field}{value}: {problem.message}"
        reason = reason_of(problem.reason, Reason.INVALID_SPEC)
    else:
        told, reason = problem.told, reason_of(problem.reason, Reason.INFEASIBLE)
    said = Said("False", reason, told)
    progress = "Reconciling" if reason is Reason.NO_MATCHING_NODE else "Stalled"
    return Health(said, said, _available(serving, replicas), progress)


def told_before(live: Object, health: Health) -> bool:
    """Whether the stored status says the same of Ready already: then it is no news."""
    for item in entries(live, "status", "conditions"):
        if item.get("type") == "Ready":
            same_generation = item.get("observedGeneration") == live["metadata"].get("generation")
            return (
                same_generation
                and text(item, "reason") == str(health.ready.reason)
                and text(item, "message") == shorten(health.ready.message)
                and text(item, "status") == health.ready.status
            )
    return False
