"""The app: OpenAI's transcription API, live audio, health, readiness, metrics and the page."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
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
from asr_adapt.serve import live, page
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.refusal import Refusal
from asr_adapt.serve.service import Served, Service
from asr_adapt.serve.transcription_request import FORM, MEDIA_TYPES, PLAIN, Asked
from asr_adapt.serve.upload import read_form

_log = logging.getLogger(__name__)
_CLOSED = {429: 1013, 500: 1011, 503: 1013}  # a WebSocket's codes: come again, our failure
_LEFT = 499  # what nginx calls a client that did not wait for its answer
# A browser's WebSocket has no headers of its own: OpenAI's clients put the key into the subprotocol.
_KEY_PROTOCOL = "openai-insecure-api-key."
_ERROR: dict[str, Any] = {"description": "OpenAI's error object", "content": {"application/json": {"schema": {
    "type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"], "properties": {
            "message": {"type": "string"}, "type": {"type": "string"},
            "param": {"type": ["string", "null"]}, "code": {"type": "string"}}}}}}}}  # fmt: skip
_SPOKEN: dict[int | str, dict[str, Any]] = {200: {"description": "The transcript, or its events", "content": {
    "application/json": {"schema": {"type": "object", "required": ["text"],
                                    "properties": {"text": {"type": "string"}}}},
    **{name: {"schema": {"type": "string"}} for name in (*MEDIA_TYPES.values(), "text/event-stream")}}}}  # fmt: skip


def create_app(
    loaders: Mapping[str, Callable[[], Transcriber]],
    *,
    limits: Limits | None = None,
    api_keys: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> FastAPI:
    """Return the app; `app.state.service` is its `Service`.

    Args:
        loaders: Makes each model's transcriber, by the model's name; called once the app has started.
        limits: What a request may bring, take and wait for.
        api_keys: One of them is wanted for everything below /v1; nothing is wanted where there is none.
        origins: Other sites whose pages may call it (CORS).
    """
    service = Service(loaders, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # its warnings quote what was sent
        logging.getLogger("asr_adapt.audio").setLevel(logging.ERROR)
        service.start()
        yield
        await service.stop()

    app = FastAPI(title="asr_adapt", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
                  description="Speech to text, as OpenAI's API has it.")  # fmt: skip
    app.state.service = service
    key = _Key(api_keys)
    _add_transcriptions(app, service, key)
    _add_models(app, service, key)
    _add_live(app, service, key, origins)
    _add_probes(app, service)
    page.add(app)
    app.add_exception_handler(Refusal, _of_refusal)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_middleware(_Watch, service=service)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"],
                           allow_headers=["Authorization"])  # fmt: skip
    return app


class _Key:
    """Asks for an API key; compares in a time that tells nothing of how much was right."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def fits(self, connection: HTTPConnection) -> bool:
        """Say whether one was given, where one is wanted."""
        if not self._digests:
            return True
        kind, _, given = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = next((name.removeprefix(_KEY_PROTOCOL) for name in _protocols(connection.headers)
                          if name.startswith(_KEY_PROTOCOL)), "")  # fmt: skip
        digest = hashlib.sha256(given.strip().encode()).digest()
        return any([hmac.compare_digest(digest, known) for known in self._digests])  # all of them, each time

    async def __call__(self, request: Request) -> None:
        """Refuse a request without it."""
        if not self.fits(request):
            raise Refusal(401, "A valid API key is needed: Authorization: Bearer KEY.")


def _add_transcriptions(app: FastAPI, service: Service, key: _Key) -> None:
    errors: dict[int | str, dict[str, Any]] = {
        status: _ERROR for status in (400, 401, 404, 408, 413, 415, 429, 500, 503)
    }

    @app.post("/v1/audio/transcriptions", dependencies=[Depends(key)], openapi_extra=FORM,
              responses=_SPOKEN | errors, response_class=JSONResponse, summary="Transcribe a recording")  # fmt: skip
    async def transcriptions(request: Request) -> Response:
        deadline_s = time.monotonic() + service.limits.request_s
        async with AsyncExitStack() as stack:
            stack.enter_context(service.place())
            form = await read_form(request, service.limits, deadline_s)
            try:
                asked = Asked.of(form)
                served = service.model(asked.model)
                decode = served.decode(asked.prompt, service.limits)
            except Refusal:
                await form.close()
                raise
            segments = service.segments(served, asked.file, decode, deadline_s)  # which closes the file
            stack.push_async_callback(segments.aclose)
            if asked.stream:
                first = await _unless_left(request, anext(segments))
                return _Events(_events(asked, first, segments), stack.pop_all())
            return _answer(asked, await _unless_left(request, _last(segments)))


async def _last(segments: AsyncIterator[Segment | Transcript]) -> Transcript:
    async for segment in segments:
        if isinstance(segment, Transcript):
            return segment
    raise AssertionError("a recording ends with its transcript")


async def _unless_left(request: Request, work: Any) -> Any:
    """Return what comes of work on a request whose body was read; cancel it where the client leaves.

    Raises:
        ClientDisconnect: the client left.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(left())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise ClientDisconnect
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer(asked: Asked, transcript: Transcript) -> Response:
    """Return a transcript in the format that was asked for."""
    if asked.response_format in PLAIN:
        text = writers.WRITERS[PLAIN[asked.response_format]](transcript)
        return Response(text, media_type=MEDIA_TYPES[asked.response_format])
    if asked.response_format == "json":
        return JSONResponse({"text": transcript.text})
    return JSONResponse(_verbose(asked, transcript))


def _verbose(asked: Asked, transcript: Transcript) -> dict[str, Any]:
    """Return `verbose_json`: as `transcribe --format json` writes it, with the times that were asked for."""
    fields = json.loads(writers.WRITERS["json"](transcript))
    dropped = {name for name, wanted in (("words", asked.words), ("segments", asked.segments)) if not wanted}
    files = {name: write(transcript) for name, write in writers.WRITERS.items()} if asked.files else None
    return {name: value for name, value in fields.items() if name not in dropped} | (
        {"files": files} if files else {}
    )


class _Events(StreamingResponse):
    """Server-sent events; what was entered for them is left when they end, or the client goes."""

    def __init__(self, events: AsyncIterator[str], entered: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream",
                         headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # fmt: skip
        self._entered = entered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._entered:
            await super().__call__(scope, receive, send)


async def _events(
    asked: Asked, first: Segment | Transcript, rest: AsyncIterator[Segment | Transcript]
) -> AsyncIterator[str]:
    """Yield `transcript.text.delta` for each segment, which together are the text, and `transcript.text.done`."""
    is_verbose, begun = asked.response_format == "verbose_json", False
    item: Segment | Transcript | None = first
    while item is not None:
        if isinstance(item, Transcript):
            more = _verbose(asked, item) if is_verbose else {"text": item.text}
            yield _event(live.done(more))
            return
        if item.text:
            yield _event(live.delta(item, begun, with_times=is_verbose))
            begun = True
        try:
            item = await anext(rest, None)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else _unexpected(error)
            yield f"event: error\ndata: {json.dumps(refusal.body(), ensure_ascii=False)}\n\n"
            return


def _event(fields: dict[str, Any]) -> str:
    return f"event: {fields['type']}\ndata: {json.dumps(fields, ensure_ascii=False)}\n\n"


def _add_models(app: FastAPI, service: Service, key: _Key) -> None:
    @app.get("/v1/models", dependencies=[Depends(key)], responses={401: _ERROR}, summary="List the models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_card(served) for served in service.models]}

    @app.get("/v1/models/{name}", dependencies=[Depends(key)],
             responses={s: _ERROR for s in (400, 401, 404, 422, 503)}, summary="Show a model")  # fmt: skip
    async def model(name: str) -> dict[str, Any]:
        return _card(service.model(name))


def _card(served: Served) -> dict[str, Any]:
    model = served.transcriber.model
    return {"id": served.name, "object": "model", "created": served.loaded_at, "owned_by": "asr_adapt",
            "language": model.language, "decoding": served.transcriber.decoding}  # fmt: skip


def _add_live(app: FastAPI, service: Service, key: _Key, origins: Sequence[str]) -> None:
    @app.websocket("/v1/audio/stream")
    async def stream(socket: WebSocket, model: str = "") -> None:
        protocols = _protocols(socket.headers)
        if not key.fits(socket) or not _is_from_here(socket.headers, origins):
            await socket.close(1008)
            return
        await socket.accept(subprotocol="realtime" if "realtime" in protocols else None)
        try:
            with service.live_place():
                await live.listen(socket, service, service.model(model))
        except WebSocketDisconnect:
            return
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else _unexpected(error)
            with suppress(RuntimeError, WebSocketDisconnect):  # it left meanwhile
                await socket.send_json({"type": "error", **refusal.body()})
                await socket.close(_CLOSED.get(refusal.status, 1008))


def _is_from_here(headers: Headers, origins: Sequence[str]) -> bool:
    """Say whether a WebSocket comes from a page of ours or of `origins`, or from no page: browsers do not ask."""
    origin = headers.get("origin")
    return origin is None or origin in origins or "*" in origins or origin.partition("//")[2] == headers.get("host")


def _protocols(headers: Headers) -> list[str]:
    return [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]


def _add_probes(app: FastAPI, service: Service) -> None:
    no: dict[int | str, dict[str, Any]] = {
        503: {"description": "No", "content": {"application/json": {"schema": {"type": "object"}}}}
    }

    @app.get("/health", responses=no, summary="Is it alive?")
    async def health() -> Response:
        return JSONResponse({"status": "ok" if service.is_well else "failed"}, 200 if service.is_well else 503)

    @app.get("/ready", responses=no, summary="Are the models loaded?")
    async def ready() -> Response:
        is_ready = service.is_ready and service.is_well
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    @app.get("/metrics", response_class=Response, summary="Counts for Prometheus",
             responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


# Handlers are coroutines: others wait for a thread, and a refusal is to be quick.
async def _of_refusal(_: Request, error: Any) -> Response:
    return error.response()


async def _of_validation(*_: Any) -> Response:
    return Refusal(400, "The request is not valid.").response()


async def _of_http(_: Request, error: Any) -> Response:
    response = Refusal(error.status_code, str(error.detail)).response()
    response.headers.update(error.headers or {})
    return response


def _unexpected(error: Exception) -> Refusal:
    """Log where a failure came from, without its message, which may hold what was sent."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    _log.error("%s: %s", type(error).__name__, " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames))
    return Refusal(500, "The server failed on this request.", code="internal_error")


class _Watch:
    """Counts every request, and turns what nobody expected into a 500; the log has where, never what was sent."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = _LEFT
        except Exception as error:
            refusal = _unexpected(error)
            if status:
                raise ConnectionAbortedError("an answer broke off") from None
            await refusal.response()(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.request(route, status, time.monotonic() - began_s)
