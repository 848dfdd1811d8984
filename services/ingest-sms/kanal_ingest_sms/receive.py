"""The gateway's way in: verify the signature, append, acknowledge. Nothing else happens before the 200."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from kanal import metrics, topics
from kanal.contacts import Contact, conversation_key, seal, seal_bytes, sender_key
from kanal.errors import InvalidInput, KanalError, TemporaryFailure
from kanal.events import ContactSealed, MessageReceived
from kanal.faults import fail_point
from kanal.ids import derive_id
from kanal.journal import Record
from kanal.language import guess_language
from kanal.logs import logger
from kanal.numbers import number_for
from kanal.records import message_records, record_of, rejected_input
from kanal.sending import settle_later
from kanal.service import Platform
from kanal.web import SIGNATURE_HEADER, HttpError, check_signature, error_response, read_body
from kanal_ingest_sms.parsing import Inbound, parse_delivery, parse_inbound

CHANNEL = "sms"
SERVICE = "ingest-sms"
MAX_BODY_BYTES = 64 * 1024


class SmsWebhooks:
    """`POST /sms/{gateway}/inbound` and `/sms/{gateway}/delivery`, both signed with the gateway's secret."""

    def __init__(self, platform: Platform, secrets: Mapping[str, str]) -> None:
        self._platform = platform
        self._secrets = secrets
        self._log = logger(SERVICE)
        self.router = APIRouter(prefix="/sms", tags=["sms"])
        self.router.add_api_route("/{gateway}/inbound", self.inbound, methods=["POST"], summary="An SMS from a citizen")
        self.router.add_api_route("/{gateway}/delivery", self.delivery, methods=["POST"], summary="What became of an SMS to a citizen")

    async def inbound(self, gateway: str, request: Request) -> Response:
        """200 `{"message_id","number"}` once durable; 401 signature; 404 gateway; 413; 422 with the field; 503 nothing kept."""
        started = time.perf_counter()
        try:
            response = await self._inbound(gateway, request)
        except TemporaryFailure as error:
            self._log.error("message_not_kept", error=error, reason=error.reason)
            response = error_response(error)
        except KanalError as error:
            response = error_response(error)
        answer = {2: "accepted", 4: "refused"}.get(response.status_code // 100, "later")
        metrics.INTAKE.labels(CHANNEL, answer).inc()
        metrics.INTAKE_SECONDS.labels(CHANNEL).observe(time.perf_counter() - started)
        return response

    async def delivery(self, gateway: str, request: Request) -> Response:
        """200 `{"ok": true}`, also for a report of an SMS that is not known."""
        raw = await self._signed_body(gateway, request)
        report = parse_delivery(raw, request.headers.get("Content-Type", ""))
        if report.final:
            outcome = "delivered" if report.delivered else "undeliverable"
            settled = await run_in_threadpool(settle_later, self._platform.database, CHANNEL, report.reply_id, outcome, "network")
            if settled is not None:
                await self._platform.intake.take([settled])
        return JSONResponse({"ok": True})

    async def _inbound(self, gateway: str, request: Request) -> Response:
        raw = await self._signed_body(gateway, request)
        now = datetime.now(UTC)
        try:
            sms = parse_inbound(raw, request.headers.get("Content-Type", ""))
        except InvalidInput as error:
            await self._keep_refused(gateway, raw, error, now)
            raise
        message, records = self._records(gateway, sms, now)
        await self._platform.intake.take(records)
        fail_point(f"{SERVICE}.before-acknowledgement")
        body = {"message_id": message.message_id, "number": message.number}
        return JSONResponse(body, background=BackgroundTask(_acknowledged))

    async def _signed_body(self, gateway: str, request: Request) -> bytes:
        if gateway not in self._secrets:
            raise HttpError(404, "gateway-unknown", "there is no such gateway")
        raw = await read_body(request, MAX_BODY_BYTES)
        check_signature(self._secrets[gateway], raw, request.headers.get(SIGNATURE_HEADER))
        return raw

    async def _keep_refused(self, gateway: str, raw: bytes, error: InvalidInput, now: datetime) -> None:
        """The gateway signed it, so a citizen may be behind it: keep it, sealed, for a person to look at."""
        sealed = seal_bytes(self._platform.keys, raw)
        input_id = derive_id(CHANNEL, gateway, raw.decode("latin-1"))
        await self._platform.intake.take([rejected_input(SERVICE, sealed, error.reason, str(error), now, input_id)])

    def _records(self, gateway: str, sms: Inbound, now: datetime) -> tuple[MessageReceived, list[Record]]:
        keys, pack = self._platform.keys, self._platform.pack
        message_id = derive_id(CHANNEL, gateway, sms.vendor_id)
        conversation = conversation_key(keys, CHANNEL, gateway, sms.sender)
        message = MessageReceived(
            message_id=message_id,
            channel=CHANNEL,
            account=gateway,
            sender_key=sender_key(keys, "phone" if sms.is_phone else "sms-name", sms.sender),
            conversation=conversation,
            received_at=now,
            text=sms.text,
            number=number_for(message_id, keys.number, pack.prefix),
            visibility=pack.channels[CHANNEL].visibility,
            language=guess_language(sms.text),
            automatic="" if sms.is_phone else "no-reply-sender",
            part=sms.part,
        )
        records = [message_records(message, SERVICE)]
        if sms.is_phone:
            sealed = ContactSealed(conversation=conversation, sealed=seal(keys, Contact(sms.sender, account=gateway)))
            contact_id = derive_id(SERVICE, message_id, "contact")
            records.insert(0, record_of(topics.contacts(CHANNEL), conversation, sealed, event_id=contact_id, source=SERVICE, at=now))
        return message, records


async def _acknowledged() -> None:  # not a plain function: Starlette would start a thread for it
    fail_point(f"{SERVICE}.after-acknowledgement")
