"""The sender's loop: one reply per conversation at a time, `waiting` → `sending` → `sent`, with back-off and honest counting.

A crash between sending and noting it leaves a row in `sending`; it is sent once more and counted as a repeat, since no
provider that Kanal speaks to can say whether the first one went out. Not here: a channel's protocol (its `send.py`).
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, case, func, or_, select, update

from kanal import metrics, topics
from kanal.contacts import Contact, open_sealed
from kanal.database import Database, among, listed
from kanal.errors import DatabaseAway, InvalidEvent, KanalError, SetupError, TemporaryFailure
from kanal.events import ReplySettled
from kanal.faults import fail_point
from kanal.ids import derive_id
from kanal.journal import Journal, Place, Record
from kanal.keys import Keys
from kanal.lanes import Lanes
from kanal.logs import logger
from kanal.outbox import Outbox
from kanal.records import record_of
from kanal.replies import contacts, replies

CLAIM = 64
"""Replies claimed at once, each of another conversation. What was sent is settled right away, so that a crash repeats few."""

LOOK_SECONDS = 0.1
"""How soon an idle sender sees what another process has queued; what this one queues it is told at once."""

LOOK_ALONE_SECONDS = 1.0
"""The same where there is no other process (SQLite): only pauses run out."""

HOUSEKEEPING_SECONDS = 1.0
"""How often an idle sender clears its outbox."""

LEFT_BEHIND_SECONDS = 30.0
"""How often an idle sender looks for what a process has left in the outbox that was killed and does not come back."""

LANES = 8
"""Replies on their way at the same time: a gateway that takes 100 ms over an SMS would else hold Kanal to ten a second."""

SETTLE_RETRY_SECONDS = (0.2, 1.0, 3.0)

CLAIM_SECONDS = 45
"""Another process may take a reply over so long after it was claimed."""

BEGIN_SECONDS = 20
"""Only in this time after a claim is a sending begun, so that it mostly ends before another may take over."""

RETRY_SECONDS = (5, 15, 60, 300, 900, 3_600)
GIVE_UP_SECONDS = 72 * 3_600
COUNT_SECONDS = 5.0
"""How often waiting replies are counted for operators."""
NO_CONTACT_SECONDS = 600
"""A contact is appended before its message, but is read from another topic: it may come a little later."""


class DueReply(NamedTuple):
    """A reply to send now."""

    reply_id: str
    kind: str
    number: str
    language: str
    values: dict[str, str]
    contact: Contact


class Undeliverable(KanalError):
    """This channel cannot reach the citizen, however often it is tried. `reason` says why."""


class AnswerLost(TemporaryFailure):
    """It may have been taken or not: the answer did not come. Sent again, and counted as a possible repeat."""


class Deliver(Protocol):
    """A channel's way out."""

    def deliver(self, reply: DueReply) -> None:
        """Return when the other side has taken it. *Raises:* TemporaryFailure (later again), Undeliverable (never)."""


class _Claimed(NamedTuple):
    row: Any
    sealed: str


class _Settled(NamedTuple):
    row: Any
    outcome: str
    reason: str = ""
    lost: bool = False


class Sender:
    """Runs one channel's replies in a thread of its own."""

    def __init__(self, channel: str, deliver: Deliver, database: Database, journal: Journal, keys: Keys) -> None:
        if keys.contacts_private is None:
            raise SetupError(f"the sender of {channel} needs contacts.private among the keys, else it can open no address")
        self.name = f"{channel}-sender"
        self.queued = threading.Event()
        """To be set when there may be something to send."""
        self._channel = channel
        self._deliver = deliver
        self._database = database
        self._keys = keys
        self._outbox = Outbox(self.name, database, journal)
        self._place = Place(self.name, 0)
        self._log = logger(self.name)
        self._look_seconds = LOOK_SECONDS if database.shared else LOOK_ALONE_SECONDS
        self._kept_house_at = 0.0
        self._counted_at = 0.0
        self._looked_behind_at = time.monotonic()
        self._lanes: Lanes[_Claimed, _Settled | _Claimed] = Lanes(self.name, LANES)

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set; whatever passes is tried again."""
        recovered = False
        while not stop.is_set():
            try:
                if not recovered:
                    self._recover()
                    recovered = True
                self.queued.clear()
                if not self._send_some(stop):
                    self.queued.wait(self._look_seconds)
            except Exception as error:  # nothing is lost: rows say what is still to do
                self._log.warning("sending_retried", error=error)
                self._outbox.begin_again()
                recovered = False
                stop.wait(1.0)
        self._leave()

    def _recover(self) -> None:
        """After a crash: what the last run left in the outbox, and with SQLite (we are alone) its `sending` rows."""
        self._outbox.flush_left_behind(self._place)
        if not self._database.shared:
            orphaned = and_(replies.c.channel == self._channel, replies.c.state == "sending")
            with self._database.begin() as connection:
                connection.execute(update(replies).where(orphaned).values(claimed_until=0))

    def _send_some(self, stop: threading.Event) -> int:
        self._outbox.flush()
        now = int(time.time())
        with self._database.begin() as connection:
            claimed = self._claim(connection, now)
        if not claimed:
            self._keep_house()
            return 0
        fail_point(f"{self.name}.sending")
        begun = self._send_all(claimed, now, stop)
        self._outbox.flush()
        self._log.info("replies_tried", count=begun)
        return begun

    def _send_all(self, claimed: Sequence[_Claimed], now: int, stop: threading.Event) -> int:
        """How many were begun; each is settled as it comes back from its lane."""
        given_up = threading.Event()
        lanes = self._lanes.run(partial(self._send_or_leave, now=now, stops=(stop, given_up)), claimed)
        begun, back = 0, list[_Settled | _Claimed]()
        try:
            for some in lanes:
                back += some
                fail_point(f"{self.name}.sent")
                begun += self._take_back(back, now)
                back.clear()
        except Exception:  # no further ones are begun; those on their way are waited for, or all of them would go out once more
            given_up.set()
            for some in lanes:
                back += some
            self._take_back(back, now)
            raise
        return begun

    def _take_back(self, back: Sequence[_Settled | _Claimed], now: int) -> int:
        settled = [each for each in back if isinstance(each, _Settled)]
        if settled:
            self._settle(settled, now)
        self._give_back([each.row for each in back if isinstance(each, _Claimed)], now)
        return len(settled)

    def _claim(self, connection: Connection, now: int) -> list[_Claimed]:
        self._database.exclusive(connection, self.name)
        rows = [row for ready in _READY for row in connection.execute(ready, {"mine": self._channel, "now": now})]
        if not rows:
            return []
        reply_ids = listed(row.reply_id for row in rows)
        taken = set(connection.scalars(_TAKE, {"reply_ids": reply_ids, "now": now, "until": now + CLAIM_SECONDS}))
        claimed = [_Claimed(row, row.sealed or "") for row in rows if row.reply_id in taken]
        metrics.REPLY_REPEATS.labels(self._channel).inc(sum(each.row.state == "sending" for each in claimed))
        return claimed

    def _send_or_leave(self, claimed: _Claimed, now: int, stops: Sequence[threading.Event]) -> "_Settled | _Claimed":
        """What came of it; when stopping, or when it is too late to begin, it comes back as it was."""
        too_late = time.time() > now + BEGIN_SECONDS
        return claimed if too_late or any(stop.is_set() for stop in stops) else self._send(claimed, now)

    def _send(self, claimed: _Claimed, now: int) -> _Settled:
        row = claimed.row
        age = now - row.queued_at
        if now - row.requested_at > GIVE_UP_SECONDS and not row.attempts:  # a state that was lost must not send old answers anew
            return _Settled(row, "failed", "too-old")
        if not claimed.sealed:
            return _Settled(row, "undeliverable" if age > NO_CONTACT_SECONDS else "waiting", "no-contact")
        try:
            contact = open_sealed(self._keys, claimed.sealed)
            values = msgspec.json.decode(row.reply_values, type=dict[str, str])
            self._deliver.deliver(DueReply(row.reply_id, row.kind, row.number, row.language, values, contact))
        except TemporaryFailure as error:
            if isinstance(error, AnswerLost):
                metrics.REPLY_REPEATS.labels(self._channel).inc()
            self._log.warning("reply_delayed", number=row.number, reason=error.reason, attempt=row.attempts + 1)
            return _Settled(row, "failed" if age > GIVE_UP_SECONDS else "waiting", error.reason, lost=isinstance(error, AnswerLost))
        except (Undeliverable, InvalidEvent) as error:
            return _Settled(row, "undeliverable", error.reason)
        except Exception as error:  # a bug in one reply must not hold up the others
            self._log.error("reply_failed", number=row.number, error=error)
            return _Settled(row, "failed" if row.attempts >= len(RETRY_SECONDS) else "waiting", f"bug-{type(error).__name__}")
        return _Settled(row, "sent")

    def _settle(self, settled: Sequence[_Settled], now: int) -> None:
        """Right after the send, so that little is repeated after a crash; a database that is away for a moment is waited for."""
        uncertain = False
        for pause in (*SETTLE_RETRY_SECONDS, None):
            try:
                self._note(settled, now)
                break
            except DatabaseAway:
                if pause is None:
                    raise
                uncertain = True
                time.sleep(pause)
        if uncertain:  # perhaps it was committed and only the answer was lost: its events are then found as left behind
            self._outbox.begin_again()
            self._outbox.flush_left_behind(self._place)

    def _note(self, settled: Sequence[_Settled], now: int) -> None:
        with self._database.begin() as connection:
            repeats = self._note_sent(connection, [each.row.reply_id for each in settled if each.outcome == "sent"])
            for each in settled:
                if each.outcome != "sent":
                    repeats.update(self._note_one(connection, each, now))
            told = [each for each in settled if each.row.reply_id in repeats and each.outcome != "waiting"]
            events = [settled_record(self._channel, each.row, each.outcome, each.reason, repeats[each.row.reply_id]) for each in told]
            records = self._outbox.add(connection, [(self._place, event) for event in events])
        self._outbox.committed(records)
        for row, outcome, reason, _ in told:
            self._tell(row, outcome, reason)

    def _note_sent(self, connection: Connection, reply_ids: Sequence[str]) -> dict[str, int]:
        """How often each that was still to be settled has been repeated so far.

        After the claim ran out another process may have taken it over. What was sent is sent all the same: were it left to the other,
        two slow ones could send it in turn for ever. The other's sending was counted when it claimed.
        """
        if not reply_ids:
            return {}
        return dict(connection.execute(_NOTE_SENT, {"reply_ids": listed(reply_ids)}).all())

    def _note_one(self, connection: Connection, settled: _Settled, now: int) -> dict[str, int]:
        """The same for one that was not sent; nothing when it is no longer ours to settle."""
        row, outcome, reason, lost = settled
        pause = RETRY_SECONDS[min(row.attempts, len(RETRY_SECONDS) - 1)]
        next_at = now + pause if outcome == "waiting" else row.next_at
        statement = (
            update(replies).where(replies.c.reply_id == row.reply_id, _claimed_at(now)).returning(replies.c.reply_id, replies.c.repeats)
        )
        values = {"state": outcome, "reason": reason, "next_at": next_at, "repeats": replies.c.repeats + int(lost)}
        return dict(connection.execute(statement.values(values)).all())

    def _tell(self, row: Any, outcome: str, reason: str) -> None:
        metrics.REPLIES.labels(self._channel, outcome).inc()
        if outcome != "sent":
            self._log.error("reply_not_delivered", number=row.number, outcome=outcome, reason=reason)

    def _give_back(self, rows: Sequence[Any], now: int) -> None:
        """Those that are still ours, for the same reason."""
        if rows:
            waiting = [{"id": row.reply_id, "state": "waiting", "attempts": row.attempts, "repeats": row.repeats} for row in rows]
            with self._database.begin() as connection:
                _change(connection, waiting, _claimed_at(now))

    def _keep_house(self) -> None:
        """When nothing is due: what the outbox need not keep; now and then what others left in it, and the count for operators."""
        now = time.monotonic()
        if now - self._kept_house_at > HOUSEKEEPING_SECONDS:
            self._outbox.tidy()
            self._kept_house_at = now
        if now - self._looked_behind_at > LEFT_BEHIND_SECONDS:  # a living one's rows may be among them: repeats are dropped by their ids
            self._outbox.flush_left_behind(self._place)
            self._looked_behind_at = now
        if now - self._counted_at > COUNT_SECONDS:
            with self._database.read() as connection:
                waiting = and_(replies.c.channel == self._channel, replies.c.state.in_(("waiting", "sending")))
                metrics.REPLIES_WAITING.labels(self._channel).set(connection.scalar(select(func.count()).where(waiting)) or 0)
            self._counted_at = now

    def _leave(self) -> None:
        try:
            self._outbox.flush()
            self._outbox.tidy()
        except TemporaryFailure as error:
            self._log.warning("stopped_uncleanly", error=error)


# What is asked for each claim, built once: that would take longer than the database does.
_NOW: BindParameter[int] = bindparam("now")
_ORPHANED = and_(replies.c.state == "sending", replies.c.claimed_until <= _NOW)
_DUE = and_(replies.c.state == "waiting", replies.c.next_at <= _NOW)
_EARLIER = replies.alias("earlier")
_HELD_UP_BY = select(_EARLIER.c.reply_id).where(
    _EARLIER.c.channel == bindparam("mine"),
    _EARLIER.c.conversation == replies.c.conversation,
    _EARLIER.c.state.in_(("waiting", "sending")),
    or_(_EARLIER.c.position < replies.c.position, and_(_EARLIER.c.state == "sending", _EARLIER.c.claimed_until > _NOW)),
    _EARLIER.c.reply_id != replies.c.reply_id,
)
_WITH_CONTACT = replies.outerjoin(
    contacts, and_(contacts.c.channel == replies.c.channel, contacts.c.conversation == replies.c.conversation)
)  # fmt: skip
# Two questions, not one with `or`: each then follows its index and stops at the limit, however many are waiting.
_READY = [
    select(replies, contacts.c.sealed)
    .select_from(_WITH_CONTACT)
    .where(replies.c.channel == bindparam("mine"), ~_HELD_UP_BY.exists(), ready)
    .order_by(replies.c.next_at, replies.c.position)
    .limit(CLAIM)
    for ready in (_ORPHANED, _DUE)
]
_TAKE = (
    update(replies)
    # Asked again: another process may have settled one in between, late but after all.
    .where(among(replies.c.reply_id, "reply_ids"), or_(_ORPHANED, _DUE))
    .values(
        state="sending",
        claimed_until=bindparam("until"),
        attempts=replies.c.attempts + 1,
        repeats=replies.c.repeats + case((replies.c.state == "sending", 1), else_=0),
    )
    .returning(replies.c.reply_id)
)
_NOTE_SENT = (
    update(replies)
    .where(among(replies.c.reply_id, "reply_ids"), replies.c.state == "sending")
    .values(state="sent", reason="")
    .returning(replies.c.reply_id, replies.c.repeats)
)


def _claimed_at(moment: int) -> ColumnElement[bool]:
    """Condition: nobody has taken the reply over since it was claimed at `moment`."""
    return and_(replies.c.state == "sending", replies.c.claimed_until == moment + CLAIM_SECONDS)


def _change(connection: Connection, rows: Sequence[Mapping[str, Any]], which: ColumnElement[bool]) -> None:
    """Set values of replies named by `id`, of those for which `which` holds; all rows name the same columns."""
    if rows:
        columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "id"}
        statement = update(replies).where(replies.c.reply_id == bindparam("id"), which)
        connection.execute(statement.values(columns), rows)


def settle_later(database: Database, channel: str, reply_id: str, outcome: str, reason: str) -> Record | None:
    """What the network says of an answer after it was sent, noted on it; the event to append. None when no such answer was sent.

    *Raises:* TemporaryFailure while Kanal does not know yet itself that it was sent: say it again.
    """
    mine = and_(replies.c.reply_id == reply_id, replies.c.channel == channel)
    with database.begin() as connection:
        row = connection.execute(select(replies).where(mine)).one_or_none()
        if row is not None and row.state == "sending":
            raise TemporaryFailure("the answer is still being sent", reason="still-sending")
        if row is None or row.state not in ("sent", outcome):
            return None
        connection.execute(update(replies).where(mine).values(state=outcome, reason=reason))
    metrics.REPLIES.labels(channel, outcome).inc()
    return settled_record(channel, row, outcome, reason, row.repeats)


def settled_record(channel: str, row: Any, outcome: str, reason: str, repeats: int) -> Record:
    """The `ReplySettled` of a row of `replies`; its id is derived from the reply and the outcome."""
    now = datetime.now(UTC)
    event = ReplySettled(
        reply_id=row.reply_id, channel=channel, kind=row.kind, number=row.number,
        outcome=outcome, reason=reason, repeats=repeats, settled_at=now,
    )  # fmt: skip
    event_id = derive_id("sender", row.reply_id, outcome)
    return record_of(topics.REPLY_SETTLED, row.reply_id, event, event_id=event_id, source=f"{channel}-sender", at=now)
