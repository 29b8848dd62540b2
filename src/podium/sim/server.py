"""The simulated providers' HTTP server: paths, keys, rules, and the answers' dialects.

Theory. One port serves every provider below its name: `/<provider>/v1/chat/completions`, `/<provider>/v1/messages`,
`/<provider>/v1/models`; the same without a provider is `openai`'s or `anthropic`'s. A request is checked by the vendor's
rules, read by the dialect's codec, answered by the script, and written by the codec.

Rules.
- In this order: path, method, key, headers, JSON, the vendor's rules, the model's name, then the model's own faults.
- An exchange is closed exactly once. Its serving is cancelled the moment its client's connection is lost, so that a cancel is
  counted at once, whether the answer waits, hangs or flows.
- `/_sim/stats`, `/_sim/requests` and `/_sim/reset` are the sim's own.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import msgspec
from aiohttp import web

from podium.errors import PodiumError
from podium.sim import chance, rules_anthropic, rules_openai, script, tokens
from podium.sim.complaints import Complaint, body, of_status
from podium.sim.model import SimModel, SimProvider, model_named, provider_named
from podium.sim.playing import Performance
from podium.sim.stats import Book, Exchange
from podium.types import Request, Started
from podium.wire.codec import codec

MAX_BODY = 32 * 1024 * 1024
"""The largest body that is read: Anthropic's own limit, 32 MB."""

_PATH = re.compile(r"/(?:(?P<provider>[^/]+)/)?v1/(?P<endpoint>.+)")
_POSTED = {"chat/completions": "openai_chat", "messages": "anthropic", "messages/count_tokens": "anthropic"}


class Settings:
    """What a sim was told; changed while it runs, read at each request."""

    def __init__(self, *, models: dict[str, SimModel], providers: dict[str, SimProvider], default: SimModel, seed: int) -> None:
        self.models = models
        self.providers = providers
        self.default = default
        self.seed = seed

    def model(self, provider: str, name: str) -> SimModel:
        """Return how a model behaves now."""
        return model_named(provider, name, self.models, self.default)


class Server:
    """Answers HTTP requests as the simulated providers would."""

    def __init__(self, settings: Settings, book: Book) -> None:
        self._settings = settings
        self._book = book
        self._asked: dict[bytes, int] = {}
        self.stopping = False

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/_sim/{what}", self._own)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    def reset(self) -> None:
        """Forget what was asked and counted, so that a run repeats."""
        self._asked.clear()
        self._book.reset()

    async def _own(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        if what == "reset" and request.method == "POST":
            self.reset()
        elif what == "requests" and request.method == "GET":
            return _json(200, msgspec.json.encode([exchange.to_dict() for exchange in self._book.last]))
        elif what != "stats" or request.method != "GET":
            return _json(404, b'{"error":"Use GET /_sim/stats, GET /_sim/requests or POST /_sim/reset."}')
        return _json(200, msgspec.json.encode(self._book.stats()))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return _json(200, b'{"podium":"sim","see":["/v1/models","/_sim/stats"]}')
        headers = {name.lower(): value for name, value in request.headers.items()}
        exchange = self._book.open(
            method=request.method, path=request.path, headers=headers, key=_key_of(headers), at=time.monotonic()
        )
        try:
            return await self._answer(request, exchange, headers)
        except Complaint as complaint:
            return self._refuse(exchange, complaint)
        except asyncio.CancelledError:
            self._book.close(exchange, "stopped" if self.stopping else "cancelled", time.monotonic())
            raise
        except ConnectionError:
            # A write found the connection gone before the event loop had told us: it ends as it would have ended a moment
            # later, without aiohttp's traceback on the user's screen.
            self._book.close(exchange, "cancelled", time.monotonic())
            raise asyncio.CancelledError from None
        finally:
            # Whatever else went wrong is the sim's own fault, and no exchange may stay open over it.
            self._book.close(exchange, "broken", time.monotonic())

    async def _answer(self, request: web.Request, exchange: Exchange, headers: dict[str, str]) -> web.StreamResponse:
        found = _PATH.fullmatch(request.path)
        endpoint = found["endpoint"].rstrip("/") if found else ""
        dialect = _POSTED.get(endpoint, "anthropic" if "anthropic-version" in headers else "openai_chat")
        name = (found["provider"] if found else None) or ("anthropic" if dialect == "anthropic" else "openai")
        provider = provider_named(name, self._settings.providers)
        exchange.provider, exchange.dialect = name, dialect
        self._book.know_provider(exchange)
        if endpoint not in _POSTED and len(provider.dialects) == 1:
            exchange.dialect = dialect = provider.dialects[0]
        is_models = endpoint == "models" or endpoint.startswith("models/")
        if not is_models and (endpoint not in _POSTED or dialect not in provider.dialects):
            exchange.dialect = provider.dialects[0] if dialect not in provider.dialects else dialect
            raise _unknown_path(request, exchange.dialect)
        if request.method != ("GET" if is_models else "POST"):
            raise _wrong_method(request, dialect)
        _check_key(_key_of(headers), provider, dialect)
        if is_models:
            return self._models(exchange, provider, endpoint)
        if dialect == "anthropic":
            rules_anthropic.check_headers(headers)
        document = await _document(request, dialect)
        exchange.body = document
        exchange.model, exchange.user = _model_and_user(document)
        self._book.know_model(exchange)
        counting = endpoint == "messages/count_tokens"
        if dialect == "anthropic":
            rules_anthropic.check(document, counting=counting)
        else:
            rules_openai.check(document, strict=bool(provider.strict))
        return await self._complete(request, exchange, provider, document, counting=counting)

    async def _complete(
        self, request: web.Request, exchange: Exchange, provider: SimProvider, document: dict[str, Any], *, counting: bool
    ) -> web.StreamResponse:
        if provider.only_listed and exchange.model not in provider.models:
            raise _unknown_model(exchange.model, exchange.dialect)
        spoken = codec(exchange.dialect)
        try:
            asked = spoken.load_request(msgspec.json.encode({"max_tokens": 1, **document} if counting else document))
        except PodiumError as error:
            status, more, content = spoken.dump_error(error)
            return self._close_refused(exchange, status, content, more)
        settings = self._settings.model(exchange.provider, exchange.model)
        exchange.input_tokens = tokens.count_request(asked)
        if counting:
            return self._finish_whole(exchange, msgspec.json.encode({"input_tokens": exchange.input_tokens}))
        self._check_settings(settings, exchange, asked)
        keys = self._keys(exchange, asked)
        self._fail_by_chance(settings, exchange, keys)
        exchange.stream = asked.stream
        self._book.accept(exchange)
        lines = script.write(
            asked,
            settings,
            dialect=exchange.dialect,
            seed=self._settings.seed,
            started=self._started(exchange, keys),
        )
        performance = Performance(
            request=request, exchange=exchange, settings=settings, script=lines, asked=asked, keys=keys, book=self._book
        )
        return await performance.give(self._headers(exchange))

    # --- What a model refuses, and its faults ------------------------------------------------------------------------

    def _check_settings(self, settings: SimModel, exchange: Exchange, asked: Request) -> None:
        if settings.context_tokens is None or exchange.input_tokens <= settings.context_tokens:
            return
        if exchange.dialect == "anthropic":
            raise Complaint(f"prompt is too long: {exchange.input_tokens} tokens > {settings.context_tokens} maximum")
        raise Complaint(
            f"This model's maximum context length is {settings.context_tokens} tokens. However, your messages resulted in "
            f"{exchange.input_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )

    def _keys(self, exchange: Exchange, asked: Request) -> tuple[object, ...]:
        """Return what this request's draws depend on: among them how often its prompt was asked of its model before."""
        prompt = chance.digest(exchange.provider, exchange.model, msgspec.json.encode([asked.system, asked.messages]), size=16)
        times = self._asked[prompt] = self._asked.get(prompt, 0) + 1
        return (self._settings.seed, prompt, times)

    def _fail_by_chance(self, settings: SimModel, exchange: Exchange, keys: tuple[object, ...]) -> None:
        status: int | None = None
        if settings.status is not None:
            exchange.fault, status = "status", settings.status
        elif chance.happens(settings.throttle_rate, "throttle", *keys):
            exchange.fault, status = "throttle_rate", 429
        elif chance.happens(settings.failure_rate, "failure", *keys):
            exchange.fault = "failure_rate"
            status = settings.failure_status or chance.chosen((500, 503, 529), "status", *keys)
        if status is not None:
            wait = settings.retry_after_s if status == 429 else None
            raise of_status(status, exchange.dialect, exchange.model, wait)

    def _started(self, exchange: Exchange, keys: tuple[object, ...]) -> Started:
        if exchange.dialect == "anthropic":
            usage = {"input_tokens": exchange.input_tokens, "output_tokens": 1}
            identity = "msg_01" + chance.name("id", exchange.number, *keys, length=22)
            return Started(id=identity, model=exchange.model, extra={"anthropic": {"$usage": usage}})
        return Started(
            id="chatcmpl-" + chance.name("id", exchange.number, *keys, length=29),
            model=exchange.model,
            created_at=float(int(time.time())),
        )

    # --- What is sent ------------------------------------------------------------------------------------------------

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        identity = _request_id(exchange)
        limit, left = "10000", str(10_000 - exchange.number % 10_000)
        if exchange.dialect == "anthropic":
            reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
            return {
                "request-id": identity,
                "anthropic-organization-id": "00000000-0000-0000-0000-000000000000",
                "anthropic-ratelimit-requests-limit": limit,
                "anthropic-ratelimit-requests-remaining": left,
                "anthropic-ratelimit-requests-reset": reset,
                "anthropic-ratelimit-tokens-limit": "2000000",
                "anthropic-ratelimit-tokens-remaining": str(max(0, 2_000_000 - exchange.input_tokens)),
                "anthropic-ratelimit-tokens-reset": reset,
            }
        return {
            "x-request-id": identity,
            "openai-organization": "org-sim",
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(int((time.monotonic() - exchange.started_at) * 1000)),
            "x-ratelimit-limit-requests": limit,
            "x-ratelimit-remaining-requests": left,
            "x-ratelimit-reset-requests": "6ms",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-tokens": str(max(0, 2_000_000 - exchange.input_tokens)),
            "x-ratelimit-reset-tokens": "0s",
        }

    def _refuse(self, exchange: Exchange, complaint: Complaint) -> web.Response:
        more: dict[str, str] = {}
        if complaint.retry_after_s is not None:
            more["retry-after"] = str(max(1, round(complaint.retry_after_s))) if complaint.retry_after_s else "0"
            more["retry-after-ms"] = str(round(complaint.retry_after_s * 1000))
        content = body(complaint, exchange.dialect, _request_id(exchange))
        return self._close_refused(exchange, complaint.status, content, more)

    def _close_refused(self, exchange: Exchange, status: int, content: bytes, more: dict[str, str]) -> web.Response:
        exchange.status = status
        self._book.close(exchange, "refused", time.monotonic())
        return _json(status, content, {**self._headers(exchange), **more})

    def _finish_whole(self, exchange: Exchange, content: bytes) -> web.Response:
        exchange.status = 200
        self._book.close(exchange, "finished", time.monotonic())
        return _json(200, content, self._headers(exchange))

    def _models(self, exchange: Exchange, provider: SimProvider, endpoint: str) -> web.Response:
        named = [name.removeprefix(f"{exchange.provider}/") for name in self._settings.models if "*" not in name]
        names = list(dict.fromkeys((*provider.models, *(() if provider.only_listed else named))))
        rows = [_model_row(name, exchange.provider, exchange.dialect) for name in names]
        if endpoint == "models":
            listed: dict[str, Any] = {"object": "list", "data": rows}
            if exchange.dialect == "anthropic":
                ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
                listed = {"data": rows, "has_more": False, **ends}
            return self._finish_whole(exchange, msgspec.json.encode(listed))
        name = endpoint.removeprefix("models/")
        if name not in names:
            raise _unknown_model(name, exchange.dialect)
        return self._finish_whole(exchange, msgspec.json.encode(rows[names.index(name)]))


def _json(status: int, content: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=content, headers={"content-type": "application/json", **(headers or {})})


def _request_id(exchange: Exchange) -> str:
    return "req_" + chance.name("request", exchange.number, exchange.path, length=24)


def _key_of(headers: dict[str, str]) -> str:
    if key := headers.get("x-api-key"):
        return key
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _model_and_user(document: Any) -> tuple[str, str]:
    """Read whom a body asks and for whom, before anybody has said that it is right."""
    if not isinstance(document, dict):
        return "", ""
    metadata = document.get("metadata")
    user = document.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
    model = document.get("model")
    return model if isinstance(model, str) else "", user if isinstance(user, str) else ""


def _model_row(name: str, provider: str, dialect: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": provider}


async def _document(request: web.Request, dialect: str) -> Any:
    try:
        content = await request.read()
    except web.HTTPRequestEntityTooLarge:
        if dialect == "anthropic":
            raise Complaint("Request exceeds the maximum size", status=413, kind="request_too_large") from None
        raise Complaint(f"Request body is larger than the maximum of {MAX_BODY} bytes.", status=413) from None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if dialect == "anthropic":
            raise Complaint(f"The request body is not valid JSON: {error}") from None
        raise Complaint(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
            "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None


def _check_key(key: str, provider: SimProvider, dialect: str) -> None:
    if not provider.needs_key or (key and (provider.keys is None or key in provider.keys)):
        return
    if dialect == "anthropic":
        words = "invalid x-api-key" if key else "x-api-key header is required"
        raise Complaint(words, status=401, kind="authentication_error")
    if key:
        shown = f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) >= 20 else "*" * 8
        raise Complaint(
            f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys.",
            status=401,
            code="invalid_api_key",
        )
    raise Complaint(
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. "
        "Authorization: Bearer YOUR_KEY).",
        status=401,
    )


def _unknown_path(request: web.Request, dialect: str) -> Complaint:
    if dialect == "anthropic":
        return Complaint("Not Found", status=404, kind="not_found_error")
    return Complaint(f"Invalid URL ({request.method} {request.path})", status=404)


def _wrong_method(request: web.Request, dialect: str) -> Complaint:
    if dialect == "anthropic":
        return Complaint("Method Not Allowed", status=405)
    return Complaint(
        f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a different HTTP method?)",
        status=405,
        code="method_not_supported",
    )


def _unknown_model(name: str, dialect: str) -> Complaint:
    if dialect == "anthropic":
        return Complaint(f"model: {name}", status=404, kind="not_found_error")
    return Complaint(f"The model `{name}` does not exist or you do not have access to it.", status=404, code="model_not_found")
