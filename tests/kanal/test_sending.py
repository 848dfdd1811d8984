"""The sender over a real SQLite database and journal, with a scripted way out: order, back-off, crashes, honest counting."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select

from kanal import sending, stage_tables, topics
from kanal.contacts import Contact, seal
from kanal.database import Database
from kanal.errors import DatabaseAway, JournalAway, TemporaryFailure
from kanal.events import ReplySettled
from kanal.ids import derive_id
from kanal.journal import Stored
from kanal.journal.sqlite import SqliteJournal
from kanal.records import open_record
from kanal.replies import contacts, metadata, replies
from kanal.sending import CLAIM, GIVE_UP_SECONDS, LANES, NO_CONTACT_SECONDS, AnswerLost, DueReply, Sender, Undeliverable, settle_later
from kanal.testing import keys, number

PATIENCE_SECONDS = 10.0


class Killed(BaseException):
    """What SIGKILL would be."""


class Script:
    """A way out that does what was written down for a reply, one step a try; afterwards it takes everything."""

    def __init__(self, **steps: list[BaseException]) -> None:
        self.steps = steps
        self.tried: list[str] = []
        self.taken: list[str] = []
        self.contacts: dict[str, Contact] = {}
        self.in_hand = 0
        self.most_in_hand = 0

    def deliver(self, reply: DueReply) -> None:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            self.tried.append(reply.reply_id)
            self.contacts[reply.reply_id] = reply.contact
            if self.steps.get(reply.reply_id):
                raise self.steps[reply.reply_id].pop(0)
            self.taken.append(reply.reply_id)
        finally:
            self.in_hand -= 1


class Office:
    """What a sender stands on."""

    def __init__(self, directory: Path) -> None:
        self.journal = SqliteJournal(directory / "journal.db")
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.database.create_tables(stage_tables.metadata, metadata)
        self.position = 0

    def ask(self, *reply_ids: str, conversation: str = "c1", age_seconds: int = 0, contact: bool = True, channel: str = "sms") -> None:
        now = int(time.time()) - age_seconds
        with self.database.begin() as connection:
            for reply_id in reply_ids:
                self.position += 1
                row = {
                    "reply_id": reply_id, "channel": channel, "conversation": conversation, "kind": "received", "number": number(),
                    "language": "id", "reply_values": msgspec.json.encode({"number": number()}).decode(), "position": self.position,
                    "requested_at": now, "queued_at": int(time.time()), "state": "waiting", "attempts": 0, "repeats": 0, "next_at": now, "claimed_until": 0, "reason": "",
                }  # fmt: skip
                connection.execute(replies.insert().values(row))
        if contact:
            self.know(conversation, channel)

    def know(self, conversation: str = "c1", channel: str = "sms", sealed: str = "") -> None:
        sealed = sealed or seal(keys(), Contact(address=f"+62812000000{conversation[1:].zfill(2)}", account="main"))
        with self.database.begin() as connection:
            connection.execute(contacts.delete().where(contacts.c.conversation == conversation))
            connection.execute(contacts.insert().values(channel=channel, conversation=conversation, sealed=sealed))

    def all_due_now(self) -> None:
        """Back-off is over."""
        with self.database.begin() as connection:
            connection.execute(replies.update().where(replies.c.state == "waiting").values(next_at=0))

    def row(self, reply_id: str) -> Any:
        with self.database.read() as connection:
            return connection.execute(select(replies).where(replies.c.reply_id == reply_id)).one()

    def states(self) -> dict[str, str]:
        with self.database.read() as connection:
            return {row.reply_id: row.state for row in connection.execute(select(replies))}

    def settled(self) -> list[ReplySettled]:
        """Each id once: readers drop repeats."""
        opened = {stored.headers["ce_id"]: open_record(stored).event for stored in self.records()}
        return list(opened.values())  # type: ignore[arg-type]

    def records(self) -> list[Stored]:
        return list(self.journal.scan(topics.REPLY_SETTLED))

    def sender(self, script: Script, journal: Any = None) -> Sender:
        return Sender("sms", script, self.database, journal or self.journal, keys())

    def close(self) -> None:
        self.journal.close()
        self.database.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def run_until(sender: Sender, reached: Callable[[], bool]) -> None:
    """Run the sender's thread until something is the case, then stop it as a process would."""
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not reached() and thread.is_alive() and time.monotonic() < deadline:
            threading.Event().wait(0.005)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert reached(), "the sender did not come so far"


def test_replies_of_a_conversation_go_out_one_at_a_time_in_their_order(office: Office) -> None:
    """The second waits until the first is settled, over any number of conversations."""
    for index in range(5):
        office.ask(f"a{index}", conversation="c1")
        office.ask(f"b{index}", conversation="c2")
    script = Script()
    run_until(office.sender(script), lambda: len(script.taken) == 10)
    assert [each for each in script.taken if each[0] == "a"] == [f"a{i}" for i in range(5)]
    assert [each for each in script.taken if each[0] == "b"] == [f"b{i}" for i in range(5)]
    assert script.most_in_hand == 1
    assert script.contacts["a0"].address != script.contacts["b0"].address


def test_a_claim_never_holds_two_replies_of_a_conversation(office: Office) -> None:
    """With many conversations waiting the claim is full, and still each is there once."""
    for index in range(CLAIM + 5):
        office.ask(f"r{index}-1", f"r{index}-2", conversation=f"c{index}")
    script = Script()
    sender = office.sender(script)
    sender._send_some(threading.Event())
    assert sorted(script.tried) == sorted(f"r{i}-1" for i in range(CLAIM))


def test_replies_to_different_citizens_go_out_at_the_same_time(office: Office) -> None:
    """A gateway that takes its time over each does not hold up the others: none returns before all are on their way."""
    for index in range(LANES):
        office.ask(f"r{index}", conversation=f"c{index}")
    together = threading.Barrier(LANES, timeout=PATIENCE_SECONDS)

    class Slow(Script):
        def deliver(self, reply: DueReply) -> None:
            together.wait()
            super().deliver(reply)

    script = Slow()
    run_until(office.sender(script), lambda: len(office.settled()) == LANES)
    assert sorted(script.taken) == [f"r{index}" for index in range(LANES)]


def test_what_is_queued_is_sent_as_soon_as_the_sender_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply stage of its process tells it; it would look by itself only much later here."""
    monkeypatch.setattr("kanal.sending.LOOK_ALONE_SECONDS", 3_600)
    script, stop = Script(), threading.Event()
    sender = office.sender(script)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    time.sleep(0.2)  # it has found nothing and waits
    office.ask("r1")
    sender.queued.set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not script.taken and time.monotonic() < deadline:
        time.sleep(0.005)
    stop.set()
    sender.queued.set()
    thread.join(PATIENCE_SECONDS)
    assert script.taken == ["r1"]


def test_a_claim_leaves_what_another_process_has_settled_meanwhile(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender whose claim ran out has sent it after all: after another one saw it, and before that one took it."""
    office.ask("r1", "r2")
    sender = office.sender(Script())
    listed = sending.listed
    with office.database.begin() as connection:

        def settled_meanwhile(reply_ids: Iterable[str]) -> str:
            connection.execute(replies.update().where(replies.c.reply_id == "r1").values(state="sent"))
            return listed(reply_ids)

        monkeypatch.setattr(sending, "listed", settled_meanwhile)
        assert sender._claim(connection, int(time.time())) == []
    assert office.states() == {"r1": "sent", "r2": "waiting"}


def test_each_reply_is_settled_once_in_the_journal(office: Office) -> None:
    """With an id derived from reply and outcome, kind and number; no address."""
    office.ask("r1")
    run_until(office.sender(Script()), lambda: len(office.settled()) == 1)
    (settled,) = office.settled()
    assert (settled.reply_id, settled.outcome, settled.kind, settled.number, settled.repeats) == ("r1", "sent", "received", number(), 0)
    (stored,) = office.journal.scan(topics.REPLY_SETTLED)
    assert (stored.key, stored.headers["ce_id"]) == ("r1", derive_id("sender", "r1", "sent"))
    assert b"6281200000" not in (stored.value or b"")


def test_a_passing_failure_holds_up_its_conversation_only(office: Office) -> None:
    """The other conversation goes on; the failed one's next reply waits behind it, in order."""
    office.ask("a1", "a2", conversation="c1")
    office.ask("b1", "b2", conversation="c2")
    script = Script(a1=[TemporaryFailure("busy", reason="gateway-busy")])
    run_until(office.sender(script), lambda: script.taken == ["b1", "b2"])
    assert office.states() == {"a1": "waiting", "a2": "waiting", "b1": "sent", "b2": "sent"}
    row = office.row("a1")
    assert (row.reason, row.attempts, row.repeats) == ("gateway-busy", 1, 0)
    assert row.next_at > time.time()
    office.all_due_now()
    run_until(office.sender(script), lambda: len(script.taken) == 4)
    assert script.taken == ["b1", "b2", "a1", "a2"]
    assert [settled.repeats for settled in office.settled()] == [0, 0, 0, 0]


def test_back_off_grows_with_each_try(office: Office) -> None:
    """So that a gateway that is away is not hammered."""
    office.ask("r1")
    script = Script(r1=[TemporaryFailure("x")] * 4)
    sender, pauses = office.sender(script), []
    for _ in range(4):
        office.all_due_now()
        before = int(time.time())
        sender._send_some(threading.Event())
        pauses.append(office.row("r1").next_at - before)
    assert [round(pause / 5) * 5 for pause in pauses] == [5, 15, 60, 300]


def test_a_failure_that_does_not_pass_is_given_up_in_the_end(office: Office) -> None:
    """After three days, as failed, told once."""
    office.ask("r1")
    with office.database.begin() as connection:
        connection.execute(replies.update().values(queued_at=replies.c.queued_at - GIVE_UP_SECONDS - 10, attempts=20))
    script = Script(r1=[TemporaryFailure("x", reason="gateway-away")])
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert [(s.outcome, s.reason) for s in office.settled()] == [("failed", "gateway-away")]


def test_an_answer_asked_for_long_ago_is_not_sent_at_first_sight(office: Office) -> None:
    """Who lost the state and replays the journal must not write to a whole city again."""
    office.ask("r1", age_seconds=GIVE_UP_SECONDS + 10)
    script = Script()
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert script.tried == []
    assert [(s.outcome, s.reason) for s in office.settled()] == [("failed", "too-old")]


def test_what_cannot_be_delivered_is_settled_and_the_next_goes_out(office: Office) -> None:
    """Never tried again."""
    office.ask("r1", "r2")
    script = Script(r1=[Undeliverable("no such subscriber", reason="no-subscriber")])
    run_until(office.sender(script), lambda: len(office.settled()) == 2)
    assert [(s.reply_id, s.outcome, s.reason) for s in office.settled()] == [("r1", "undeliverable", "no-subscriber"), ("r2", "sent", "")]
    assert script.tried == ["r1", "r2"]


@pytest.mark.parametrize("sealed", ["bm90IG91cnMgYXQgYWxsLCBub3QgYXQgYWxs", "%%%", "\u00e9"], ids=["other key", "no base64", "not ASCII"])
def test_a_contact_that_cannot_be_opened_is_undeliverable(office: Office, sealed: str) -> None:
    """Trying again would not help."""
    office.ask("r1", contact=False)
    office.know(sealed=sealed)
    run_until(office.sender(Script()), lambda: office.row("r1").state not in ("waiting", "sending"))
    assert office.row("r1").state == "undeliverable"


def test_a_bug_in_one_reply_does_not_hold_up_the_others(office: Office) -> None:
    """It is tried a few times and then settled as failed, with the kind of error only."""
    office.ask("r1", conversation="c1")
    office.ask("r2", conversation="c2")
    script = Script(r1=[ValueError("adi@warga.example")] * 20)
    sender = office.sender(script)
    run_until(sender, lambda: script.taken == ["r2"])
    for _ in range(10):
        office.all_due_now()
        sender._send_some(threading.Event())
    (failed,) = [each for each in office.settled() if each.reply_id == "r1"]
    assert (failed.outcome, failed.reason) == ("failed", "bug-ValueError")


def test_a_lost_answer_is_sent_again_and_counted(office: Office) -> None:
    """The citizen may have read it twice: that is said."""
    before = REGISTRY.get_sample_value("kanal_reply_repeats_total", {"channel": "sms"}) or 0
    office.ask("r1")
    script = Script(r1=[AnswerLost("time-out", reason="no-answer")])
    run_until(office.sender(script), lambda: office.row("r1").attempts == 1 and office.row("r1").state == "waiting")
    office.all_due_now()
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert [(s.outcome, s.repeats) for s in office.settled()] == [("sent", 1)]
    assert REGISTRY.get_sample_value("kanal_reply_repeats_total", {"channel": "sms"}) == before + 1


def kill_at(name: str) -> Callable[[str], None]:
    def fail_point(at: str) -> None:
        if at == f"sms-sender.{name}":
            raise Killed

    return fail_point


@pytest.mark.parametrize(("point", "tried"), [("sending", 1), ("sent", 2)])
def test_a_crash_in_sending_is_sent_once_more_and_counted(office: Office, point: str, tried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before or after it went out: nobody can tell, so it goes once more and counts as a possible repeat, once."""
    office.ask("r1")
    script = Script()
    with monkeypatch.context() as patch:
        patch.setattr("kanal.sending.fail_point", kill_at(point))
        with pytest.raises(Killed):
            office.sender(script)._send_some(threading.Event())
    assert office.row("r1").state == "sending"
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert len(script.tried) == tried
    assert [(s.reply_id, s.outcome, s.repeats) for s in office.settled()] == [("r1", "sent", 1)]
    assert office.row("r1").repeats == 1


def test_a_crash_keeps_the_order_of_a_conversation(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in `sending` goes before the one behind it."""
    office.ask("r1", "r2")
    script = Script()
    with monkeypatch.context() as patch:
        patch.setattr("kanal.sending.fail_point", kill_at("sending"))
        with pytest.raises(Killed):
            office.sender(script)._send_some(threading.Event())
    run_until(office.sender(script), lambda: len(office.settled()) == 2)
    assert script.tried == ["r1", "r2"]


class DeafJournal:
    """Takes the records and does not answer, so many times."""

    def __init__(self, journal: SqliteJournal, times: int) -> None:
        self._journal = journal
        self._times = times

    def append(self, records: Any, timeout_seconds: float = 10.0) -> None:
        self._journal.append(records, timeout_seconds)
        if self._times:
            self._times -= 1
            raise JournalAway("no answer")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def test_a_journal_that_is_away_repeats_the_record_not_the_reply(office: Office) -> None:
    """The reply goes out once; repeats in the topic have the same id."""
    office.ask("r1")
    script = Script()
    run_until(office.sender(script, DeafJournal(office.journal, 1)), lambda: len(office.records()) == 2)
    assert script.tried == ["r1"]
    assert len({stored.headers["ce_id"] for stored in office.records()}) == 1


def test_a_settled_record_left_in_the_outbox_is_appended_at_the_next_start(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the commit and the append: told later, and not sent again."""
    office.ask("r1")
    script = Script()
    with monkeypatch.context() as patch:
        patch.setattr("kanal.outbox.Outbox.flush", _die_with_records)
        with pytest.raises(Killed):
            office.sender(script)._send_some(threading.Event())
    assert (office.row("r1").state, office.settled()) == ("sent", [])
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert script.tried == ["r1"]


def test_what_a_killed_process_left_in_the_outbox_is_appended_by_another(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several senders of a channel that was taken away for good: nobody starts in its place."""
    living, script = office.sender(Script()), Script()
    assert living._send_some(threading.Event()) == 0
    office.ask("r1")
    with monkeypatch.context() as patch:
        patch.setattr("kanal.outbox.Outbox.flush", _die_with_records)
        with pytest.raises(Killed):
            office.sender(script)._send_some(threading.Event())
    living._send_some(threading.Event())
    assert office.settled() == []
    monkeypatch.setattr("kanal.sending.LEFT_BEHIND_SECONDS", 0.0)
    living._send_some(threading.Event())
    assert [settled.reply_id for settled in office.settled()] == ["r1"]
    with office.database.read() as connection:
        assert connection.execute(select(stage_tables.outbox)).all() == []


def _die_with_records(outbox: Any) -> None:
    if outbox._waiting:
        raise Killed


def test_a_missing_contact_is_waited_for(office: Office) -> None:
    """It comes through another topic and may be later; the reply goes out when it is there."""
    office.ask("r1", contact=False)
    script = Script()
    run_until(office.sender(script), lambda: office.row("r1").reason == "no-contact" and office.row("r1").state == "waiting")
    office.know()
    office.all_due_now()
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert script.taken == ["r1"]


def test_a_contact_that_never_comes_is_undeliverable_in_the_end(office: Office) -> None:
    """It was forgotten, or never given; the conversation is not blocked for ever."""
    office.ask("r1", contact=False, age_seconds=NO_CONTACT_SECONDS + 5)
    sender = office.sender(Script())
    for _ in range(12):
        office.all_due_now()
        sender._send_some(threading.Event())
        with office.database.begin() as connection:  # ten minutes pass
            connection.execute(replies.update().values(queued_at=replies.c.queued_at - NO_CONTACT_SECONDS))
    assert office.row("r1").state == "undeliverable"


def test_after_an_outage_the_contact_of_an_old_request_is_waited_for_too(office: Office) -> None:
    """A request that lay in the journal for an hour is read before its contact: it must not be given up at first sight."""
    office.ask("r1", contact=False, age_seconds=3_600)
    script = Script()
    sender = office.sender(script)
    sender._send_some(threading.Event())
    assert office.row("r1").state == "waiting"


def test_replies_of_another_channel_are_left_alone(office: Office) -> None:
    """They share the table."""
    office.ask("mail", channel="email", conversation="c9")
    office.ask("sms")
    script = Script()
    run_until(office.sender(script), lambda: len(office.settled()) == 1)
    assert script.tried == ["sms"]
    assert office.states()["mail"] == "waiting"


def test_a_stop_gives_back_what_was_not_begun(office: Office) -> None:
    """No attempt and no repeat is counted for it, and it goes out at once after the next start."""
    stop, count = threading.Event(), 3 * LANES
    for index in range(count):
        office.ask(f"r{index}", conversation=f"c{index}")

    class Stopping(Script):
        def deliver(self, reply: DueReply) -> None:
            stop.set()
            super().deliver(reply)

    script = Stopping()
    office.sender(script)._send_some(stop)
    assert 1 <= len(script.taken) <= LANES, "those that were on their way are finished"
    states = office.states()
    assert {name: states[name] for name in script.taken} == dict.fromkeys(script.taken, "sent")
    assert list(states.values()).count("waiting") == count - len(script.taken)
    after = Script()
    run_until(office.sender(after), lambda: len(office.settled()) == count)
    assert {settled.repeats for settled in office.settled()} == {0}


def test_what_another_process_has_sent_meanwhile_is_not_given_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was frozen longer than its claim finds it too late to begin: it must not undo what the other has settled."""
    office.ask("r1")
    frozen, other = Script(), Script()

    def freeze(_at: str) -> None:
        monkeypatch.undo()  # the other passes here without being frozen
        with office.database.begin() as connection:  # the claim runs out
            connection.execute(replies.update().values(claimed_until=0))
        office.sender(other)._send_some(threading.Event())
        monkeypatch.setattr("kanal.sending.BEGIN_SECONDS", -1)

    sender = office.sender(frozen)
    monkeypatch.setattr("kanal.sending.fail_point", freeze)
    sender._send_some(threading.Event())
    assert (other.taken, frozen.taken) == (["r1"], [])
    assert office.row("r1").state == "sent"


def test_a_database_that_cannot_be_written_stops_what_is_not_begun(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on their way are settled when it is back, those behind them are not begun: no citizen hears anything twice."""
    count = 3 * LANES
    for index in range(count):
        office.ask(f"r{index}", conversation=f"c{index}")
    monkeypatch.setattr("kanal.sending.SETTLE_RETRY_SECONDS", ())
    script, failed, note = Script(), threading.Event(), Sender._note

    def fail_once(sender: Sender, *settled: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise DatabaseAway
        note(sender, *settled)

    class Slow(Script):
        """The first comes back at once, the others when it could not be settled."""

        def deliver(self, reply: DueReply) -> None:
            self.tried.append(reply.reply_id)
            if len(self.tried) > 1:
                failed.wait(PATIENCE_SECONDS)
            script.deliver(reply)

    monkeypatch.setattr(Sender, "_note", fail_once)
    run_until(office.sender(Slow()), lambda: len(office.settled()) == count)
    assert sorted(script.taken) == sorted(f"r{index}" for index in range(count))


def test_stopping_leaves_no_outbox_rows(office: Office) -> None:
    """So that a clean restart repeats nothing."""
    office.ask("r1")
    run_until(office.sender(Script()), lambda: len(office.settled()) == 1)
    with office.database.read() as connection:
        assert connection.execute(select(stage_tables.outbox)).all() == []
    run_until(office.sender(Script()), lambda: True)
    assert len(office.records()) == 1


def test_what_was_sent_is_settled_also_when_the_claim_ran_out_meanwhile(office: Office) -> None:
    """Else two processes with a slow way out would send it in turn for ever; the other's sending is counted as a repeat."""
    office.ask("r1")
    other = Script()

    class Slow(Script):
        def deliver(self, reply: DueReply) -> None:
            with office.database.begin() as connection:  # 45 s have passed, and another process takes over
                connection.execute(replies.update().values(claimed_until=0))
                office.sender(other)._claim(connection, int(time.time()))
            super().deliver(reply)

    office.sender(Slow())._send_some(threading.Event())
    assert [(settled.outcome, settled.repeats) for settled in office.settled()] == [("sent", 1)]
    assert office.row("r1").state == "sent"


def test_what_the_network_says_too_early_is_to_be_said_again(office: Office) -> None:
    """A delivery report may be faster than our own note that the answer was sent; afterwards it counts."""
    office.ask("r1")
    early: list[TemporaryFailure] = []

    class Quick(Script):
        def deliver(self, reply: DueReply) -> None:
            super().deliver(reply)
            with pytest.raises(TemporaryFailure) as failure:
                settle_later(office.database, "sms", reply.reply_id, "delivered", "network")
            early.append(failure.value)

    run_until(office.sender(Quick()), lambda: len(office.settled()) == 1)
    assert [failure.reason for failure in early] == ["still-sending"]
    assert settle_later(office.database, "sms", "r1", "delivered", "network") is not None
    assert office.row("r1").state == "delivered"
    assert settle_later(office.database, "sms", "other", "delivered", "network") is None


def test_what_a_commit_settled_whose_answer_was_lost_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away in the moment of the commit, which did happen: the reply is not sent again, and its event is appended."""
    office.ask("r1")
    script = Script()
    sender = office.sender(script)
    whole, lost = sender._note, [DatabaseAway("the connection broke")]

    def note(*arguments: Any) -> None:
        begin = office.database.begin

        @contextmanager
        def commit_unanswered() -> Iterator[Any]:
            with begin() as connection:
                yield connection
            if lost:
                raise lost.pop()

        with monkeypatch.context() as patch:
            patch.setattr(office.database, "begin", commit_unanswered)
            whole(*arguments)

    monkeypatch.setattr(sender, "_note", note)
    run_until(sender, lambda: len(office.settled()) == 1)
    assert lost == []
    assert script.taken == ["r1"]
    assert [(settled.outcome, settled.repeats) for settled in office.settled()] == [("sent", 0)]
