"""Every rule of an LLMDeployment's spec."""

from __future__ import annotations

from tests.contract.rows import (
    ABSENT,
    PATTERN,
    TOO_LONG,
    Row,
    at_most,
    cel,
    choice,
    key_ref,
    length,
    mapping,
    named,
    not_empty,
    number,
    object_name,
    required,
    text,
    unique,
)  # fmt: skip

SOURCE = "spec.model.source"
CLAIM = "spec.model.cache.persistentVolumeClaim"
FACTS = "spec.model.facts"
IMAGE = "registry.example/team/model@sha256:0a"
HEALING_CHOICES = (
    "Arguments", "UserArguments", "KVCacheType", "GPUCount", "Quantization", "UserMemoryLimit",
)  # fmt: skip
ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
BIG = 2**31 - 1
WINDOW = "spec.healing.growth.window"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def window(path: str, value: object) -> dict[str, object]:
    """A whole window with one field's value (`ABSENT` leaves it out)."""
    fields = {"startTime": "02:00", "durationMinutes": 60, path.removesuffix("[]"): value}
    return {name: given for name, given in fields.items() if given is not ABSENT}


def catalogue_name(path: str) -> list[Row]:
    return text(path, "arc-a770_16g.v2", "-arc", 63)


def image(path: str) -> list[Row]:
    return text(path, IMAGE, "no blanks", 1024)


def quantity(path: str) -> list[Row]:
    return [
        Row(path, "pattern", "24Gi", "-1Gi", "should match"),
        Row(path, "maxLength", "1", "1." + "0" * 63, "more than 64 bytes"),
    ]


MODEL = [
    *required("spec.model", {"id": "a/b"}),
    *required("spec.model.id", "a/b"),
    *text("spec.model.id", "Qwen/Qwen2-7B-Instruct", "a/b/c", 200),
    *text("spec.model.revision", "refs/pr/1", "-x", 255),
    *cel(
        SOURCE,
        "`source` must have at most one of `huggingFace`, `modelScope`, `persistentVolumeClaim`,"
        " `image`: keep the one the files come from",
        {"modelScope": {}},
        {"huggingFace": {}, "modelScope": {}},
    ),
    Row(f"{SOURCE}.huggingFace.endpoint", "pattern", "https://hf.example:8443/api", "ftp://x",
        "should match"),
    Row(f"{SOURCE}.huggingFace.endpoint", "maxLength", "http://" + "a" * 505,
        "http://" + "a" * 506, "more than 512 bytes"),
    *key_ref(f"{SOURCE}.huggingFace.tokenSecretRef"),
    *key_ref(f"{SOURCE}.modelScope.tokenSecretRef"),
    *required(f"{SOURCE}.persistentVolumeClaim.claimName", "c"),
    *object_name(f"{SOURCE}.persistentVolumeClaim.claimName"),
    *text(f"{SOURCE}.persistentVolumeClaim.path", "models/qwen2-7b", "/etc", 512),
    *cel(
        f"{SOURCE}.persistentVolumeClaim",
        "`path` must stay inside the volume: remove `.` and `..`",
        {"claimName": "c", "path": "a/..b"},
        {"claimName": "c", "path": "a/../../b"},
    ),
    *required(f"{SOURCE}.image.reference", IMAGE),
    *image(f"{SOURCE}.image.reference"),
    *choice(f"{SOURCE}.image.pullPolicy", "Always", "IfNotPresent", "Never"),
]  # fmt: skip

CACHE = [
    Row(f"{CLAIM}.claimName", "pattern", "models.v1", "My_Models", "should match"),
    *length(f"{CLAIM}.claimName", 253),
    *(
        Row(f"{CLAIM}.size", row.rule, {"size": row.accepted}, {"size": row.rejected},
            row.message, at=CLAIM)
        for row in quantity(f"{CLAIM}.size")
    ),
    *(
        Row(f"{CLAIM}.storageClassName", row.rule,
            {"size": "1Gi", "storageClassName": row.accepted},
            {"size": "1Gi", "storageClassName": row.rejected}, row.message, at=CLAIM)
        for row in object_name(f"{CLAIM}.storageClassName")
    ),
    *(
        Row(f"{CLAIM}.{row.path}", row.rule, {"size": "1Gi", "accessModes": row.accepted},
            {"size": "1Gi", "accessModes": row.rejected}, row.message, at=CLAIM)
        for row in (
            Row("accessModes", "minItems", ["ReadWriteMany"], [], "at least 1 items"),
            *at_most("accessModes", 3, ACCESS_MODES),
            *unique("accessModes", "ReadWriteOnce", "ReadWriteMany"),
            *(
                Row("accessModes[]", f"enum:{mode}", [mode], ["RWX"], "Unsupported value")
                for mode in ACCESS_MODES
            ),
        )
    ),
    *cel(
        CLAIM,
        "`persistentVolumeClaim` must have either `claimName` (your own claim) or `size` (the"
        " operator creates one)",
        {"claimName": "mine"},
        {"claimName": "mine", "size": "1Gi"},
    ),
    *cel(
        CLAIM,
        "`storageClassName` and `accessModes` must be absent with `claimName`: your claim has its"
        " own",
        {"size": "1Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"]},
        {"claimName": "mine", "accessModes": ["ReadWriteMany"]},
    ),
    *cel(
        CLAIM,
        "`accessModes` must have ReadWriteOncePod alone: remove the others",
        {"size": "1Gi", "accessModes": ["ReadWriteOncePod"]},
        {"size": "1Gi", "accessModes": ["ReadWriteOncePod", "ReadWriteMany"]},
    ),
    *cel(CLAIM, "`size` must be more than zero", {"size": "1"}, {"size": "0Gi"}),
    *cel(
        CLAIM,
        "`size` must not shrink: a volume can only grow; use another `claimName`, or remove"
        " `cache`, apply, and add it again",
        {"size": "2Ti"},
        {"size": "1023Gi"},
        before={"size": "1Ti"},
    ),
    *cel(
        CLAIM,
        "`storageClassName` must not change: a claim keeps its class; remove `cache`, apply, and"
        " add it again",
        {"size": "2Gi", "storageClassName": "fast"},
        {"size": "2Gi", "storageClassName": "slow"},
        before={"size": "1Gi", "storageClassName": "fast"},
    ),
]  # fmt: skip

DIMENSIONS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "vocab_size", "max_position_embeddings", "sliding_window", "num_experts",
    "num_local_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
    "kv_lora_rank", "qk_rope_head_dim",
)  # fmt: skip
MODEL_FACTS = [
    *at_most(f"{FACTS}.architectures", 8, ["A"] * 9),
    *not_empty(f"{FACTS}.architectures[]"),
    *length(f"{FACTS}.architectures[]", 128),
    *(row for name in DIMENSIONS for row in number(f"{FACTS}.{name}", 1, BIG)),
    *number(f"{FACTS}.n_shared_experts", 0, BIG),
    *(
        row
        for name, longest in (("model_type", 63), ("torch_dtype", 32), ("dtype", 32))
        for row in (*not_empty(f"{FACTS}.{name}"), *length(f"{FACTS}.{name}", longest))
    ),
    *not_empty(f"{FACTS}.quantization_config.quant_method"),
    *length(f"{FACTS}.quantization_config.quant_method", 63),
    *number(f"{FACTS}.quantization_config.bits", 1, 32),
    *number(f"{FACTS}.quantization_config.group_size", -1, 65536),
]

OWNED_FLAGS = {
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


def environment(path: str) -> list[Row]:
    return [
        *named(path, 64),
        *text(f"{path}[].name", "HTTPS_PROXY", "1X", 256),
        *length(f"{path}[].value", 32768),
        *cel(
            f"{path}[]",
            "`valueFrom` must be absent where `value` is set: keep one of them",
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}},
            {"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}},
        ),
        *cel(
            f"{path}[]",
            "`name` must not start with XPULLM_: the operator uses these itself",
            {"name": "MY_XPULLM_PLAN"},
            {"name": "XPULLM_PLAN"},
        ),
        *cel(
            f"{path}[].valueFrom",
            "`valueFrom` must have exactly one of `secretKeyRef`, `configMapKeyRef`",
            {"configMapKeyRef": {"name": "n", "key": "k"}},
            {},
        ),
        *key_ref(f"{path}[].valueFrom.secretKeyRef"),
        *key_ref(f"{path}[].valueFrom.configMapKeyRef"),
    ]


ENGINE = [
    *catalogue_name("spec.quantization"),
    *catalogue_name("spec.gpu.type"),
    *number("spec.gpu.count", 1, 64),
    *choice("spec.gpu.allocation", "Auto", "DevicePlugin", "ResourceClaim"),
    *catalogue_name("spec.engine.name"),
    *text("spec.engine.version", "0.8.3b20250515+xpu", "v 1", 63),
    *image("spec.engine.image"),
    Row("spec.engine.command", "minItems", ["vllm", "serve"], [], "at least 1 items"),
    *at_most("spec.engine.command", 32, ["x"] * 33),
    *not_empty("spec.engine.command[]"),
    *length("spec.engine.command[]", 4096),
    *named("spec.engine.args", 64),
    *text("spec.engine.args[].name", "compilation-config.cudagraph_mode", "--max-num-seqs", 128),
    *length("spec.engine.args[].value", 4096),
    *(
        row
        for flag, way_out in OWNED_FLAGS.items()
        for row in cel("spec.engine.args[]", f"`name` must not be `{flag}`: {way_out}",
                       {"name": f"{flag}-x", "value": "1"}, {"name": flag, "value": "1"})
    ),
    *environment("spec.engine.env"),
]  # fmt: skip

SERVING = [
    *number("spec.serving.contextLength", 1, 16_777_216),
    *number("spec.serving.concurrency", 1, 65_536),
    *number("spec.serving.minContextLength", 1, 16_777_216),
    *number("spec.serving.minConcurrency", 1, 65_536),
    *cel(
        "spec.serving",
        "`minContextLength` must not be above `contextLength`: lower the floor or raise the wish",
        {"contextLength": 4096, "minContextLength": 4096},
        {"contextLength": 4096, "minContextLength": 4097},
    ),
    *cel(
        "spec.serving",
        "`minConcurrency` must not be above `concurrency`: lower the floor or raise the wish",
        {"concurrency": 4, "minConcurrency": 4},
        {"concurrency": 4, "minConcurrency": 5},
    ),
    *at_most("spec.serving.servedNames", 16, [f"name-{i}" for i in range(17)]),
    *unique("spec.serving.servedNames", "qwen", "default"),
    *text("spec.serving.servedNames[]", "qwen2:7b", "two words", 200),
    *key_ref("spec.serving.apiKeySecretRef"),
    *number("spec.replicas", 0, 1000),
    *choice("spec.verification.mode", "BurnIn", "None"),
    *choice("spec.service.type", "ClusterIP", "NodePort", "LoadBalancer"),
    *number("spec.service.port", 1, 65_535),
]

HEALING = [
    *choice("spec.healing.mode", "Auto", "Observe", "Off"),
    *number("spec.healing.maxAttempts", 0, 50),
    *choice("spec.healing.growth.mode", "Disabled", "Enabled"),
    *number("spec.healing.growth.afterHealthySeconds", 60, 2_592_000),
    *number("spec.healing.growth.targetUtilizationPercent", 50, 95),
    Row(
        "spec.healing.growth.startUtilizationPercent",
        "minimum",
        50,
        49,
        "should be greater than or equal to 50",
    ),
    Row(
        "spec.healing.growth.startUtilizationPercent",
        "maximum",
        {"startUtilizationPercent": 95, "targetUtilizationPercent": 95},
        {"startUtilizationPercent": 96, "targetUtilizationPercent": 95},
        "should be less than or equal to",
        at="spec.healing.growth",
    ),
    *cel(
        "spec.healing.growth",
        "`startUtilizationPercent` must not be above `targetUtilizationPercent`, which is 80 where"
        " absent: lower it or raise the target",
        {"startUtilizationPercent": 80},
        {"startUtilizationPercent": 81},
    ),
    *(
        Row(
            f"{WINDOW}.{row.path}",
            row.rule,
            window(row.path, row.accepted),
            window(row.path, row.rejected),
            row.message,
            at=WINDOW,
        )
        for row in (
            *required("startTime", "02:00"),
            *required("durationMinutes", 60),
            Row("startTime", "pattern", "23:59", "24:00", PATTERN),
            Row("startTime", "maxLength", "02:00", "02:000", TOO_LONG.format(5)),
            *number("durationMinutes", 15, 1440),
            *at_most("weekdays", 7, [*DAYS, "Monday"]),
            *unique("weekdays", "Saturday", "Sunday"),
            *(
                Row("weekdays[]", f"enum:{day}", [day], ["saturday"], "Unsupported value")
                for day in DAYS
            ),
        )
    ),
    *at_most("spec.healing.mayChange", 6, [*HEALING_CHOICES, "Arguments"]),
    *unique("spec.healing.mayChange", "Arguments", "GPUCount"),
    *choice("spec.healing.mayChange[]", *HEALING_CHOICES),
]


def reserved(field: str) -> list[Row]:
    return cel(
        "spec.pod",
        f"`{field}` must not have keys under xpullm.io/ or app.kubernetes.io/: the operator sets"
        " these itself",
        {field: {"example.com/team": "a"}},
        {field: {"app.kubernetes.io/name": "a"}},
    )


def label_keys(field: str) -> list[Row]:
    return cel(
        "spec.pod",
        f"`{field}` must have keys as Kubernetes wants them: an optional DNS name and a slash, then"
        " up to 63 of A-Z, a-z, 0-9, -, _ and . with a letter or digit first and last",
        {field: {"node.example.com/" + "a" * 63: "a"}},
        {field: {"two words": "a"}},
    )


def label_value(path: str) -> list[Row]:
    return [Row(path, "pattern", "", "-a", PATTERN), *length(path, 63)]


def tolerations() -> list[Row]:
    must = "`tolerations` must"
    return [
        row
        for message, accepted, rejected in (
            ("have effect NoExecute where `tolerationSeconds` is set",
             {"key": "k", "effect": "NoExecute", "tolerationSeconds": 5},
             {"key": "k", "effect": "NoSchedule", "tolerationSeconds": 5}),
            ("have a `key`, or operator Exists for all keys",
             {"operator": "Exists"}, {"effect": "NoSchedule"}),
            ("have no `value` where the operator is Exists",
             {"key": "k", "operator": "Equal", "value": "v"},
             {"key": "k", "operator": "Exists", "value": "v"}),
        )
        for row in cel("spec.pod", f"{must} {message}", {"tolerations": [accepted]},
                       {"tolerations": [rejected]})
    ]  # fmt: skip


def host_only(field: str) -> list[Row]:
    return [
        *cel(
            "spec.pod.resources",
            f"`{field}` must name only cpu, memory and ephemeral-storage: cards are requested by"
            " `spec.gpu`",
            {field: {"cpu": "1500m", "memory": "24Gi", "ephemeral-storage": 1}},
            {field: {"gpu.intel.com/i915": 1}},
        ),
        Row(
            f"spec.pod.resources.{field}",
            "maxProperties",
            {"memory": "1"},
            {f"k{i}": "1" for i in range(9)},
            "at most 8 items",
        ),
        *quantity(f"spec.pod.resources.{field}{{}}"),
    ]


POD = [
    *reserved("labels"),
    *reserved("annotations"),
    *label_keys("labels"),
    *label_keys("annotations"),
    *label_keys("nodeSelector"),
    *mapping("spec.pod.labels", 64, "v"),
    *label_value("spec.pod.labels{}"),
    *mapping("spec.pod.annotations", 64, "v"),
    *length("spec.pod.annotations{}", 16384),
    *mapping("spec.pod.nodeSelector", 64, "v"),
    *label_value("spec.pod.nodeSelector{}"),
    *host_only("requests"),
    *host_only("limits"),
    *cel(
        "spec.pod.resources",
        "`requests` must not be above `limits`: lower the request or raise the limit",
        {"requests": {"memory": "1Gi", "cpu": 9}, "limits": {"memory": "1024Mi"}},
        {"requests": {"memory": "1025Mi"}, "limits": {"memory": "1Gi"}},
    ),
    *environment("spec.pod.env"),
    *named("spec.pod.imagePullSecrets", 16),
    *object_name("spec.pod.imagePullSecrets[].name"),
    *object_name("spec.pod.priorityClassName"),
    *object_name("spec.pod.runtimeClassName"),
    *number("spec.pod.terminationGracePeriodSeconds", 0, 3600),
    *at_most("spec.pod.tolerations", 32, [{"key": f"k{i}"} for i in range(33)]),
    *tolerations(),
    Row("spec.pod.tolerations[]", "kubernetes", {"key": "k", "effect": "NoSchedule"},
        {"key": "k", "effect": 5}, "must be of type string"),
    Row("spec.pod.affinity", "kubernetes",
        {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname"}]}},
        {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}},
        "Required value"),
    *at_most("spec.pod.topologySpreadConstraints", 16, [
        {"maxSkew": 1, "topologyKey": f"k{i}", "whenUnsatisfiable": "DoNotSchedule"}
        for i in range(17)]),
    *unique("spec.pod.topologySpreadConstraints",
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}),
    Row("spec.pod.topologySpreadConstraints[]", "kubernetes",
        {"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"},
        {"topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}, "Required value"),
]  # fmt: skip

ROWS = [*MODEL, *CACHE, *MODEL_FACTS, *ENGINE, *SERVING, *HEALING, *POD]
