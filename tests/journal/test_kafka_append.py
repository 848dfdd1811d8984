"""Appending to Kafka when the client is stuck, gives up, or has no room: whoever waits is told, and a new client goes on."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kanal import metrics
from kanal.errors import JournalAway
from kanal.journal import kafka_append
from kanal.journal.kafka import KafkaJournal
from kanal.journal.kafka_append import Appender
from kanal.topics import REPORTS
from tests.journal.reading import PATIENCE_SECONDS, by_key, ids, records
from tests.servers.kafka import KafkaServer
from tests.servers.processes import wait_until


@pytest.fixture
def journal(kafka_url: str) -> Iterator[KafkaJournal]:
    journal = KafkaJournal(kafka_url)
    yield journal
    journal.close()


@pytest.mark.servers
def test_a_producer_that_is_stuck_is_replaced(kafka_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka answers everybody else, but one client never gets its record through: whoever waits is told, and the next one lands."""
    monkeypatch.setattr(kafka_append, "PATIENCE_SECONDS", 1.0)
    with monkeypatch.context() as patch:
        patch.setitem(kafka_append._PRODUCER, "linger.ms", 600_000)  # never sends by itself
        journal = KafkaJournal(kafka_url)
    with pytest.raises(JournalAway, match="PURGE"):
        journal.submit(records(["a"], 2)).result(PATIENCE_SECONDS)
    monkeypatch.undo()
    journal.append(records(["a"], 3), PATIENCE_SECONDS)
    assert ids(journal.scan(REPORTS)) == ids(records(["a"], 3))
    journal.close()


@pytest.mark.servers
def test_what_a_broker_that_hangs_leaves_open_is_the_callers_to_repeat(
    journal: KafkaJournal, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old client's request may still land when the broker goes on; nothing is missing, and repeats carry the same ids."""
    journal.append(records(["a"], 1))
    monkeypatch.setattr(kafka_append, "PATIENCE_SECONDS", 1.0)
    kafka.pause()
    try:
        for _ in range(2):
            with pytest.raises(JournalAway, match="PURGE"):
                journal.submit(records(["a", "b"], 3)).result(PATIENCE_SECONDS)
    finally:
        kafka.resume()
        kafka.wait_ready()
    monkeypatch.undo()
    journal.append(records(["a", "b"], 3), PATIENCE_SECONDS)
    found = by_key(journal.scan(REPORTS))
    assert {key: list(dict.fromkeys(of_key)) for key, of_key in found.items()} == by_key(records(["a", "b"], 3))


# Without a server: what the client library may do at any moment


class FakeProducer:
    """Acknowledges at the next poll, unless told otherwise."""

    def __init__(self, *, refuses: bytes = b"", fatal: bool = False, full: bool = False, silent: bool = False) -> None:
        self.produced: list[bytes] = []
        self._refuses = refuses
        self._fatal = fatal
        self._full = full
        self._silent = silent
        self._reports: list[Callable[[], None]] = []

    def produce(self, _topic: str, value: bytes, on_delivery: Any, **_: object) -> None:
        if self._full:
            raise BufferError
        if value == self._refuses:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self.produced.append(value)
        self._reports.append(lambda: on_delivery(None, None))

    def poll(self, _timeout: float) -> None:
        time.sleep(0.01)
        if self._fatal and self.produced:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        self.flush(0)

    def flush(self, _timeout: float) -> None:
        while self._reports and not self._silent and not self._fatal:
            self._reports.pop(0)()

    def purge(self) -> None:
        """Nothing is told: a client that is stuck may owe even that."""


@pytest.fixture
def appender_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Appender]]:
    """An appender that gets one client after the other; an error in the place of a client is raised."""
    opened: list[Appender] = []

    def open_with(*clients: FakeProducer | KafkaException) -> Appender:
        following = iter(clients)

        def make(_settings: object) -> FakeProducer:
            client = next(following)
            if isinstance(client, KafkaException):
                raise client
            return client

        monkeypatch.setattr(kafka_append, "Producer", make)
        opened.append(Appender({}))
        return opened[0]

    yield open_with
    opened[0].close()


def _replaced() -> float:
    return metrics.PRODUCERS_REPLACED._value.get()


def test_what_follows_a_failed_record_in_a_call_does_not_overtake_it(appender_with: Callable[..., Appender]) -> None:
    """The caller repeats the whole call; a later record that had landed before the failed one would be out of order for ever."""
    client = FakeProducer(refuses=b"1")
    with pytest.raises(JournalAway):
        appender_with(client).submit(records(["a"], 4)).result(PATIENCE_SECONDS)
    assert client.produced == [b"0"]


def test_a_client_that_gives_up_is_replaced(appender_with: Callable[..., Appender]) -> None:
    """The library tells a fatal error by raising it from `poll`; the thread that polls must outlive it."""
    before, successor = _replaced(), FakeProducer()
    appender = appender_with(FakeProducer(fatal=True), successor)
    with pytest.raises(JournalAway):
        appender.submit(records(["a"], 2)).result(PATIENCE_SECONDS)
    wait_until(lambda: _replaced() == before + 1, PATIENCE_SECONDS, "another client")
    appender.submit(records(["a"], 2)).result(PATIENCE_SECONDS)
    assert successor.produced == [b"0", b"1"]


def test_a_new_client_that_cannot_be_made_is_tried_again(appender_with: Callable[..., Appender]) -> None:
    """A certificate that is being exchanged: until then callers are told at once, and do not wait."""
    successor = FakeProducer()
    unreadable = KafkaException(KafkaError(KafkaError._INVALID_ARG))
    appender = appender_with(FakeProducer(fatal=True), unreadable, successor)
    with pytest.raises(JournalAway):
        appender.submit(records(["a"], 1)).result(PATIENCE_SECONDS)
    with pytest.raises(JournalAway, match="does not acknowledge"):
        appender.submit(records(["a"], 1)).result(0)
    wait_until(lambda: appender.submit(records(["a"], 1)).exception(PATIENCE_SECONDS) is None, PATIENCE_SECONDS, "another client")
    assert successor.produced == [b"0"]


def test_a_client_that_owes_even_the_last_report_is_replaced_once(
    appender_with: Callable[..., Appender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is never told must not keep the appender replacing healthy clients."""
    monkeypatch.setattr(kafka_append, "PATIENCE_SECONDS", 0.1)
    before = _replaced()
    appender = appender_with(FakeProducer(silent=True), FakeProducer())
    with pytest.raises(JournalAway, match="did not acknowledge"):
        appender.submit(records(["a"], 1)).result(PATIENCE_SECONDS)
    wait_until(lambda: _replaced() == before + 1, PATIENCE_SECONDS, "another client")
    appender.submit(records(["a"], 1)).result(PATIENCE_SECONDS)
    time.sleep(0.3)  # a third client would fail the test: there is none
    assert _replaced() == before + 1
    appender.submit(records(["a"], 1)).result(PATIENCE_SECONDS)


def test_nobody_waits_for_room_in_a_client_that_is_stuck(appender_with: Callable[..., Appender], monkeypatch: pytest.MonkeyPatch) -> None:
    """He who waits holds up the exchange, which alone would make room."""
    monkeypatch.setattr(kafka_append, "QUEUE_SECONDS", 3_600)
    client = FakeProducer(fatal=True)
    appender = appender_with(client, FakeProducer())
    client._full = True
    client.produced.append(b"")  # now it gives up
    with pytest.raises(JournalAway):
        appender.submit(records(["a"], 1)).result(0)
    wait_until(lambda: appender.submit(records(["a"], 1)).exception(PATIENCE_SECONDS) is None, PATIENCE_SECONDS, "another client")
