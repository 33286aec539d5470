"""The ASGI application: OpenAI's transcription API, live audio, health, readiness, metrics and the web page."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from asr_adapt import __version__
from asr_adapt.formats import writers
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Segment, Transcript
from asr_adapt.serve import live, page, realtime
from asr_adapt.serve.api_error import ApiError, log_unexpected
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.service import LoadedModel, Service
from asr_adapt.serve.transcription_request import FORM, MEDIA_TYPES, PLAIN, TranscriptionRequest
from asr_adapt.serve.upload import read_form

_log = logging.getLogger(__name__)
_WEBSOCKET_CLOSE_CODES = {429: 1013, 500: 1011, 503: 1013}  # try again later, internal error
_PROMPT_IGNORED = "X-Prompt-Ignored"
_CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnected before the response
# Browsers cannot set headers on a WebSocket: OpenAI's clients pass the key as a subprotocol.
_KEY_PROTOCOL = "openai-insecure-api-key."
_ERROR_SCHEMA: dict[str, Any] = {"description": "OpenAI's error object", "content": {"application/json": {"schema": {
    "type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"], "properties": {
            "message": {"type": "string"}, "type": {"type": "string"},
            "param": {"type": ["string", "null"]}, "code": {"type": "string"}}}}}}}}  # fmt: skip
_TRANSCRIPT: dict[int | str, dict[str, Any]] = {200: {"description": "The transcript, or its events", "content": {
    "application/json": {"schema": {"type": "object", "required": ["text"],
                                    "properties": {"text": {"type": "string"}}}},
    **{name: {"schema": {"type": "string"}} for name in (*MEDIA_TYPES.values(), "text/event-stream")}}}}  # fmt: skip


def create_app(
    loaders: Mapping[str, Callable[[], Transcriber]],
    *,
    limits: Limits | None = None,
    api_keys: Sequence[str] = (),
    origins: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    any_model: bool = False,
) -> FastAPI:
    """Return the application; `app.state.service` is its `Service`.

    Args:
        loaders: Creates each model's transcriber, by model name; called after the application has started.
        limits: Limits enforced on every request.
        api_keys: Keys that grant access to everything below /v1; without keys access is open.
        origins: Other origins whose pages may call the API (CORS).
        allowed_hosts: Names by which clients may address the server, besides `localhost` and IP addresses; `*` for
            any.
        any_model: Serve the default model under every name, for clients that ask for `whisper-1`.
    """
    service = Service(loaders, limits or Limits(), any_model=any_model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with _quiet("python_multipart", logging.CRITICAL), _quiet("asr_adapt.audio", logging.ERROR):
            service.start()
            yield
            await service.stop()

    app = FastAPI(title="asr_adapt", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
                  description="Speech to text, compatible with OpenAI's transcription API.")  # fmt: skip
    app.state.service = service
    auth = _Authentication(api_keys)
    _add_transcriptions(app, service, auth)
    _add_models(app, service, auth)
    _add_stream(app, service, auth, origins)
    _add_probes(app, service)
    page.add(app, service.limits)
    app.add_exception_handler(ApiError, _handle_api_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_middleware(_HeadCheck, limits=service.limits, allowed_hosts=allowed_hosts)
    app.add_middleware(_RequestMonitor, service=service)
    if origins:
        # OpenAI's client sends a dozen headers of its own, `x-stainless-*`; its next version may send others.
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"],
                           allow_headers=["*"], expose_headers=["Retry-After", _PROMPT_IGNORED])  # fmt: skip
    return app


@contextmanager
def _quiet(logger_name: str, level: int) -> Iterator[None]:
    """Keep out of the log what quotes or describes clients' uploads, for as long as the application runs."""
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Authentication:
    """Checks API keys in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not all(key.strip() for key in keys):
            raise ValueError("a blank API key would be accepted from everybody")
        self._digests = [hashlib.sha256(os.fsencode(key)).digest() for key in keys]

    def accepts(self, connection: HTTPConnection) -> bool:
        """Return whether a connection has a valid key, or none is required."""
        if not self._digests:
            return True
        kind, _, given = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = next((name.removeprefix(_KEY_PROTOCOL) for name in _protocols(connection.headers)
                          if name.startswith(_KEY_PROTOCOL)), "")  # fmt: skip
        digest = hashlib.sha256(given.strip().encode("latin-1")).digest()  # the bytes that were sent
        return any([hmac.compare_digest(digest, known) for known in self._digests])  # no short circuit

    async def __call__(self, request: Request) -> None:
        """Reject a request without a valid key."""
        if not self.accepts(request):
            raise ApiError(401, "A valid API key is required: Authorization: Bearer KEY.")


def _add_transcriptions(app: FastAPI, service: Service, auth: _Authentication) -> None:
    errors: dict[int | str, dict[str, Any]] = {
        status: _ERROR_SCHEMA for status in (400, 401, 404, 408, 413, 415, 429, 500, 503, 507)
    }

    @app.post("/v1/audio/transcriptions", dependencies=[Depends(auth)], openapi_extra=FORM,
              responses=_TRANSCRIPT | errors, response_class=JSONResponse,
              summary="Transcribe a recording")  # fmt: skip
    async def transcriptions(request: Request) -> Response:
        deadline_s = time.monotonic() + service.limits.request_s
        async with AsyncExitStack() as stack:
            stack.enter_context(service.request_slot())
            form = await read_form(request, service.limits, deadline_s)
            try:
                job = TranscriptionRequest.from_form(form)
                model = service.model(job.model)
                decode = model.decode(job.prompt, service.limits)
            except ApiError:
                await form.close()
                raise
            ignored = model.ignored(job.prompt)
            headers = {_PROMPT_IGNORED: ignored} if ignored else {}
            segments = service.segments(model, job.file, decode, deadline_s)  # closes the file
            stack.push_async_callback(segments.aclose)
            if job.stream:
                first = await _until_disconnect(request, anext(segments))
                return _EventStream(_events(job, first, segments), stack.pop_all(), headers)
            response = _response(job, await _until_disconnect(request, _transcript(segments)))
            response.headers.update(headers)
            return response

    @app.post("/v1/audio/translations", include_in_schema=False)
    async def translations() -> Response:
        raise ApiError(404, "Translation is not offered: a model writes the language that is spoken. Use "
                       "/v1/audio/transcriptions.", code="not_offered")  # fmt: skip


async def _transcript(segments: AsyncIterator[Segment | Transcript]) -> Transcript:
    async for segment in segments:
        if isinstance(segment, Transcript):
            return segment
    raise AssertionError("the transcript comes last")


async def _until_disconnect(request: Request, work: Any) -> Any:
    """Await work on a request whose body has been read; cancel it if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(disconnected())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        tasks[1].result()
        raise ClientDisconnect
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _response(job: TranscriptionRequest, transcript: Transcript) -> Response:
    """Return a transcript in the requested format."""
    if job.response_format in PLAIN:
        text = writers.WRITERS[PLAIN[job.response_format]](transcript)
        return Response(text, media_type=MEDIA_TYPES[job.response_format])
    if job.response_format == "json":
        return JSONResponse({"text": transcript.text})
    return JSONResponse(_verbose_json(job, transcript))


def _verbose_json(job: TranscriptionRequest, transcript: Transcript) -> dict[str, Any]:
    """Return `verbose_json`: the output of `transcribe --format json` with the requested timestamps."""
    fields = json.loads(writers.WRITERS["json"](transcript))
    dropped = {name for name, wanted in (("words", job.words), ("segments", job.segments)) if not wanted}
    files = {name: write(transcript) for name, write in writers.WRITERS.items()} if job.files else None
    return {name: value for name, value in fields.items() if name not in dropped} | (
        {"files": files} if files else {}
    )


class _EventStream(StreamingResponse):
    """Server-sent events; runs `cleanup` when they end or the client disconnects."""

    def __init__(self, events: AsyncIterator[str], cleanup: AsyncExitStack, headers: Mapping[str, str]) -> None:
        super().__init__(events, media_type="text/event-stream",
                         headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})  # fmt: skip
        self._cleanup = cleanup

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._cleanup:
            await super().__call__(scope, receive, send)


async def _events(
    job: TranscriptionRequest, first: Segment | Transcript, rest: AsyncIterator[Segment | Transcript]
) -> AsyncIterator[str]:
    """Yield a `transcript.text.delta` for each segment, then `transcript.text.done`."""
    is_verbose, is_later = job.response_format == "verbose_json", False
    item: Segment | Transcript | None = first
    while item is not None:
        if isinstance(item, Transcript):
            fields = _verbose_json(job, item) if is_verbose else {"text": item.text}
            yield _event(live.done_event(fields))
            return
        if item.text:
            yield _event(live.delta_event(item, is_later, with_times=is_verbose))
            is_later = True
        try:
            item = await anext(rest, None)
        except Exception as error:
            api_error = error if isinstance(error, ApiError) else log_unexpected(_log, error, "request failed")
            yield f"event: error\ndata: {json.dumps(api_error.body(), ensure_ascii=False)}\n\n"
            return


def _event(fields: dict[str, Any]) -> str:
    return f"event: {fields['type']}\ndata: {json.dumps(fields, ensure_ascii=False)}\n\n"


def _add_models(app: FastAPI, service: Service, auth: _Authentication) -> None:
    @app.get("/v1/models", dependencies=[Depends(auth)], responses={401: _ERROR_SCHEMA}, summary="List the models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model_object(model) for model in service.models]}

    @app.get("/v1/models/{name:path}", dependencies=[Depends(auth)],
             responses={s: _ERROR_SCHEMA for s in (400, 401, 404, 422, 503)}, summary="Show a model")  # fmt: skip
    async def model(name: str) -> dict[str, Any]:
        return _model_object(service.model(name))


def _model_object(model: LoadedModel) -> dict[str, Any]:
    transcriber = model.transcriber
    transcriber = model.transcriber
    return {"id": model.name, "object": "model", "created": model.loaded_at, "owned_by": "asr_adapt",
            "language": transcriber.model.language, "decoding": transcriber.decoding.describe()}  # fmt: skip


def _add_stream(app: FastAPI, service: Service, auth: _Authentication, origins: Sequence[str]) -> None:
    @app.websocket("/v1/audio/stream")
    async def stream(socket: WebSocket, model: str = "") -> None:
        await serve(socket, lambda: live.serve_stream(socket, service, service.model(model)))

    @app.websocket("/v1/realtime")
    async def realtime_transcription(socket: WebSocket, model: str = "", intent: str = "") -> None:
        async def session() -> None:
            if intent != "transcription":
                raise ApiError(400, "Only transcription is offered: /v1/realtime?intent=transcription.",
                               code="not_offered", param="intent")  # fmt: skip
            await realtime.serve_realtime(socket, service, service.model(model))

        await serve(socket, session)

    async def serve(socket: WebSocket, session: Callable[[], Awaitable[None]]) -> None:
        protocols = _protocols(socket.headers)
        if not auth.accepts(socket) or not _is_allowed_origin(socket.headers, origins):
            await socket.close(1008)
            return
        await socket.accept(subprotocol="realtime" if "realtime" in protocols else None)
        try:
            with service.stream_slot():
                await session()
        except WebSocketDisconnect:
            return
        except Exception as error:
            api_error = error if isinstance(error, ApiError) else log_unexpected(_log, error, "request failed")
            with suppress(RuntimeError, WebSocketDisconnect):  # already disconnected
                await socket.send_json({"type": "error", "event_id": "event_error", **api_error.body()})
                await socket.close(_WEBSOCKET_CLOSE_CODES.get(api_error.status, 1008))


def _is_allowed_origin(headers: Headers, origins: Sequence[str]) -> bool:
    """Return whether a WebSocket may connect: browsers do not apply CORS to WebSockets, so the server must."""
    origin = headers.get("origin")
    return origin is None or origin in origins or "*" in origins or origin.partition("//")[2] == headers.get("host")


def _protocols(headers: Headers) -> list[str]:
    return [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]


def _add_probes(app: FastAPI, service: Service) -> None:
    unavailable: dict[int | str, dict[str, Any]] = {
        503: {"description": "Unavailable", "content": {"application/json": {"schema": {"type": "object"}}}}
    }

    @app.get("/health", responses=unavailable, summary="Liveness probe")
    async def health() -> Response:
        return JSONResponse({"status": "ok" if service.is_healthy else "failed"}, 200 if service.is_healthy else 503)

    @app.get("/ready", responses=unavailable, summary="Readiness probe: are all models loaded?")
    async def ready() -> Response:
        is_ready = service.is_ready and service.is_healthy
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    @app.get("/metrics", response_class=Response, summary="Metrics for Prometheus",
             responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4")


# Handlers are coroutines so that error responses never wait for a thread.
async def _handle_api_error(_: Request, error: Any) -> Response:
    return error.response()


async def _handle_validation_error(*_: Any) -> Response:
    return ApiError(400, "The request is not valid.").response()


async def _handle_http_exception(_: Request, error: Any) -> Response:
    response = ApiError(error.status_code, str(error.detail)).response()
    response.headers.update(error.headers or {})
    return response


class _HeadCheck:
    """Rejects requests with too large a head, or addressed to a name that is not the server's.

    A page of a hostile site can reach a server on the visitor's own computer or network if its name resolves to that
    address (DNS rebinding): its requests then have the site's name as their Host, never an IP address.
    """

    def __init__(self, app: ASGIApp, limits: Limits, allowed_hosts: Sequence[str]) -> None:
        self._app, self._max_bytes = app, limits.head_bytes
        self._names = {"localhost", *(name.lower() for name in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] in {"http", "websocket"} else None
        if error is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await error.response()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _error(self, scope: Scope) -> ApiError | None:
        sizes = (len(name) + len(value) + 4 for name, value in scope["headers"])
        if len(scope["raw_path"]) + len(scope["query_string"]) + sum(sizes) > self._max_bytes:
            return ApiError(431, f"The request's head is larger than {self._max_bytes} bytes.", code="head_too_large")
        host = Headers(scope=scope).get("host", "")  # HTTP/1.0 needs none, and no browser leaves it out
        if host and not self._is_allowed(host):
            return ApiError(403, "The server does not answer to this Host; start it with --allowed-host NAME.",
                            code="host_not_allowed")  # fmt: skip
        return None

    def _is_allowed(self, host: str) -> bool:
        name = re.sub(r":\d*$", "", host.lower()).removesuffix(".")
        if "*" in self._names or name in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


class _RequestMonitor:
    """Records metrics of every request and turns unexpected exceptions into a 500 without logging request data."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = dict(scope, method="GET")  # uvicorn omits the body, as it has the scope with HEAD
        started_s, status = time.monotonic(), 0

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except ClientDisconnect:
            status = _CLIENT_CLOSED_REQUEST
        except Exception as error:
            api_error = log_unexpected(_log, error, "request failed")
            if status:
                raise ConnectionAbortedError("the response was interrupted") from None
            await api_error.response()(scope, receive, send_and_record)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.record_request(route, status, time.monotonic() - started_s)
