"""Facts about Intel GPUs, engines, quantizations and models: data files and typed loaders."""

from xpullm.catalog.load import (
    accountings,
    engines,
    families,
    gpus,
    models,
    quantization_for,
    quantizations,
)
from xpullm.catalog.lookup import (
    default_engine,
    find_engine,
    find_model,
    gpus_by_pci_id,
    nearest,
    version_key,
)
from xpullm.catalog.types import GPU, Accounting, Engine, Family, Quantization, Runtime, Sampler

__all__ = [
    "GPU",
    "Accounting",
    "Engine",
    "Family",
    "Quantization",
    "Runtime",
    "Sampler",
    "accountings",
    "default_engine",
    "engines",
    "families",
    "find_engine",
    "find_model",
    "gpus",
    "gpus_by_pci_id",
    "models",
    "nearest",
    "quantization_for",
    "quantizations",
    "version_key",
]
