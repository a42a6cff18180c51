"""Annotations are read back after anybody may have touched them."""

import base64
import zlib

import pytest

from xpullm.resources import codec


def test_what_is_packed_comes_back() -> None:
    value = {"b": [1, None, "ü"], "a": {"x": True}}
    assert codec.unpack(codec.pack(value)) == value


def test_the_order_of_keys_does_not_matter() -> None:
    assert codec.pack({"a": 1, "b": 2}) == codec.pack({"b": 2, "a": 1})
    assert codec.digest({"a": 1, "b": 2}) == codec.digest({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "not base64!",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b"{not json")).decode(),
        codec.pack({"a": 1})[:-8],
        base64.b64encode(zlib.compress(b" " * (codec.MAX_JSON_BYTES + 1))).decode(),
        base64.b64encode(zlib.compress(b"[" * 100_000)).decode(),
        "A" * (codec.MAX_PACKED_BYTES + 1),
    ],
    ids=["none", "empty", "text", "raw", "broken", "cut", "bomb", "deep", "long"],
)
def test_rubbish_is_nothing(text: str | None) -> None:
    assert codec.unpack(text) is None
