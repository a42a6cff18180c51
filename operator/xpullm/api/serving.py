"""`spec.serving`, `spec.verification`, `spec.service`: what is wanted of the endpoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from xpullm.api.meta import ApiModel, Rule, SchemaOnly, SecretKeyRef, int_range, text

Tokens = Annotated[int, int_range(1, 16_777_216)]
Sequences = Annotated[int, int_range(1, 65_536)]


class Serving(ApiModel):
    """Wishes (`contextLength`, `concurrency`) and floors (`min...`); the plan lies between."""

    rules: ClassVar = (
        Rule(
            "!has(self.minContextLength) || !has(self.contextLength) ||"
            " self.minContextLength <= self.contextLength",
            "`minContextLength` must not be above `contextLength`: lower the floor or raise the"
            " wish",
            lambda s: (s.min_context_length or 0) <= (s.context_length or 2**62),
            "minContextLength",
        ),
        Rule(
            "!has(self.minConcurrency) || !has(self.concurrency) ||"
            " self.minConcurrency <= self.concurrency",
            "`minConcurrency` must not be above `concurrency`: lower the floor or raise the wish",
            lambda s: (s.min_concurrency or 0) <= (s.concurrency or 2**62),
            "minConcurrency",
        ),
    )

    context_length: Tokens | None = None
    """Wanted context of one request, tokens; absent: what fits beside `concurrency`, at most the
    model's own."""
    min_context_length: Tokens | None = None
    """Neither planned nor healed below; absent: the smaller of 2048 and `contextLength`."""
    concurrency: Sequences | None = None
    """Wanted number of sequences at the same time; absent: what fits, at most 8."""
    min_concurrency: Sequences | None = None
    """Neither planned nor healed below; absent: 1."""
    served_names: Annotated[
        tuple[Annotated[str, text(200, r"^[^\s\x00]+$")], ...],
        Field(max_length=16, json_schema_extra=SchemaOnly.LIST_SET),
    ] = ()
    """Model names that clients may ask for; absent: the model's id."""
    api_key_secret_ref: SecretKeyRef | None = None
    """API key that clients must send; absent: none is asked for."""


class Verification(ApiModel):
    """What a started engine must survive before its pod becomes Ready."""

    mode: Literal["BurnIn", "None"] = "BurnIn"
    """BurnIn: the worst case that the arguments allow is sent first. None: a healthy start is
    enough."""


class Service(ApiModel):
    """The Service in front of the replicas."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Kind of Service."""
    port: Annotated[int, int_range(1, 65535)] = 8000
    """Port of the Service."""
