"""`spec.model`: which model, where its files come from, where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from xpullm.api.meta import (
    ApiModel,
    ImageReference,
    ObjectName,
    Rule,
    SchemaOnly,
    SecretKeyRef,
    int_range,
    text,
)
from xpullm.api.quantity import Quantity, quantity_bytes

Dimension = Annotated[int, int_range(1, 2**31 - 1)]
Endpoint = Annotated[str, text(512, r"^https?://[A-Za-z0-9.:_-]+(/[A-Za-z0-9._~/-]*)?$")]
ClaimPath = Annotated[str, text(512, r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*/?$")]


class HuggingFaceSource(ApiModel):
    """The Hugging Face Hub or a mirror of it."""

    endpoint: Endpoint | None = None
    """Base URL of a mirror; absent: https://huggingface.co."""
    token_secret_ref: SecretKeyRef | None = None
    """Access token for gated or private models."""


class ModelScopeSource(ApiModel):
    """ModelScope."""

    token_secret_ref: SecretKeyRef | None = None
    """Access token for private models."""


class ClaimSource(ApiModel):
    """Model files that already lie on a PersistentVolumeClaim; mounted read-only."""

    rules: ClassVar = (
        Rule(
            "!has(self.path) || !self.path.split('/').exists(p, p == '..' || p == '.')",
            "`path` must stay inside the volume: remove `.` and `..`",
            lambda s: not s.path or not {"..", "."} & set(s.path.split("/")),
            "path",
        ),
    )

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim, in the same namespace."""
    path: ClaimPath | None = None
    """Folder of the model inside the volume, relative; absent: the volume's root."""


class ImageSource(ApiModel):
    """Model files in an OCI image, mounted as an image volume (Kubernetes 1.35 or newer)."""

    reference: ImageReference
    """Image reference, by digest if it is to be reproducible."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the kubelet pulls the image; absent: as Kubernetes does for containers."""


class ModelSource(ApiModel):
    """At most one member; none means Hugging Face without a token."""

    rules: ClassVar = (
        Rule(
            "[has(self.huggingFace), has(self.modelScope), has(self.persistentVolumeClaim),"
            " has(self.image)].filter(x, x).size() <= 1",
            "`source` must have at most one of `huggingFace`, `modelScope`,"
            " `persistentVolumeClaim`, `image`: keep the one the files come from",
            lambda s: len(s.model_fields_set & set(type(s).model_fields)) <= 1,
        ),
    )

    hugging_face: HuggingFaceSource | None = None
    """Hugging Face Hub or a mirror."""
    model_scope: ModelScopeSource | None = None
    """ModelScope."""
    persistent_volume_claim: ClaimSource | None = None
    """A claim that already holds the files."""
    image: ImageSource | None = None
    """An image volume."""


AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]


class CacheClaim(ApiModel):
    """Either your own claim (`claimName`) or one that the operator creates (`size`)."""

    rules: ClassVar = (
        Rule(
            "has(self.claimName) != has(self.size)",
            "`persistentVolumeClaim` must have either `claimName` (your own claim) or `size` (the"
            " operator creates one)",
            lambda c: (c.claim_name is None) != (c.size is None),
        ),
        Rule(
            "!has(self.claimName) || (!has(self.storageClassName) && !has(self.accessModes))",
            "`storageClassName` and `accessModes` must be absent with `claimName`: your claim has"
            " its own",
            lambda c: (
                c.claim_name is None or (c.storage_class_name is None and c.access_modes is None)
            ),
        ),
        Rule(
            "!has(self.accessModes) || self.accessModes.size() == 1 ||"
            " !('ReadWriteOncePod' in self.accessModes)",
            "`accessModes` must have ReadWriteOncePod alone: remove the others",
            lambda c: len(c.access_modes or ()) < 2 or "ReadWriteOncePod" not in c.access_modes,
            "accessModes",
        ),
        Rule(
            "!has(self.size) || quantity(string(self.size)).isGreaterThan(quantity('0'))",
            "`size` must be more than zero",
            lambda c: c.size is None or quantity_bytes(c.size) > 0,
            "size",
        ),
        Rule(
            "!has(self.size) || !has(oldSelf.size) ||"
            " quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "`size` must not shrink: a volume can only grow; use another `claimName`, or remove"
            " `cache`, apply, and add it again",
            None,
            "size",
        ),
        Rule(
            "!has(self.size) || !has(oldSelf.size) ||"
            " (has(self.storageClassName) == has(oldSelf.storageClassName) &&"
            " (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName))",
            "`storageClassName` must not change: a claim keeps its class; remove `cache`, apply,"
            " and add it again",
            None,
            "storageClassName",
        ),
    )

    claim_name: ObjectName | None = None
    """Name of your own PersistentVolumeClaim, in the same namespace."""
    size: Quantity | None = None
    """Size of a claim that the operator creates and owns; it can only grow."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the owned claim; absent: the cluster's default."""
    access_modes: Annotated[
        tuple[AccessMode, ...] | None,
        Field(min_length=1, max_length=3, json_schema_extra=SchemaOnly.LIST_SET),
    ] = None
    """Access modes of the owned claim; absent: ReadWriteOnce."""


class ModelCache(ApiModel):
    """Where downloaded files are kept; without a member: an emptyDir of the pod."""

    persistent_volume_claim: CacheClaim | None = None
    """A claim that outlives the pods."""


class QuantizationFacts(ApiModel):
    """`quantization_config` of config.json."""

    model_config = ConfigDict(alias_generator=None, extra="allow")

    quant_method: Annotated[str, text(63)] | None = None
    """awq, gptq, fp8, compressed-tensors, ..."""
    bits: Annotated[int, int_range(1, 32)] | None = None
    """Bits per weight."""
    group_size: Annotated[int, int_range(-1, 65536)] | None = None
    """Weights per scale; -1: one scale per column."""


class ModelFacts(ApiModel):
    """config.json under its own names. The core fields are typed, all others are preserved."""

    model_config = ConfigDict(alias_generator=None, extra="allow")

    architectures: (
        Annotated[
            tuple[Annotated[str, text(128)], ...],
            Field(max_length=8, json_schema_extra=SchemaOnly.LIST_ATOMIC),
        ]
        | None
    ) = None
    """Class names of the model's implementation."""
    model_type: Annotated[str, text(63)] | None = None
    """Family of the architecture, such as qwen2."""
    hidden_size: Dimension | None = None
    """Width of the residual stream."""
    num_hidden_layers: Dimension | None = None
    """Number of layers."""
    num_attention_heads: Dimension | None = None
    """Query heads per layer."""
    num_key_value_heads: Dimension | None = None
    """Key and value heads per layer; absent: as many as query heads."""
    head_dim: Dimension | None = None
    """Width of a head; absent: hidden_size / num_attention_heads."""
    intermediate_size: Dimension | None = None
    """Width of the dense MLP."""
    vocab_size: Dimension | None = None
    """Rows of the embedding."""
    tie_word_embeddings: Annotated[bool, Field(strict=True)] | None = None
    """Whether the output head shares the embedding's weights."""
    max_position_embeddings: Dimension | None = None
    """Longest context of the model, tokens."""
    torch_dtype: Annotated[str, text(32)] | None = None
    """Data type of the checkpoint's weights."""
    dtype: Annotated[str, text(32)] | None = None
    """The newer name of torch_dtype."""
    sliding_window: Dimension | None = None
    """Attention window, tokens."""
    num_experts: Dimension | None = None
    """Experts per mixture-of-experts layer."""
    num_local_experts: Dimension | None = None
    """Experts per layer, as Mixtral names them."""
    n_routed_experts: Dimension | None = None
    """Experts per layer, as DeepSeek names them."""
    num_experts_per_tok: Dimension | None = None
    """Experts used for one token."""
    moe_intermediate_size: Dimension | None = None
    """Width of one expert's MLP."""
    n_shared_experts: Annotated[int, int_range(0, 2**31 - 1)] | None = None
    """Experts that every token uses."""
    kv_lora_rank: Dimension | None = None
    """Rank of the compressed KV cache (multi-head latent attention)."""
    qk_rope_head_dim: Dimension | None = None
    """Width of the rotary part of a key (multi-head latent attention)."""
    quantization_config: QuantizationFacts | None = None
    """How the checkpoint is quantized."""

    def as_config(self) -> Mapping[str, Any]:
        """The facts as a config.json dict, without absent fields."""
        return self.model_dump(mode="json", exclude_none=True)


class Model(ApiModel):
    """The model to serve."""

    id: Annotated[str, text(200, r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    """Repository on the hub, such as Qwen/Qwen2-7B-Instruct; also the key into the catalogue."""
    revision: Annotated[str, text(255, r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None = None
    """Branch, tag or commit; absent: main, or ModelScope's default. The commit that was loaded from
    Hugging Face is `status.modelRevision`."""
    source: ModelSource | None = None
    """Where the files come from; absent: Hugging Face."""
    cache: ModelCache | None = None
    """Where downloaded files are kept; absent: an emptyDir, downloaded anew for every pod."""
    facts: ModelFacts | None = None
    """Geometry of a model that is not in the catalogue, as in its config.json; of a known one, what
    differs."""
