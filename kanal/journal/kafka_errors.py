"""What errors of the Kafka client mean for Kanal."""

import math
import time

from confluent_kafka import KafkaError

from kanal.errors import JournalAway, OffsetsRefused, RecordTooLarge
from kanal.logs import logger


def failure_of(error: KafkaError) -> Exception:
    """The error of Kanal for an error of the client."""
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLarge("Kafka refuses a record as too large")
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return OffsetsRefused("Kafka no longer has, or never had, the offset to start from")
    return JournalAway(f"Kafka: {error.name()}")


class Refusals:
    """Call-back for errors of connections: names the setting that is to blame, which no answer to a request does.

    Once an hour, or when it is another: clients try again for ever.
    """

    def __init__(self) -> None:
        self.latest = ""
        self._logged_at = -math.inf
        self._log = logger("journal")

    def __call__(self, error: KafkaError) -> None:
        told = _setting_to_blame(error)
        if told and (told != self.latest or time.monotonic() > self._logged_at + 3_600):
            self.latest, self._logged_at = told, time.monotonic()
            self._log.error("kafka_refused", error=told)


def _setting_to_blame(error: KafkaError) -> str:
    text = error.str()
    if "alert" in text and "certificate" in text:
        return "the brokers refuse our certificate, or want one: KANAL_KAFKA_CERTIFICATE"
    if "certificate verify failed" in text:
        return "the brokers' certificate is not vouched for by KANAL_KAFKA_CA"
    if error.code() == KafkaError._SSL:
        return "TLS fails: is KANAL_KAFKA_SECURITY_PROTOCOL that of the brokers' port?"
    if error.code() == KafkaError._AUTHENTICATION:
        return "the brokers refuse the login: KANAL_KAFKA_USER, KANAL_KAFKA_PASSWORD or KANAL_KAFKA_SASL_MECHANISM"
    return ""
