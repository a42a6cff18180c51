"""The spelling of quantities must be the API server's own, or every pass would see drift."""

import pytest

from xpullm.resources import quantity


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        ("0.5Ki", "512"),
        ("2048", "2048"),
        (2048, "2048"),
        ("1000M", "1G"),
        ("1500M", "1500M"),
        ("100n", "100n"),
        ("0.1n", "1n"),
        ("1e3", "1e3"),
        ("12000e3", "12e6"),
        ("0", "0"),
        ("0Gi", "0"),
        ("+5", "5"),
        (".5Gi", "512Mi"),
    ],
)
def test_canonical_is_what_the_server_returns(written: str | int, stored: str) -> None:
    assert quantity.canonical(written) == stored
    assert quantity.canonical(stored) == stored


@pytest.mark.parametrize(
    ("size", "stored"),
    [(24 << 30, "24Gi"), (1 << 20, "1Mi"), (1000, "1000"), (0, "0"), (5 * 1024, "5Ki")],
)
def test_bytes_become_the_largest_exact_unit(size: int, stored: str) -> None:
    assert quantity.of_bytes(size) == stored


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "--1", "1e999", "9" * 40, "1Gi\n"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no Kubernetes quantity"):
        quantity.canonical(text)
