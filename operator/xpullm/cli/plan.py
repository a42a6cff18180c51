"""`xpullm plan`: the plan of each LLMDeployment, or why it cannot be and what can. No cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpullm.cli.inputs import InputError, fail, read_text
from xpullm.cli.manifests import Manifest, load

if TYPE_CHECKING:
    from xpullm.api import LLMDeployment
    from xpullm.api.parse import Problem
    from xpullm.planner.types import Infeasible, Plan, Refusal

FORMATS = ("table", "json", "yaml", "helm-values", "args")


def plan(
    file: Annotated[
        list[str],
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Manifest, folder of manifests, or '-' for standard input (repeat).",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FORMAT", help=" | ".join(FORMATS))
    ] = "table",
    explain: Annotated[
        bool, typer.Option("--explain", help="Formula, inputs and source of each line.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="config.json of the model, where the catalogue does not know it."
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CARD",
            help="Card to choose from where the spec names none (repeat); absent: every card of"
            " the catalogue.",
        ),
    ] = None,
) -> None:
    """Plan each LLMDeployment, or say why it cannot be and what can. Needs no cluster.

    Exit codes: 0 every plan exists, 2 invalid input, 3 at least one is infeasible.
    """
    if output not in FORMATS:
        fail(f"--output: {output!r} is not one of {', '.join(FORMATS)}")
    try:
        check_cards(gpu or ())
        facts = model_facts(config) if config else None
        manifests = load(file)
    except InputError as error:
        fail(str(error))
    results, worst = [], 0
    for manifest in manifests:
        try:
            result = plan_one(manifest, facts, gpu, explain)
        except InputError as error:  # the others are planned all the same
            typer.echo(f"error: {error}", err=True)
            worst = 2
        else:
            results.append((manifest, in_words_of_the_shell(result, config)))
    if results:
        typer.echo(render(results, output, explain, several=len(manifests) > 1))
    raise typer.Exit(max(worst, *(code(result) for _, result in results), 0))


def check_cards(names: Iterable[str]) -> None:
    from xpullm.catalog import gpus, nearest

    for name in names:
        if name not in gpus():
            near = ", ".join(nearest(name, gpus()))
            raise InputError(f"--gpu: {name!r} isn't in the catalogue; nearest: {near}")


def model_facts(path: str) -> dict[str, Any]:
    try:
        facts = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: must be a JSON object (a model's config.json)")
    return facts


def plan_one(
    manifest: Manifest, facts: dict[str, Any] | None, cards: list[str] | None, explain: bool
) -> Plan | Infeasible | Refusal:
    """Parse, resolve, plan (and explain). A manifest that is no LLMDeployment is invalid input."""
    from xpullm.planner import explain as explained
    from xpullm.planner import plan as make_plan
    from xpullm.planner import resolve
    from xpullm.planner.types import Plan, Refusal
    from xpullm.resources.hostmemory import with_users_memory

    deployment = parsed(manifest)
    request = resolve(deployment.spec, cards=tuple(cards) if cards else None, facts=facts)
    if isinstance(request, Refusal):
        return request
    result = make_plan(request)
    if not isinstance(result, Plan):
        return result
    if deployment.spec.healing.growth.mode == "Enabled":  # as the operator would start it
        from xpullm.healing.growth import begin
        from xpullm.healing.policy import policy_of

        result = begin(result, policy_of(deployment.spec), request)
    result = with_users_memory(deployment.spec, result, request)
    return explained(result, request) if explain else result


def in_words_of_the_shell(
    result: Plan | Infeasible | Refusal, config: str | None
) -> Plan | Infeasible | Refusal:
    """A refusal for a model's facts names the file they came from, or the option to give one."""
    from dataclasses import replace

    from xpullm.planner.types import Refusal

    if isinstance(result, Refusal) and result.reason == "UnknownModel":
        return replace(result, message=f"{result.message}; or give its config.json by --config")
    if isinstance(result, Refusal) and result.reason == "InvalidModelFacts" and config:
        return replace(result, field=f"{config}: {result.field.rpartition('.')[2]}")
    return result


def parsed(manifest: Manifest) -> LLMDeployment:
    """The manifest as the API reads it; a field that the API does not know is an error here."""
    from xpullm.api import LLMDeploymentSpec, ManifestError, parse
    from xpullm.api.unknown import has_unknown_fields

    problems: tuple[Problem, ...] = ()
    try:
        deployment = parse(manifest.document)
    except ManifestError as error:
        problems = error.problems
    if has_unknown_fields(LLMDeploymentSpec, manifest.document.get("spec")):
        from xpullm.api.schema import schema_problems  # the whole schema takes its time

        told = {problem.path for problem in problems}
        found = schema_problems(manifest.document)
        problems += tuple(problem for problem in found if problem.path not in told)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InputError(f"{manifest.where}: {manifest.name}:\n{lines}")
    return deployment


def code(result: Plan | Infeasible | Refusal) -> int:
    from xpullm.planner.types import Infeasible, Refusal

    if isinstance(result, Refusal):
        return 2
    return 3 if isinstance(result, Infeasible) else 0


def render(
    results: list[tuple[Manifest, Plan | Infeasible | Refusal]],
    output: str,
    explain: bool,
    several: bool,
) -> str:
    """The results in one format; `several`: a list in JSON, also where one result is left."""
    from xpullm.cli import plantext

    if output == "table":
        return "\n\n".join(plantext.text(m.name, result, explain) for m, result in results)
    values = [plantext.value(m, result) for m, result in results]
    if output == "json":
        return json.dumps(values if several else values[0], indent=2)
    if output == "args":
        return "\n".join(plantext.argument_line(m, result) for m, result in results)
    import yaml

    if output == "helm-values":
        values = [plantext.helm_values(m, result) for m, result in results]
    return yaml.safe_dump_all(values, sort_keys=False).rstrip()
