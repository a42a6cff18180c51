"""From an LLMDeployment's spec to a checked `PlanRequest`, or a refusal with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from xpullm.catalog import (
    GPU,
    Engine,
    default_engine,
    engines,
    find_engine,
    find_model,
    gpus,
    models,
    nearest,
    quantizations,
    version_key,
)
from xpullm.planner.combine import combine
from xpullm.planner.division import indivisible
from xpullm.planner.dtypes import with_dtype
from xpullm.planner.facts import ModelFacts, parse_config
from xpullm.planner.fields import FactsError
from xpullm.planner.overrides import overrides_problem
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.types import Refusal, Serving
from xpullm.planner.userargs import check_together, read_arguments

if TYPE_CHECKING:
    from xpullm.api import LLMDeploymentSpec

DEFAULT_REVISION = "main"  # huggingface_hub, constants.py


def resolve(
    spec: LLMDeploymentSpec,
    *,
    cards: tuple[str, ...] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> PlanRequest | Refusal:
    """Checks everything that depends on the catalogue.

    `cards` are the cards that the cluster has, for a spec that names none. `facts` are config.json
    fields read from a file; the spec's own facts win over them, they over the catalogue.
    """
    parsed = _facts(spec, facts)
    if isinstance(parsed, Refusal):
        return parsed
    serving = _serving(spec, parsed)
    if isinstance(serving, Refusal):
        return serving
    cards_or = _gpus(spec.gpu.type, cards)
    if isinstance(cards_or, Refusal):
        return cards_or
    name = spec.quantization
    if name is not None and name not in quantizations():
        return _unknown(
            "UnknownQuantization", "quantization", "spec.quantization", name, quantizations()
        )
    engine_problem = _engine_problem(spec)
    if engine_problem is not None:
        return engine_problem
    pairs = [(g, e) for g in cards_or if (e := _engine_for(spec, g)) is not None]
    choices = combine(parsed, pairs, name, named_card=spec.gpu.type, engine=spec.engine.name)
    if isinstance(choices, Refusal):
        return choices
    accepted = _with_flags(spec, choices)
    if isinstance(accepted, Refusal):
        return accepted
    user, choices = accepted
    able = with_dtype(parsed, user, choices)
    if isinstance(able, Refusal):
        return able
    choices = able
    problem = check_together(user, serving) or overrides_problem(user, parsed)
    if problem is not None:
        return problem
    if user.max_model_len and user.max_model_len > parsed.max_position:
        return _too_long("spec.engine.args[max-model-len]", user.max_model_len, parsed)
    request = PlanRequest(
        model=spec.model.id,
        revision=revision_of(spec),
        facts=parsed,
        choices=choices,
        count=spec.gpu.count,
        serving=serving,
        user=user,
        image=spec.engine.image,
        command=spec.engine.command,
        env={e.name: e.value for e in spec.engine.env if e.value is not None},
        gpu_fixed=spec.gpu.type is not None,
        quantization_fixed=name is not None,
    )
    return indivisible(request) or request


def revision_of(spec: LLMDeploymentSpec) -> str:
    """Branch, tag or commit to load. Empty: ModelScope chooses; its default branch is master, and
    one called main is an error for most of its models (vllm-project/vllm-ascend#829)."""
    source = spec.model.source
    if spec.model.revision is None and source is not None and source.model_scope is not None:
        return ""
    return spec.model.revision or DEFAULT_REVISION


def _facts(spec: LLMDeploymentSpec, read: Mapping[str, Any] | None) -> ModelFacts | Refusal:
    entry = find_model(spec.model.id)
    own = dict(spec.model.facts.as_config()) if spec.model.facts is not None else {}
    if entry is None and read is None and not own:
        near = ", ".join(nearest(spec.model.id, models()))
        return Refusal(
            "UnknownModel",
            "spec.model.id",
            spec.model.id,
            f"model {spec.model.id!r} isn't in the catalogue; describe it in spec.model.facts"
            f" (config.json fields); nearest known: {near}",
        )
    config: dict[str, Any] = dict(entry["config"]) if entry else {}
    config.update(read or {})
    config.update(own)
    try:
        return parse_config(config)
    except FactsError as error:
        return Refusal(
            "InvalidModelFacts", f"spec.model.facts.{error.field}", error.value, str(error)
        )


def _serving(spec: LLMDeploymentSpec, facts: ModelFacts) -> Serving | Refusal:
    given = spec.serving
    if given.context_length and given.context_length > facts.max_position:
        return _too_long("spec.serving.contextLength", given.context_length, facts)
    if given.min_context_length and given.min_context_length > facts.max_position:
        return _too_long("spec.serving.minContextLength", given.min_context_length, facts)
    return Serving(
        context_length=given.context_length,
        min_context_length=given.min_context_length,
        concurrency=given.concurrency,
        min_concurrency=given.min_concurrency,
        served_names=tuple(given.served_names),
    )


def _too_long(field: str, value: int, facts: ModelFacts) -> Refusal:
    return Refusal(
        "ContextTooLong",
        field,
        str(value),
        f"{field} {value} is above the model's own context of {facts.max_position} tokens; lower"
        " it to at most that",
    )


def _gpus(name: str | None, cards: tuple[str, ...] | None) -> tuple[GPU, ...] | Refusal:
    known = gpus()
    if name is not None:
        if name not in known:
            return _unknown("UnknownGPU", "GPU", "spec.gpu.type", name, known)
        return (known[name],)
    chosen = [known[c] for c in cards if c in known] if cards else list(known.values())
    if not chosen:
        return Refusal(
            "NoGPU",
            "spec.gpu.type",
            "",
            "no node has an Intel GPU of the catalogue; name one in spec.gpu.type",
        )
    return tuple(sorted(set(chosen), key=lambda g: (g.visible_bytes, g.name)))


def _unknown(reason: str, kind: str, field: str, name: str, known: Iterable[str]) -> Refusal:
    near = ", ".join(nearest(name, known))
    message = f"{kind} {name!r} isn't in the catalogue; nearest: {near}"
    return Refusal(reason, field, name, message)


def _engine_problem(spec: LLMDeploymentSpec) -> Refusal | None:
    name, version = spec.engine.name, spec.engine.version
    if name is not None and name not in engines():
        return _unknown("UnknownEngine", "engine", "spec.engine.name", name, engines())
    if version is not None and name is None:
        return Refusal(
            "UnknownEngine",
            "spec.engine.version",
            version,
            "spec.engine.version needs spec.engine.name, whose version it is",
        )
    if version is not None and name is not None:
        listed = [e.version for e in engines()[name]]
        if find_engine(name, version) is None:
            said = f"{name} version {version!r} isn't a version; known: {', '.join(listed)}"
            return Refusal("UnknownEngine", "spec.engine.version", version, said)
        if version not in listed and spec.engine.image is None:
            return Refusal(
                "UnknownEngine",
                "spec.engine.version",
                version,
                f"the catalogue has no image of {name} {version}; use one of {', '.join(listed)},"
                " or name your own image in spec.engine.image",
            )
    return None


def _engine_for(spec: LLMDeploymentSpec, gpu: GPU) -> Engine | None:
    name = spec.engine.name
    if name is not None and spec.engine.version is not None:
        return find_engine(name, spec.engine.version)
    if name is not None:
        return default_engine(name, gpu.architecture) or default_engine(name)
    return default_engine(gpu.default_engine, gpu.architecture)


def _with_flags(
    spec: LLMDeploymentSpec, choices: tuple[Choice, ...]
) -> tuple[UserArguments, tuple[Choice, ...]] | Refusal:
    """The user's flags, and the choices whose engine takes them; else the newest one's refusal."""
    rows = tuple((a.name, a.value) for a in spec.engine.args)
    read = {c.engine.key: read_arguments(rows, c.engine) for c in choices}
    taken = tuple(c for c in choices if isinstance(read[c.engine.key], UserArguments))
    if not taken:
        newest = max((c.engine for c in choices), key=lambda e: version_key(e.vllm_version))
        return cast(Refusal, read[newest.key])
    user = cast(UserArguments, read[taken[0].engine.key])
    if all(c.engine.chunked_prefill == "none" for c in taken):
        user = replace(user, enable_chunked_prefill=False)
    return user, taken
