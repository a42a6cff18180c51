"""`spec.engine` and `spec.gpu`: what runs the model, and on which card."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from xpullm.api.meta import (
    ApiModel,
    CatalogueName,
    ImageReference,
    Rule,
    SchemaOnly,
    int_range,
    text,
)
from xpullm.api.pod import EnvVars

# Flags that other fields of the spec or the operator own -> where to say it instead.
OWNED_FLAGS: dict[str, str] = {
    "api-key": "use `spec.serving.apiKeySecretRef`",
    "config": "write each flag as an entry of `spec.engine.args`",
    "download-dir": "use `spec.model.cache`",
    "host": "the operator sets it",
    "model": "use `spec.model.id`",
    "port": "use `spec.service.port`",
    "revision": "use `spec.model.revision`",
    "served-model-name": "use `spec.serving.servedNames`",
    "uds": "the operator serves on TCP",
}


def _owned(flag: str, way_out: str) -> Rule:
    return Rule(
        f"self.name != '{flag}'",
        f"`name` must not be `{flag}`: {way_out}",
        lambda argument: argument.name != flag,
        "name",
    )


class Argument(ApiModel):
    """One engine flag."""

    rules: ClassVar = tuple(_owned(flag, way_out) for flag, way_out in OWNED_FLAGS.items())

    name: Annotated[str, text(128, r"^[a-z][a-z0-9-]*(\.[A-Za-z0-9_-]+)*$")]
    """The flag without leading dashes, with dashes inside: max-num-seqs."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The flag's value, always a string; absent: a bare flag."""


Arguments = Annotated[
    tuple[Argument, ...], Field(max_length=64, json_schema_extra=SchemaOnly.list_map("name"))
]


class GPU(ApiModel):
    """The card or cards of one replica."""

    type: CatalogueName | None = None
    """Name of the card in the catalogue, such as arc-a770-16g; absent: the operator chooses."""
    count: Annotated[int, int_range(1, 64)] | None = None
    """Cards per replica; absent: the smallest number that fits."""
    allocation: Literal["Auto", "DevicePlugin", "ResourceClaim"] = "Auto"
    """How pods get the card: Intel's device plugin, or dynamic resource allocation. Auto: what the
    cluster has."""


class Engine(ApiModel):
    """The inference engine. What is absent comes from the catalogue."""

    name: CatalogueName | None = None
    """ipex-llm, vllm or llm-scaler; absent: the one the catalogue prefers for the card."""
    version: Annotated[str, text(63, r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")] | None = None
    """Version in the catalogue, or another one together with `image`; absent: the newest that
    runs on the card and is not experimental."""
    image: ImageReference | None = None
    """Image to run instead of the catalogue's; it must be of the same engine and version."""
    command: (
        Annotated[
            tuple[Annotated[str, Field(max_length=4096, min_length=1)], ...],
            Field(min_length=1, max_length=32, json_schema_extra=SchemaOnly.LIST_ATOMIC),
        ]
        | None
    ) = None
    """Program before the flags, instead of the catalogue's; never run by a shell."""
    args: Arguments = ()
    """Your own flags. They win over the plan, are checked against it, and healing leaves them
    alone unless `healing.mayChange` has UserArguments."""
    env: EnvVars = ()
    """Environment of the engine; part of the plan, so a change re-rolls."""
