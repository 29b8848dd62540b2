"""What the real providers took and refused, the rules take and refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.sim import rules_anthropic, rules_openai
from podium.sim.complaints import Complaint
from recordings import Recording, each_recording


def is_request(recording: Recording) -> bool:
    asked = "chat/completions" in recording.url or "/v1/messages" in recording.url
    return asked and "request" in recording.files and recording.kind == "recorded"


def check(recording: Recording) -> None:
    document: Any = json.loads(recording.request or b"")
    if "/v1/messages" in recording.url:
        rules_anthropic.check(document, counting="count_tokens" in recording.url, own_thoughts=False)
    else:
        rules_openai.check(document, strict="api.openai.com" in recording.url)


@each_recording(lambda each: is_request(each) and each.status < 300)
def test_a_request_that_a_provider_took_is_taken(recording: Recording) -> None:
    check(recording)


@each_recording(lambda each: is_request(each) and each.status == 400 and each.provider in ("openai-chat", "anthropic"))
def test_a_request_that_a_provider_refused_is_refused_in_its_words(recording: Recording) -> None:
    said = json.loads(recording.response or b"")["error"]
    with pytest.raises(Complaint) as refused:
        check(recording)
    assert (refused.value.message, refused.value.kind) == (said["message"], said["type"])
    assert (refused.value.param, refused.value.code) == (said.get("param"), said.get("code"))
