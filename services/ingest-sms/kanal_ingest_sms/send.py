"""The way out: answers rendered for SMS and posted to the gateway that the citizen wrote through."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import requests
from urllib3.exceptions import NewConnectionError

from kanal.errors import TemporaryFailure
from kanal.outgoing import keep_file
from kanal.pack import Pack
from kanal.replies import render
from kanal.sending import AnswerLost, DueReply, Undeliverable
from kanal.web import SIGNATURE_HEADER, signature
from kanal_ingest_sms.splitting import sms_texts

TIMEOUT_SECONDS = (5, 20)


class Gateway(NamedTuple):
    """Where to post, and the secret that signs it; without an address answers are kept as files."""

    send_url: str
    secret: str


class SmsDeliver:
    """See `kanal.sending.Deliver`."""

    def __init__(self, pack: Pack, gateways: Mapping[str, Gateway], page_url: str, outbox: Path) -> None:
        self._pack = pack
        self._gateways = gateways
        self._page_url = page_url
        self._outbox = outbox
        self._session = requests.Session()  # its pool of connections may be used by all lanes; nothing else of it is changed

    def deliver(self, reply: DueReply) -> None:
        """One request per SMS; their ids are the reply's with the SMS's number behind, so that the gateway can drop repeats."""
        gateway = self._gateways.get(reply.contact.account)
        if gateway is None:
            raise Undeliverable(reason="gateway-unknown")
        rendered = render(self._pack, self._pack.channels["sms"], reply.kind, reply.values, reply.language, self._page_url)
        texts = sms_texts(rendered.body)
        for index, text in enumerate(texts, start=1):
            sms_id = reply.reply_id if len(texts) == 1 else f"{reply.reply_id}-{index}"
            try:
                self._send_one(gateway, {"id": sms_id, "to": reply.contact.address, "text": text})
            except TemporaryFailure as error:
                if index == 1:
                    raise
                raise AnswerLost("a part went out already and will again", reason=error.reason) from None

    def _send_one(self, gateway: Gateway, sms: dict[str, str]) -> None:
        if not gateway.send_url:
            keep_file(self._outbox, f"{sms['id']}.json", json.dumps(sms, ensure_ascii=False, indent=1).encode())
            return
        body = msgspec.json.encode(sms)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(gateway.secret, body)}
        try:
            response = self._session.post(gateway.send_url, data=body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise _failure(error) from None
        _judge(response.status_code)


def _failure(error: requests.RequestException) -> TemporaryFailure:
    """A connection that was never made carried nothing; after that nobody knows."""
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError):
        return TemporaryFailure("the gateway does not answer", reason="gateway-away")
    return AnswerLost("the gateway's answer did not come", reason="gateway-silent")


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 and status != 503:  # it broke after it had the SMS: nobody knows whether that went out; 503 says that it did not
        raise AnswerLost(f"the gateway answers {status}", reason=f"gateway-{status}")
    # 3xx, 401, 403, 404, 405: our address or secret is wrong, not the citizen's number
    if status < 400 or status in (401, 403, 404, 405, 408, 409, 425, 429, 503):
        raise TemporaryFailure(f"the gateway answers {status}", reason=f"gateway-{status}")
    raise Undeliverable(f"the gateway answers {status}", reason=f"gateway-{status}")
