"""Errors in Anthropic's dialect: each of Podium's there and back, and each of Anthropic's to its class."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import httpx2
import pytest

from podium.errors import (
    AuthFailed,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PodiumError,
    ProtocolBroken,
    ProviderError,
    Refused,
    Throttled,
    TimedOut,
    UnsupportedSetting,
)
from podium.types import Failed
from podium.wire.anthropic import CODEC
from podium.wire.anthropic_errors import dump_body


def _tree(kind: type[PodiumError]) -> Iterator[type[PodiumError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == "podium.errors":
            yield from _tree(each)


KINDS = sorted(_tree(PodiumError), key=lambda kind: kind.code)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.code for kind in KINDS])
def test_every_error_of_podium_is_written_and_read_back(kind: type[PodiumError]) -> None:
    error = kind("The model was asked. It failed.", hint="Ask again.", retry_after_s=1.2)
    status, headers, body = CODEC.dump_error(error)
    document = json.loads(body)
    assert 400 <= status < 600
    assert document["type"] == "error"
    assert document["error"]["message"].endswith("The model was asked. It failed. Ask again.")
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    again = CODEC.load_error(status, headers, body)
    assert again.code == kind.code
    assert again.retryable == error.retryable
    assert again.retry_after_s == 1.2
    assert str(again) == str(error)
    if issubclass(kind, ProviderError):
        assert type(again) is kind
    else:
        assert isinstance(again, ProviderError)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.code for kind in KINDS])
def test_every_error_of_podium_survives_a_stream(kind: type[PodiumError]) -> None:
    writer = CODEC.writer(CODEC.load_request(b'{"model":"m","max_tokens":1,"messages":[]}'))
    (event,) = CODEC.reader().feed(writer.send(Failed(error=kind("It failed."))))
    assert isinstance(event, Failed)
    assert isinstance(event.error, ProviderError)
    assert event.error.code == kind.code


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_clients_look_for() -> None:
    _, _, body = CODEC.dump_error(ContextTooLong("400,000 tokens."))
    assert json.loads(body)["error"] == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 400,000 tokens.",
        "code": "context_too_long",
    }


def test_an_error_class_that_this_module_does_not_know_is_read_as_its_base() -> None:
    class Novel(TimedOut):
        code = "novel"

    status, headers, body = CODEC.dump_error(Novel("Too slow."))
    again = CODEC.load_error(status, headers, body)
    assert (type(again), again.code) == (TimedOut, "novel")


def test_a_code_of_its_own_does_not_hide_the_class() -> None:
    status, headers, body = CODEC.dump_error(TimedOut("Silence.", code="stalled"))
    again = CODEC.load_error(status, headers, body)
    assert (type(again), again.code) == (TimedOut, "stalled")


@pytest.mark.parametrize(
    ("kind", "status", "sdk"),
    [
        (AuthFailed, 401, anthropic.AuthenticationError),
        (ModelNotFound, 404, anthropic.NotFoundError),
        (InvalidRequest, 400, anthropic.BadRequestError),
        (Throttled, 429, anthropic.RateLimitError),
        (Overloaded, 529, anthropic.InternalServerError),
        (ProtocolBroken, 502, anthropic.InternalServerError),
    ],
)
def test_the_official_client_raises_its_own_error(kind: type[PodiumError], status: int, sdk: type[Exception]) -> None:
    written, headers, body = CODEC.dump_error(kind("No."))
    assert written == status
    answer = httpx2.Response(written, headers=headers, content=body, request=httpx2.Request("POST", "http://localhost"))
    with anthropic.Anthropic(api_key="k", max_retries=0) as client:
        raised = client._make_status_error_from_response(answer)
    assert isinstance(raised, sdk)


def _load(word: str, message: str, status: int = 400, **headers: str) -> ProviderError:
    body = {"type": "error", "error": {"type": word, "message": message}, "request_id": "req_1"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return CODEC.load_error(status, names, json.dumps(body).encode())


INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("word", "message", "status", "kind"),
    [
        ("authentication_error", "invalid x-api-key", 401, AuthFailed),
        ("permission_error", "Your API key does not have permission to use the specified resource.", 403, AuthFailed),
        ("not_found_error", "model: claude-9", 404, ModelNotFound),
        ("rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit", 429, Throttled),
        ("overloaded_error", "Overloaded", 529, Overloaded),
        ("api_error", "Internal server error", 500, Overloaded),
        ("timeout_error", "The request timed out.", 504, TimedOut),
        ("request_too_large", "Request exceeds the maximum size", 413, ContextTooLong),
        ("billing_error", "Check your payment details.", 402, Throttled),
        (INVALID, "prompt is too long: 203000 tokens > 200000 maximum", 400, ContextTooLong),
        (INVALID, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", 400, ContextTooLong),
        (INVALID, "Your credit balance is too low to access the Anthropic API.", 400, Throttled),
        (INVALID, "You have reached your specified API usage limits.", 400, Throttled),
        (INVALID, "Output blocked by content filtering policy", 400, Refused),
        (INVALID, "`temperature` is deprecated for this model.", 400, UnsupportedSetting),
        (INVALID, "`temperature` and `top_p` cannot both be specified for this model.", 400, UnsupportedSetting),
        (INVALID, "adaptive thinking is not supported on this model", 400, UnsupportedSetting),
        (INVALID, '"thinking.type.enabled" is not supported for this model.', 400, UnsupportedSetting),
        (INVALID, "This model does not support assistant message prefill.", 400, UnsupportedSetting),
        (
            INVALID,
            "max_tokens: 99999 > 64000, which is the maximum allowed number of output tokens for x",
            400,
            UnsupportedSetting,
        ),
        (INVALID, "seed: Extra inputs are not permitted", 400, UnsupportedSetting),
        (INVALID, "messages: roles must alternate", 400, InvalidRequest),
        (INVALID, "max_tokens: Field required", 400, InvalidRequest),
        ("new_error", "Something new", 503, Overloaded),
        ("new_error", "Something new", 400, InvalidRequest),
    ],
)
def test_anthropics_errors_have_their_class(word: str, message: str, status: int, kind: type[ProviderError]) -> None:
    error = _load(word, message, status)
    assert type(error) is kind
    assert error.upstream_status == status
    assert message.split("`")[0][:20] in str(error)
    assert error.body["request_id"] == "req_1"


def test_what_money_alone_can_mend_is_not_retried() -> None:
    assert not _load("billing_error", "Pay.", 402).retryable
    assert not _load(INVALID, "Your credit balance is too low to access the Anthropic API.").retryable
    assert _load("rate_limit_error", "Slow down.", 429).retryable


def test_the_header_has_the_last_word_on_asking_again() -> None:
    assert not _load("rate_limit_error", "Slow down.", 429, x_should_retry="false").retryable
    assert _load("api_error", "Broken.", 500, x_should_retry="true").retryable
    assert _load("rate_limit_error", "Slow down.", 429, retry_after="12").retry_after_s == 12


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (529, b"", Overloaded),
        (502, b"<html><title>Bad gateway</title></html>", Overloaded),
        (429, b"slow down", Throttled),
        (401, b"\xff\xfe", AuthFailed),
        (400, b"[]", InvalidRequest),
        (404, b'"nothing here"', ModelNotFound),
        (503, b'{"error": "no"}', Overloaded),
        (500, b'{"type":"error","error":{"type":["a"],"message":{"a":1}}}', Overloaded),
        (413, b'{"error": null}', ContextTooLong),
    ],
)
def test_a_body_of_any_form_is_survived(status: int, body: bytes, kind: type[ProviderError]) -> None:
    error = CODEC.load_error(status, {}, body)
    assert type(error) is kind
    assert error.upstream_status == status


def test_no_key_is_shown() -> None:
    key = "sk-ant-api03-abcdefghijklmnop"
    assert key not in str(_load("authentication_error", f"invalid key {key}", 401).to_dict())
    assert key not in json.dumps(dump_body(AuthFailed(f"The key {key} is wrong.")))
