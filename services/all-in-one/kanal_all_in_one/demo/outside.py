"""The world outside Kanal, for the demo: a mail server and an SMS gateway on loopback that deliver to the citizens."""

import json
import re
import socket
import threading
import uuid
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from email.utils import make_msgid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from smtplib import SMTP
from typing import Any

import requests
from aiosmtpd.controller import Controller

from kanal.web import SIGNATURE_HEADER, check_signature, signature

Told = Callable[[str, str, str], None]
"""Called with address, text and Message-ID of whatever reaches a citizen."""


class MailWorld:
    """Takes Kanal's answers as its relay, and sends citizens' mail to Kanal."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.port = _free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.original_content, policy=default_policy)
        body = mail.get_body(("plain",))
        text = re.sub(r"\s+", " ", body.get_content() if body else "")
        self._told(envelope.rcpt_tos[0], text, str(mail["Message-ID"]))
        return "250 OK"

    def send(self, kanal_port: int, sender: str, to: str, subject: str, text: str, answers: str = "") -> None:
        """One mail over real SMTP."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, to, subject
        mail["Message-ID"] = make_msgid(domain="warga.example")
        if answers:
            mail["In-Reply-To"] = mail["References"] = answers
        mail.set_content(text)
        with SMTP("127.0.0.1", kanal_port, timeout=10) as smtp:
            smtp.send_message(mail, sender, [to])

    def close(self) -> None:
        """Stop listening."""
        self._controller.stop()


class SmsWorld:
    """Takes Kanal's SMS over HTTP, and posts citizens' SMS to its webhook, signed both ways."""

    def __init__(self, told: Told, secret: str) -> None:
        self._secret = secret
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                check_signature(world._secret, body, self.headers[SIGNATURE_HEADER])
                sms = json.loads(body)
                told(sms["to"], sms["text"], "")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/send"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def send(self, kanal_url: str, sender: str, text: str) -> None:
        """One SMS through the gateway's webhook."""
        body = json.dumps({"id": uuid.uuid4().hex, "from": sender, "to": "08111272206", "text": text}).encode()
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(self._secret, body)}
        requests.post(f"{kanal_url}/sms/main/inbound", data=body, headers=headers, timeout=10).raise_for_status()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
