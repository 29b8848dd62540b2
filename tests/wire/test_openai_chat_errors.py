"""Errors of OpenAI Chat: found by their words, written for clients, and never with a key in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium import errors
from podium.errors import PodiumError, ProviderError
from podium.wire.failures import MEANINGS, known_code, redact, shorten
from podium.wire.openai_chat import CODEC


def load(status: int, body: Any, **headers: str) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CODEC.load_error(status, {key.replace("_", "-"): value for key, value in headers.items()}, data)


def every_class(root: type[PodiumError] = PodiumError) -> list[type[PodiumError]]:
    return [
        root,
        *(kind for below in root.__subclasses__() for kind in every_class(below) if below.__module__ == errors.__name__),
    ]


@pytest.mark.parametrize("kind", every_class())
def test_every_error_is_written_and_read_back_as_what_it_is(kind: type[PodiumError]) -> None:
    error = kind("Something was asked, and this happened.", hint="Do that.", retry_after_s=1.5)
    status, headers, body = CODEC.dump_error(error)
    again = CODEC.load_error(status, headers, body)
    assert again.code == error.code
    assert type(again) is (kind if issubclass(kind, ProviderError) else MEANINGS[known_code(error)][0])
    assert "Something was asked, and this happened. Do that." in str(again)
    assert again.retryable == error.retryable
    assert again.retry_after_s == 1.5
    assert {"message", "type", "param", "code"} <= set(json.loads(body)["error"])
    assert headers["retry-after"] == "2"


def test_an_error_with_a_code_of_its_own_keeps_code_and_class() -> None:
    status, headers, body = CODEC.dump_error(errors.TimedOut("Silence.", code="stalled"))
    again = CODEC.load_error(status, headers, body)
    assert (type(again), again.code) == (errors.TimedOut, "stalled")


def test_a_quota_that_is_used_up_stays_so_on_the_way_through() -> None:
    status, headers, body = CODEC.dump_error(errors.Throttled("No money.", retryable=False))
    assert json.loads(body)["error"]["code"] == "insufficient_quota"
    again = CODEC.load_error(status, headers, body)
    assert (type(again), again.retryable) == (errors.Throttled, False)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, "context_too_long"),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens."}}, "context_too_long"),
        (400, {"message": "Prompt has 70000 tokens, too large for 32768 maximum context length"}, "context_too_long"),
        (400, {"error": "prompt is too long: 9 tokens > 8 maximum"}, "context_too_long"),
        (400, {"error": {"message": "The input token count (9) exceeds the maximum number of tokens."}}, "context_too_long"),
        (413, {"error": {"message": "Request too large"}}, "context_too_long"),
        (400, {"error": {"code": "unsupported_parameter", "param": "temperature", "message": "x"}}, "unsupported_setting"),
        (400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.2."}}, "unsupported_setting"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "unsupported_setting"),
        (400, {"error": "Incorrect API key provided."}, "authentication_failed"),
        (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "X"}}], "authentication_failed"),
        (401, {"detail": "Unauthorized"}, "authentication_failed"),
        (403, b"Forbidden", "authentication_failed"),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, "model_not_found"),
        (404, b"404 page not found", "model_not_found"),
        (400, {"error": {"message": "nope/x is not a valid model ID", "code": 400}}, "model_not_found"),
        (400, {"error": {"code": "content_filter", "message": "The response was filtered"}}, "refused"),
        (400, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "x"}}, "refused"),
        (403, {"error": {"message": "Your input was flagged by moderation", "code": 403}}, "refused"),
        (429, {"error": {"message": "slow down"}}, "throttled"),
        (402, {"error": {"message": "Insufficient Balance"}}, "throttled"),
        (500, b"", "overloaded"),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", "overloaded"),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
        (408, {"error": {"message": "x"}}, "timed_out"),
        (504, b"", "timed_out"),
        (400, {"error": {"message": "messages must not be empty"}}, "provider_invalid_request"),
        (422, b"\x00\xff\xfe", "provider_invalid_request"),
        (400, b'"just a string"', "provider_invalid_request"),
    ],
)  # fmt: skip
def test_an_error_is_known_by_its_words_first_and_by_its_status_second(status: int, body: Any, code: str) -> None:
    error = load(status, body)
    assert error.code == code
    assert error.upstream_status == status
    assert str(status) in str(error)
    assert error.hint


def test_a_rate_limit_is_retryable_and_a_used_up_quota_is_not() -> None:
    assert load(429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}).retryable
    assert not load(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}).retryable
    assert not load(402, {"error": {"message": "Insufficient credits"}}).retryable


def test_googles_quota_of_a_minute_comes_back() -> None:
    error = load(
        429, {"error": {"message": "You exceeded your current quota. Please retry in 48.9s.", "status": "RESOURCE_EXHAUSTED"}}
    )
    assert error.retryable
    assert error.retry_after_s == 48.9


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry_after_ms": "250", "retry_after": "9"}, "", 0.25),
        ({"retry_after": "2"}, "", 2.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 30.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT"}, "", None),
        ({"retry_after": "soon"}, "", None),
        ({"retry_after": "-1"}, "", None),
        ({"retry_after": "nan"}, "", None),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Please try again in 1.5 seconds", 1.5),
        ({}, "Try again in 3 places", None),
    ],
)
def test_when_to_come_back_is_found_in_headers_and_words(headers: dict[str, str], message: str, seconds: float | None) -> None:
    assert load(429, {"error": {"message": message}}, **headers).retry_after_s == seconds


def test_googles_retry_info_says_when_to_come_back() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
    assert load(429, [{"error": {"message": "x", "details": [detail]}}]).retry_after_s == 7.5


@pytest.mark.parametrize(
    "words",
    [
        "Incorrect API key provided: sk-proj-abcdefghijkl1234. You can find",
        "Incorrect API key provided: abcdef0123456789XYZ. You can find",
        "Authorization: Bearer abcdef0123456789XYZ was refused",
        "key gsk_abcdefghij0123456789 is bad",
        "AIzaSyA-abcdefghijklmnopqrstuvw is bad",
        "xai-abcdefghijk0123456789",
    ],
)
def test_no_key_is_ever_shown_be_it_echoed_by_the_provider(words: str) -> None:
    error = load(401, {"error": {"message": words}})
    for shown in (str(error), repr(error), json.dumps(error.to_dict()), str(error.body), str(CODEC.dump_error(error))):
        assert "abcdef" not in shown
    assert "[key]" in redact(words)


def test_long_words_are_cut_and_the_body_kept() -> None:
    error = load(400, {"error": {"message": "no " * 1000}})
    assert len(str(error)) < 500
    assert error.body["error"]["message"] == "no " * 1000
    assert shorten("a\n b") == "a b"


def test_openrouters_upstream_words_are_shown() -> None:
    error = load(429, {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "upstream is full"}}})
    assert "upstream is full" in str(error)
