"""The SMS provider: takes Kanal's messages over HTTP as a gateway would, and brings citizens' messages to Kanal."""

import contextlib
import hashlib
import hmac
import json
import socket
import socketserver
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import urlencode

import requests

from tests.servers.processes import free_port

SIGNATURE_HEADER = "X-Kanal-Signature"


def sign(secret: str, body: bytes) -> str:
    """The value of the signature header for this body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Answer:
    """A bad answer that was asked for."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    after_keeping: bool = False


class SmsGateway:
    """A real HTTP server; POST {"id", "to", "text"} to `url`, signed with the shared secret.

    `sent` holds every message that was taken, repeats of an id included: a phone would have shown both.
    """

    def __init__(self, secret: str, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.secret = secret
        self.port = free_port() if port is None else port
        self.host = host
        self.delay_seconds = 0.0
        """Every answer waits so long, after the message was kept."""
        self._sent: list[dict[str, Any]] = []
        self._answers: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._server: _HttpServer | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/messages"

    def start(self) -> Self:
        """Starts listening; after `stop` again on the same port with what was sent."""
        self._stopping.clear()
        self._server = _HttpServer(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sms-gateway", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stops listening and breaks the connections that are open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.break_connections()
            # Only now: delayed answers must not go out before their connection is broken.
            self._stopping.set()
            self._server = None

    @property
    def sent(self) -> list[dict[str, Any]]:
        with self._changed:
            return list(self._sent)

    def wait_for(self, predicate: Callable[[list[dict[str, Any]]], bool], timeout_seconds: float = 10) -> list[dict[str, Any]]:
        """What was sent, once it fulfils the predicate. *Raises:* TimeoutError when it does not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self._sent), timeout_seconds):
                raise TimeoutError(f"{len(self._sent)} messages after {timeout_seconds:g} s, not those waited for")
            return list(self._sent)

    def answer_next(self, status: int, count: int = 1, headers: Mapping[str, str] | None = None, *, after_keeping: bool = False) -> None:
        """Answers the next rightly signed messages so; with `after_keeping` they were sent all the same."""
        with self._changed:
            self._answers.extend([Answer(status, headers or {}, after_keeping)] * count)

    def send(self, url: str, fields: Mapping[str, Any], *, as_form: bool = False) -> tuple[int, Any]:
        """Brings a citizen's message to Kanal, signed; gives the status and the JSON of its answer, None if it has none."""
        if as_form:
            return self._post(url, urlencode(fields).encode(), "application/x-www-form-urlencoded")
        return self._post(url, json.dumps(fields).encode(), "application/json")

    def report_delivery(self, url: str, message_id: str, status: str) -> tuple[int, Any]:
        """Tells Kanal what became of a message; gives the same as `send`."""
        return self.send(url, {"id": message_id, "status": status})

    def _post(self, url: str, body: bytes, content_type: str) -> tuple[int, Any]:
        headers = {"Content-Type": content_type, SIGNATURE_HEADER: sign(self.secret, body)}
        with requests.Session() as session:
            # Proxies that the environment names cannot reach loopback.
            session.trust_env = False
            response = session.post(url, data=body, headers=headers, timeout=30)
        with contextlib.suppress(requests.JSONDecodeError):
            return response.status_code, response.json()
        return response.status_code, None

    def receive(self, body: bytes, signature: str) -> tuple[Answer, dict[str, Any]]:
        """The answer to a request, and its JSON."""
        if not hmac.compare_digest(signature, sign(self.secret, body)):
            return Answer(401), {"error": "signature"}
        message = _message(body)
        if message is None:
            return Answer(400), {"error": "id, to and text are needed"}
        answer = self._keep(message)
        self._stopping.wait(self.delay_seconds)
        return answer, {"id": message["id"]} if answer.status == 200 else {"error": "as asked"}

    def _keep(self, message: dict[str, Any]) -> Answer:
        with self._changed:
            answer = self._answers.popleft() if self._answers else Answer(200, after_keeping=True)
            if answer.after_keeping:
                self._sent.append(message)
                self._changed.notify_all()
            return answer

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _message(body: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        message = json.loads(body)
        if isinstance(message, dict) and {"id", "to", "text"} <= message.keys():
            return message
    return None


# Not http.server.HTTPServer, which asks the name service for its own name before it listens.
class _HttpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # Handlers of kept-alive connections end when `break_connections` closes them.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, gateway: SmsGateway) -> None:
        self.gateway = gateway
        self._open: set[socket.socket] = set()
        super().__init__((gateway.host, gateway.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that are killed or do not wait for the answer are what these tests are made of.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def break_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """The names of the methods are http.server's."""

    server: _HttpServer
    protocol_version = "HTTP/1.1"
    # Head and body are two small writes; the second would wait 40 ms for the client's delayed acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer, content = self.server.gateway.receive(body, self.headers.get(SIGNATURE_HEADER, ""))
        data = json.dumps(content).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Writes nothing: the tests read `sent`."""
