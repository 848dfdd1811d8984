"""HTTP for every service: the application, errors as answers, bodies, signatures, tokens. Not here: any route with a meaning."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kanal import __version__
from kanal.errors import InvalidInput, KanalError, RecordTooLarge, TemporaryFailure
from kanal.logs import logger

SIGNATURE_HEADER = "X-Kanal-Signature"
RETRY_AFTER_SECONDS = 5
_AMBIGUOUS = {b"content-length", b"transfer-encoding"}

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'",
}


_NO_SUCH_PAGE = """<!doctype html><html lang="id"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Halaman tidak ada</title><body style="font:17px/1.5 system-ui,sans-serif;margin:2rem">
<p>Halaman ini tidak ada. <a href="/">Cari laporan dengan nomornya</a></p>
<p lang="en">There is no such page. <a href="/?lang=en">Find a report by its number</a></p>"""


class HttpError(KanalError):
    """An answer other than success, with a body that names the rule."""

    def __init__(self, status: int, rule: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(message, reason=rule)
        self.status = status
        self.body = {"error": rule, "message": message, **(body or {})}


def application(service: str, routers: Sequence[APIRouter], alive: Callable[[], bool], ready: Callable[[], bool]) -> FastAPI:
    """The HTTP application of a process: its routes, `/healthz`, `/readyz`, `/metrics`."""
    app = FastAPI(
        middleware=[Middleware(Hardened)],
        title="Kanal",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    log = logger(service)

    @app.exception_handler(KanalError)
    async def answer(_request: Request, error: KanalError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return refusal(request, error)

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Response:
        log.error("request_failed", error=error)
        return JSONResponse({"error": "internal", "message": "something is wrong on our side"}, 500, _SECURITY_HEADERS)

    app.include_router(_operations(alive, ready))
    for router in routers:
        app.include_router(router)
    return app


class Hardened:
    """Around the application: requests of doubtful length are refused, and every answer carries the security headers.

    In plain ASGI: Starlette's `BaseHTTPMiddleware` starts a task and two streams for each request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        ambiguous = scope["type"] == "http" and {name for name, _ in scope["headers"]} >= _AMBIGUOUS
        await (_doubtful_length() if ambiguous else self._app)(scope, receive, send_with_headers)


def _doubtful_length() -> Response:
    """RFC 9112 section 6.3: a proxy in front may have seen another end of this request than we, so nothing behind it is read."""
    error = HttpError(400, "two-lengths", "Content-Length and Transfer-Encoding exclude each other")
    return JSONResponse(error.body, error.status, {"Connection": "close"})


def refusal(request: Request, error: HTTPException) -> Response:
    """What the framework refuses before any route: in words for somebody with a browser who is lost, else as every other error."""
    if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_NO_SUCH_PAGE, 404)
    match error.status_code:
        case 404:
            answer = error_response(HttpError(404, "not-found", "there is nothing at this address"))
        case 405:
            answer = error_response(HttpError(405, "method", "this address does not take this method"))
        case status:
            answer = JSONResponse({"error": "http", "message": error.detail}, status)
    answer.headers.update(error.headers or {})  # RFC 9110 wants Allow with 405
    return answer


def error_response(error: KanalError) -> JSONResponse:
    """The answer that an error stands for."""
    if isinstance(error, HttpError):
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status == 503 else None
        return JSONResponse(error.body, error.status, headers)
    if isinstance(error, InvalidInput):
        return JSONResponse({"error": "invalid", "field": error.field, "message": error.rule}, 422)
    if isinstance(error, RecordTooLarge):
        return JSONResponse({"error": "too-large", "message": str(error)}, 413)
    if isinstance(error, TemporaryFailure):
        body = {"error": "try-again", "message": "nothing could be kept just now; send the same again"}
        return JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return JSONResponse({"error": error.reason, "message": "something is wrong on our side"}, 500)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The raw body. *Raises:* HttpError 413 as soon as it is over `max_bytes`, without reading the rest; 400 when it breaks off."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise HttpError(413, "body-too-large", f"the body is larger than {max_bytes} bytes")
    except ClientDisconnect:
        raise HttpError(400, "body-incomplete", "the connection was closed before the end of the body") from None
    return bytes(body)


def signature(secret: str, body: bytes) -> str:
    """`sha256=<hex>`: HMAC-SHA256 of the raw body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def check_signature(secret: str, body: bytes, given: str | None) -> None:
    """In constant time, on the raw bytes. *Raises:* HttpError 401."""
    if not given or not hmac.compare_digest(signature(secret, body).encode(), given.strip().encode()):
        raise HttpError(401, "signature", f"{SIGNATURE_HEADER} is missing or does not fit the body")


def check_bearer(token: str, authorization: str | None) -> None:
    """*Raises:* HttpError 401."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token or not hmac.compare_digest(token.encode(), given.strip().encode()):
        raise HttpError(401, "token", "the bearer token is missing or wrong")


def _operations(alive: Callable[[], bool], ready: Callable[[], bool]) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    def healthz() -> Response:
        return _verdict(alive())

    @router.get("/readyz")
    def readyz() -> Response:
        return _verdict(alive() and ready())

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _verdict(good: bool) -> Response:
    return JSONResponse({"ok": good}, 200 if good else 503)
