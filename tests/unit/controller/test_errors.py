"""One mapping of API errors."""

from __future__ import annotations

import json

import pytest

from xpullm.controller import errors
from xpullm.controller.errors import from_response


def body(reason: str, message: str = "why") -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (400, "BadRequest", errors.RejectedError),
        (401, "Unauthorized", errors.UnavailableError),
        (403, "Forbidden", errors.ForbiddenError),
        (404, "NotFound", errors.NotFoundError),
        (409, "AlreadyExists", errors.AlreadyExistsError),
        (409, "Conflict", errors.ConflictError),
        (410, "Expired", errors.ExpiredError),
        (422, "Invalid", errors.RejectedError),
        (429, "TooManyRequests", errors.ThrottledError),
        (500, "InternalError", errors.UnavailableError),
        (504, "Timeout", errors.UnavailableError),
    ],
)
def test_the_class_says_what_to_do(status: int, reason: str, expected: type) -> None:
    error = from_response(status, {}, body(reason))
    assert type(error) is expected
    assert str(error) == f"{status} {reason}: why"


@pytest.mark.parametrize(
    ("header", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, 1.0), ({"Retry-After": "soon"}, 1.0)]
)
def test_throttling_says_for_how_long(header: dict[str, str], seconds: float) -> None:
    error = from_response(429, header, body("TooManyRequests"))
    assert isinstance(error, errors.ThrottledError)
    assert error.retry_after_seconds == seconds


def test_a_manifest_that_does_not_fit_its_kind_is_refused_though_the_server_says_500() -> None:
    message = "failed to create typed patch object (ns/c; /v1, Kind=ConfigMap): .dta: no"
    error = from_response(500, {}, body("InternalError", message))
    assert type(error) is errors.RejectedError


def test_a_proxy_that_answers_no_json_is_quoted_and_cut() -> None:
    error = from_response(502, {}, b"<html>" + b"x" * 5000)
    assert isinstance(error, errors.UnavailableError)
    assert error.message.startswith("<html>x")
    assert len(error.message) == 1024
