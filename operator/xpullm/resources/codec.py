"""JSON in an annotation: compressed, bounded, deterministic, and read back without trust.

Annotations are limited to 256 KiB in all per object (k8s.io/apimachinery
pkg/api/validation/objectmeta.go: TotalAnnotationSizeLimitB).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from typing import Any

MAX_PACKED_BYTES = 128 * 1024
MAX_JSON_BYTES = 1024 * 1024


def canonical_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """A short name for a value: 16 hexadecimal digits, fit for a label."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def pack(value: Any) -> str:
    """Text for an annotation. Keep what is stored: another zlib may pack it otherwise."""
    return base64.b64encode(zlib.compress(canonical_json(value), 9)).decode()


def unpack(text: str | None) -> Any | None:
    """None for what is missing, foreign, cut, or too big: then it is rendered anew."""
    if not text or len(text) > MAX_PACKED_BYTES:
        return None
    try:
        packed = base64.b64decode(text, validate=True)
        unzip = zlib.decompressobj()
        data = unzip.decompress(packed, MAX_JSON_BYTES)
        if unzip.unconsumed_tail or not unzip.eof:
            return None
        return json.loads(data)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return None
