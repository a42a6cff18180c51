"""API errors, mapped once: what a caller does about them decides their class."""

from __future__ import annotations

import json
from collections.abc import Mapping

# Server-side apply answers an unknown field of a built-in kind with 500 (tried, Kubernetes 1.36).
_UNTYPED = "failed to create typed patch object"
_MESSAGE_LIMIT = 1024  # the API's limit for an event's note; conditions hold more


class ApiError(Exception):
    """A request that failed. ``status`` is the HTTP code, 0 when there was no answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message[:_MESSAGE_LIMIT]

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"


class NotFoundError(ApiError):
    """404: the object, or its kind, does not exist."""


class AlreadyExistsError(ApiError):
    """409 on create: for a deterministic name that is success."""


class ConflictError(ApiError):
    """409: decided on an old state. Observe again and decide again."""


class ExpiredError(ApiError):
    """410: a list's continuation or a resourceVersion is too old. List again."""


class RejectedError(ApiError):
    """400, 403, 422: the same request fails again. A person must know; retry slowly."""


class ForbiddenError(RejectedError):
    """403: RBAC, a quota or an admission policy says no."""


class UnavailableError(ApiError):
    """5xx, 401, time-out, broken connection: the write may or may not have happened. Retry."""


class ThrottledError(UnavailableError):
    """429: retry, not before ``retry_after_seconds``."""

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float) -> None:
        super().__init__(status, reason, message)
        self.retry_after_seconds = retry_after_seconds


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error for an answer that is not 2xx; ``body`` is a ``Status`` object or anything."""
    reason, message = _status_of(body)
    if status == 404:
        return NotFoundError(status, reason or "NotFound", message)
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExistsError(status, reason, message)
    if status == 409:
        return ConflictError(status, reason or "Conflict", message)
    if status == 410 or reason == "Expired":
        return ExpiredError(status, reason or "Expired", message)
    if status == 429:
        after = _seconds(headers.get("Retry-After", ""))
        return ThrottledError(status, reason or "TooManyRequests", message, after)
    if status == 403:
        return ForbiddenError(status, reason or "Forbidden", message)
    if status == 500 and _UNTYPED in message:
        return RejectedError(status, "Invalid", message)
    if status in (401, 408) or status >= 500:
        return UnavailableError(status, reason or "Unavailable", message)
    return RejectedError(status, reason or "Invalid", message)


def _status_of(body: bytes) -> tuple[str, str]:
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        return "", body.decode("utf-8", "replace").strip()
    return str(status.get("reason") or ""), str(status.get("message") or "")


def _seconds(header: str) -> float:
    try:
        return max(1.0, float(header))
    except ValueError:
        return 1.0  # absent, or a date: the API server sends seconds
