"""T9 and T15: everything comes several times and out of order, and records of other releases come."""

import json
from contextlib import ExitStack

from kanal_tracker.tables import VIEW

from kanal.database import dump
from kanal.topics import CHANNELS, MESSAGE_SETTLED, message_received
from tests.faults.harness import Fault, Run
from tests.faults.members import further_member
from tests.faults.raw import Raw, put
from tests.faults.traffic import Habits
from tests.servers.kanal import PROJECT

AGAIN = Habits(resends=0.75)
EXAMPLES = PROJECT / "schemas" / "examples" / "message-received"


def many_times(run: Run) -> None:
    """Gateways and mail servers send up to five times, all records are appended twice more in any order, two members work each stage."""
    with ExitStack() as stack:
        if run.town.mode == "kafka":
            for index, service in enumerate(("normalizer", "tracker")):
                stack.enter_context(further_member(run, service, index))
        with run.traffic(AGAIN):
            pass
        run.observer.read()
        arrived = [stored for stored in run.observer.records if stored.topic in map(message_received, CHANNELS)]
        again = [Raw(stored.topic, stored.key, stored.value, stored.headers) for stored in arrived] * 2
        run.random.shuffle(again)
        put(run, again)
        run.wait_for_rest()
    _rebuild(run)


def _rebuild(run: Run) -> None:
    """The view folded anew from the start is the same, byte for byte."""
    tracker = run.town.kanal.process_of("tracker")
    run.wait_for_rest()
    tracker.stop()
    before = _view(run)
    answer = run.town.command("rebuild", "tracker")
    assert answer.returncode == 0, answer.stderr
    after = _view(run)
    tracker.start()
    assert before == after, "the view folded anew is another one"


def _view(run: Run) -> object:
    with run.town.database() as database, database.read() as connection:
        return dump(connection, VIEW)


def other_releases(run: Run) -> None:
    """Every example of a received message that was ever published, and the same with fields that nobody knows yet."""
    with run.traffic() as traffic:
        traffic.wait_for(5)
        records = [
            record for index, path in enumerate(sorted(EXAMPLES.glob("*[a-z].json"))) for record in _old_and_new(run, index, path.stem)
        ]
        put(run, records)
    run.wait_for_rest()
    settled = [json.loads(stored.value or b"") for stored in run.observer.records if stored.topic == MESSAGE_SETTLED]
    outcomes = {said["message_id"]: said["outcome"] for said in settled}
    for record in records:
        assert outcomes.get(record.headers["ce_id"]) == "ignored", (
            f"{record.headers['ce_id']} became {outcomes.get(record.headers['ce_id'])}"
        )


def _old_and_new(run: Run, index: int, name: str) -> list[Raw]:
    """As automatic mail, since nobody waits for an answer; a whole message, since its parts would be waited for."""
    if name.endswith(".headers"):
        return []
    event, headers = (json.loads((EXAMPLES / f"{name}{ending}").read_text()) for ending in (".json", ".headers.json"))
    event.pop("part", None)
    made = []
    for version, more in (("old", {}), ("new", {"of_the_future": {"deep": [1, {"er": None}]}, "urgency": 3})):
        own_id = f"{run.seed}-{index}-{version}"
        value = {**event, "automatic": "no-reply-sender", "message_id": own_id, "sender_key": own_id, **more}
        run.ledger.allowed.add(own_id)
        made.append(
            Raw(message_received(event["channel"]), own_id, json.dumps(value).encode(),
                {**headers, "ce_id": own_id, "traceparent": f"00-{own_id.replace('-', '_')}-1-01", "ce_ofthefuture": "yes"})
        )  # fmt: skip
        run.ledger.allowed.add(own_id.replace("-", "_"))
    return made


FAULTS = [
    Fault(
        "everything many times",
        "T9",
        "Every message is sent up to five times, every record appended twice more in any order, with two workers; then the tracker is rebuilt",
        many_times,
    ),
    Fault(
        "other releases",
        "T15",
        "Records of all published versions, and of later ones with unknown fields, come among those of this one",
        other_releases,
    ),
]
