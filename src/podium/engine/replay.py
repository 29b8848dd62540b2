"""Asks a spec what others were asked some time ago, and compares with what these answered then.

Theory. The ledger with `payloads: full` has requests and answers as they were, with what they took and cost. So a spec can be
tried on real questions before a single user meets it, at the cost of one side alone.

Rules.
- The request is the recorded one, not streamed. It takes nothing from the limits of whoever asked it then: it is asked for
  nobody, and tagged (`REPLAY_TAG`), so that it is on record and never replayed itself.
- What would do something a second time, or refers to what one provider keeps, is not asked again (`routing.shadow.unfit`).
- The old side has the recorded time, tokens and cost; a request that had failed is a failure of that side.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from podium.engine.language_model import fresh_id
from podium.engine.sides import Outcome, log, of_failure, of_recording, of_result
from podium.errors import PodiumError, RequestError
from podium.ledger import REPLAY_TAG, Recording, usd
from podium.ledger.usage import Instant
from podium.routing.compare import Comparison, JudgeChoice
from podium.routing.compare import compare as compare_answers
from podium.routing.shadow import Unfit, unfit
from podium.types import Request, Response, Value

if TYPE_CHECKING:
    from podium.engine.models import Models

Unusable = Unfit | Literal["not_kept", "hashed", "cut", "unreadable"]
"""Why a request on record cannot be asked again."""


class Past(Value, frozen=True, kw_only=True):
    """A request on record that can be asked again, and what became of it."""

    recording: Recording
    request: Request
    response: Response | None
    """None: it had failed."""

    @property
    def outcome(self) -> Outcome:
        """The old side of the comparison."""
        recording = self.recording
        cost = None if recording.cost_pico is None else usd(recording.cost_pico)
        return of_recording(
            recording.spec,
            self.response,
            target=recording.target,
            duration_s=recording.duration_s,
            tokens=(recording.input_tokens, recording.output_tokens),
            cost_usd=cost,
            request_id=recording.request_id,
            error_code=recording.outcome,
        )


def find_recordings(
    models: Models, *, since: Instant | None, until: Instant | None, rollout: str | None, spec: str | None, most: int, tz: str
) -> tuple[int, list[Recording]]:
    """Return how many requests on record fit, and the newest of them; see `Ledger.recordings`. It blocks.

    Raises `RequestError` where no ledger is kept, or none on disk.
    """
    if rollout is not None:
        models.rollouts.declared(rollout)
    ledger = models._books.ledger
    if ledger is None:
        raise RequestError(
            "No request is on record: the config keeps no ledger.",
            hint="Take `ledger: none` out of it, and set `ledger: {payloads: full}` to keep what is asked and answered.",
        )
    return ledger.recordings(since=since, until=until, rollout=rollout, spec=spec, most=most, tz=tz)


def load_past(recording: Recording) -> Past | Unusable:
    """Read a request on record; or say why it cannot be asked again."""
    answered = recording.outcome == "ok"
    if recording.hashed:
        return "hashed"
    if recording.is_cut:
        return "cut"
    if recording.request is None or (answered and recording.response is None):
        return "not_kept"
    try:
        request = msgspec.json.decode(recording.request, type=Request)
        response = msgspec.json.decode(recording.response or b"", type=Response) if answered else None
    except (msgspec.DecodeError, msgspec.ValidationError, PodiumError):  # of another release
        return "unreadable"
    asked = request.replace(stream=False, metadata={"tags": [REPLAY_TAG]})
    return unfit(request) or Past(recording=recording.replace(request=None, response=None), request=asked, response=response)


async def replay(
    models: Models,
    spec: str,
    past: Past,
    *,
    timeout: float | str | None = None,
    judge: JudgeChoice = "auto",
    answer_pattern: str | None = None,
) -> Comparison:
    """Ask a spec, taken as written, what was asked then, and compare the two answers; a failure of it is a result.

    Raises `SpecError` for a spec that means nothing.
    """
    new = await _ask(models, spec, past.request, timeout)
    comparison = await asyncio.to_thread(
        compare_answers, new, past.outcome, judge=judge, answer_pattern=answer_pattern, output=past.request.output
    )
    log(comparison, of=f"replay of request {past.recording.request_id}")
    return comparison


async def _ask(models: Models, spec: str, request: Request, timeout: float | str | None) -> Outcome:
    request_id = fresh_id()
    run, _ = models._make_run(request, spec, None, None, request_id, True, timeout)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        return of_result("new", spec, await run.wait())
    except PodiumError as error:
        took_s = loop.time() - began
        return of_failure("new", spec, error.code, str(error), took_s, attempts=error.attempts, request_id=request_id)
