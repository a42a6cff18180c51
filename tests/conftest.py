"""Time-outs by kind of test (against hangs, not as a measure), and the cluster's fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.containerfile import Built, build
from hypothesis import HealthCheck, settings

pytest_plugins = ["hack.cluster.pytest_plugin"]

ROOT = Path(__file__).parent
SECONDS = {"unit": 2, "property": 300, "contract": 60, "chart": 60, "cluster": 300, "engine": 600}

# Shared machines are slow now and then: no deadline per example, and the same examples every time.
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# `pytest tests/property --hypothesis-profile long`: each law with 2,000 random examples (a law that
# needs another number in `ci` takes it from `tests.examples`).
settings.register_profile(
    "long",
    deadline=None,
    max_examples=2000,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
settings.load_profile("ci")
LONG_SECONDS = 4 * 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = settings.get_current_profile_name() == "long"
    for item in items:
        kind = item.path.relative_to(ROOT).parts[0]
        if item.get_closest_marker("timeout") is None and kind in SECONDS:
            item.add_marker(pytest.mark.timeout(LONG_SECONDS if long else SECONDS[kind]))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What the Containerfile's commands make."""
    return build(tmp_path_factory.mktemp("image") / "build")
