"""The way out: answers rendered for SMS and posted to the gateway that the citizen wrote through."""

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from urllib3 import PoolManager, ProxyManager, Timeout, make_headers
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError
from urllib3.util import parse_url

from kanal.errors import SetupError, TemporaryFailure
from kanal.outgoing import keep_file
from kanal.pack import Pack
from kanal.replies import render
from kanal.sending import LANES, AnswerLost, DueReply, Undeliverable
from kanal.web import SIGNATURE_HEADER, signature
from kanal_ingest_sms.splitting import sms_texts

TIMEOUT = Timeout(connect=5, read=20)


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
        self._pools = {name: _pool(name, gateway.send_url) for name, gateway in gateways.items() if gateway.send_url}

    def deliver(self, reply: DueReply) -> None:
        """One request per SMS; their ids are the reply's with the SMS's number behind, so that the gateway can drop repeats."""
        if reply.contact.account not in self._gateways:
            raise Undeliverable(reason="gateway-unknown")
        rendered = render(self._pack, self._pack.channels["sms"], reply.kind, reply.values, reply.language, self._page_url)
        texts = sms_texts(rendered.body)
        for index, text in enumerate(texts, start=1):
            sms_id = reply.reply_id if len(texts) == 1 else f"{reply.reply_id}-{index}"
            try:
                self._send_one(reply.contact.account, {"id": sms_id, "to": reply.contact.address, "text": text})
            except TemporaryFailure as error:
                if index == 1:
                    raise
                raise AnswerLost("a part went out already and will again", reason=error.reason) from None

    def _send_one(self, name: str, sms: dict[str, str]) -> None:
        gateway = self._gateways[name]
        if not gateway.send_url:
            keep_file(self._outbox, f"{sms['id']}.json", json.dumps(sms, ensure_ascii=False, indent=1).encode())
            return
        body = msgspec.json.encode(sms)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(gateway.secret, body)}
        try:
            response = self._pools[name].request(
                "POST", gateway.send_url, body=body, headers=headers, timeout=TIMEOUT, retries=False, redirect=False
            )
        except HTTPError as error:
            raise _failure(error) from None
        _judge(response.status)


def _failure(error: HTTPError) -> TemporaryFailure:
    """A connection that was never made carried nothing; after that nobody knows."""
    cause = error.original_error if isinstance(error, ProxyError) else error
    if isinstance(cause, ConnectTimeoutError | NewConnectionError) or str(cause).startswith("Tunnel connection failed"):
        return TemporaryFailure("the gateway does not answer", reason="gateway-away")
    return AnswerLost("the gateway's answer did not come", reason="gateway-silent")


def _pool(name: str, send_url: str) -> PoolManager:
    """Connections to be used by all lanes at once; through the proxy that the environment names for this address, as `HTTPS_PROXY`.

    *Raises:* SetupError for an address that is none.
    """
    try:
        address = parse_url(send_url)
        proxies = urllib.request.getproxies()
        proxy = proxies.get(address.scheme or "") or proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(address.host or ""):
            return PoolManager(maxsize=LANES)
        login = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=unquote(login)) if login else None
        return ProxyManager(proxy if "://" in proxy else f"http://{proxy}", maxsize=LANES, proxy_headers=headers)
    except HTTPError:
        raise SetupError(f"the sending address of the gateway {name}, or the proxy for it, is no address") from None


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 and status != 503:  # it broke after it had the SMS: nobody knows whether that went out; 503 says that it did not
        raise AnswerLost(f"the gateway answers {status}", reason=f"gateway-{status}")
    # 3xx, 401, 403, 404, 405, 407: our address, secret or proxy is wrong, not the citizen's number
    if status < 400 or status in (401, 403, 404, 405, 407, 408, 409, 425, 429, 503):
        raise TemporaryFailure(f"the gateway answers {status}", reason=f"gateway-{status}")
    raise Undeliverable(f"the gateway answers {status}", reason=f"gateway-{status}")
