"""T7 and T8: records that no stage can read or bear, and a dead-letter topic that takes nothing."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pysqlite3 import dbapi2 as sqlite

from kanal.topics import DEAD_LETTER, REPORTS, contacts, message_received, reply_requested
from tests.faults.harness import Fault, Run
from tests.faults.raw import Raw, put
from tests.servers.kanal import Cluster

SMS = message_received("sms")
MEBIBYTE = 1024 * 1024


class Kind(NamedTuple):
    """One kind of poison, and the stages that must set it aside."""

    topic: str
    value: bytes | None
    headers: Mapping[str, str]
    stages: Sequence[str]


def poison(run: Run) -> None:
    """Every kind, at a random moment, among the messages of citizens; then the dead letters of one cause are driven again."""
    kinds = {f"{run.seed}-{index}": kind for index, kind in enumerate(_kinds(str(run.seed)))}
    keys = run.random.sample(sorted(kinds), len(kinds))
    with run.traffic() as traffic:
        traffic.wait_for(run.random.randint(5, 20))
        put(run, [Raw(kinds[key].topic, key, kinds[key].value, kinds[key].headers) for key in keys])
    run.ledger.dead.update((stage, key) for key, kind in kinds.items() for stage in kind.stages)
    run.ledger.allowed.update({kind.headers.get("ce_id", "") for kind in kinds.values()})
    run.wait_for_rest()
    _redrive(run)


def _redrive(run: Run) -> None:
    """They die again, each in its own stage only; nothing else hears of it. Contacts are left alone."""
    letters = {stored.headers["ce_id"]: json.loads(stored.value or b"") for stored in run.observer.records if stored.topic == DEAD_LETTER}
    driven = {letter_id: letter for letter_id, letter in letters.items() if not letter["topic"].startswith("contacts-")}
    cause = run.random.choice(sorted({letter["cause"] for letter in driven.values()}))
    chosen = {letter_id: letter for letter_id, letter in driven.items() if letter["cause"] == cause}
    answer = run.town.command("redrive", *chosen)
    assert answer.returncode == 0, answer.stderr
    run.ledger.dead.update((letter["stage"], letter["key"]) for letter in chosen.values())


def _kinds(seed: str) -> Iterator[Kind]:
    whole = json.dumps(_message(seed)).encode()
    for index, body in enumerate(_bodies(seed)):
        yield Kind(SMS, body, _headers("message-received", f"{seed}-body-{index}"), ["normalizer"])
    for index, wrong in enumerate(_wrong_headers(_headers("message-received", f"{seed}-header"))):
        own_id = {"ce_id": f"poison-{seed}-header-{index}"} if "ce_id" in wrong else {}
        yield Kind(SMS, whole, wrong | own_id, ["normalizer"])
    settled = b'{"reply_id": "r", "channel": "sms", "kind": "received", "outcome": "sent", "settled_at": "2026-03-02T05:00:00Z"}'
    yield Kind(SMS, settled, _headers("reply-settled", f"{seed}-misplaced"), ["normalizer"])
    yield Kind(REPORTS, b"{", _headers("report-registered", f"{seed}-reports"), ["router", "tracker"])
    yield Kind(
        REPORTS, settled, _headers("reply-settled", f"{seed}-reports-misplaced"), ["tracker"]
    )  # the router skips what it does not route
    for topic in (reply_requested("sms"), contacts("sms")):
        yield Kind(topic, b"{", _headers("reply-requested", f"{seed}-{topic}"), ["sms-replies"])
        yield Kind(topic, settled, _headers("reply-settled", f"{seed}-{topic}-misplaced"), ["sms-replies"])


def _message(seed: str) -> dict[str, object]:
    return {
        "message_id": f"poison-{seed}", "channel": "sms", "account": "main", "sender_key": f"poison-{seed}", "conversation": "nobody",
        "received_at": "2026-03-02T05:00:00Z", "text": "Lampu jalan mati", "number": "JK-2222-2222-2222",
    }  # fmt: skip


def _bodies(seed: str) -> Iterator[bytes | None]:
    yield from (b"no JSON at all", b"", b"null", b"[]", b"{}", None)
    good = _message(seed)
    wrong: list[dict[str, object]] = [
        {"text": 7}, {"received_at": "yesterday"}, {"text": "a\0b"}, {"part": {"reference": "1", "total": 10**40, "number": 1}},
        {"part": {"reference": "1", "total": 2, "number": -(10**40)}},
    ]  # fmt: skip
    yield from (json.dumps(good | each).encode() for each in wrong)
    whole = json.dumps(good).encode()
    yield whole[:-5]
    yield whole.replace(b"mati", b"\xff\xfe\xc0")
    yield b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield b"{" + b"x" * (MEBIBYTE - 2_000)


def _wrong_headers(good: Mapping[str, str]) -> Iterator[dict[str, str]]:
    yield {}
    yield {**good, "ce_time": "half past nine"}
    for name in ("ce_id", "ce_time", "ce_type"):
        yield {each: text for each, text in good.items() if each != name}
    for kind in ("kanal.unheard-of.v1", "kanal.message-received", "kanal.message-received.v0", "message-received.v1x", ""):
        yield {**good, "ce_type": kind}


def _headers(event: str, name: str) -> dict[str, str]:
    return {
        "content-type": "application/json", "ce_specversion": "1.0", "ce_id": f"poison-{name}", "ce_type": f"kanal.{event}.v1",
        "ce_source": "/kanal/nobody", "ce_time": "2026-03-02T05:00:00+00:00",
    }  # fmt: skip


def no_dead_letters(run: Run) -> None:
    """A stage that cannot set a record aside stops before it: nothing behind it is handled until the topic can be written again."""
    key = f"{run.seed}-unwritable"
    with run.traffic() as traffic, _unwritable(run):
        traffic.wait_for(5)
        put(run, [Raw(SMS, key, b"no JSON at all", _headers("message-received", key))])
        time.sleep(run.random.uniform(2, 4))
        run.observer.read()
        assert not [stored for stored in run.observer.records if stored.topic == DEAD_LETTER], "it could be written all the same"
    run.ledger.dead["normalizer", key] = 1
    run.ledger.allowed.add(f"poison-{key}")


@contextmanager
def _unwritable(run: Run) -> Iterator[None]:
    if isinstance(run.town.kanal, Cluster):
        _limit_records(run.town.kanal, "1")
        yield
        _limit_records(run.town.kanal, str(2 * MEBIBYTE))
    else:
        _in_journal(
            run,
            f"""CREATE TRIGGER unwritable BEFORE INSERT ON records WHEN NEW.topic = (SELECT id FROM topics
            WHERE name = '{DEAD_LETTER}') BEGIN SELECT RAISE(ABORT, 'as the test wants'); END""",
        )
        yield
        _in_journal(run, "DROP TRIGGER unwritable")


def _limit_records(cluster: Cluster, size: str) -> None:
    entry = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, DEAD_LETTER, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": cluster.kafka.address})  # named, or it would be gone before its answer
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(20)


def _in_journal(run: Run, statement: str) -> None:
    with closing(sqlite.connect(run.town.kanal.data / "journal.db", timeout=30)) as connection, connection:
        connection.execute(statement)


FAULTS = [
    Fault("poison", "T7", "Every kind of unreadable record is put straight into the topics, and driven again later", poison),
    Fault("dead letters unwritable", "T8", "The dead-letter topic takes nothing while a record has to be set aside", no_dead_letters),
]
