"""Rendering replies, and the stage that queues them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from kanal.database import Database
from kanal.errors import InvalidEvent
from kanal.events import ContactSealed, ReplyRequested
from kanal.pack import Channel, Pack, Text, TextPart
from kanal.records import Removed
from kanal.replies import ReplyHandler, contacts, metadata, render, replies
from kanal.stage import Input
from kanal.testing import NOON, an_input, jakarta, number

LABELS = {"id": "x", "en": "x"}
MAIL = Channel(links=True, max_characters=0, visibility="private", labels=LABELS)
SMS = Channel(links=False, max_characters=160, visibility="private", labels=LABELS)
PAGES = "https://kanal.example"


def part(rank: int, words: str, when: str = "") -> TextPart:
    return TextPart(rank, {"id": words, "en": f"({words})"}, when)


def a_pack(*parts: TextPart) -> Pack:
    return jakarta()._replace(texts={"kind": Text({"id": "Subjek", "en": "Subject"}, parts)})


def body(pack: Pack, channel: Channel, language: str = "id", **values: str) -> str:
    return render(pack, channel, "kind", values, language, PAGES).body


def test_parts_are_chosen_by_rank_and_read_in_their_order() -> None:
    """The second part matters least: it goes when there is no room, and the others keep their order."""
    pack = a_pack(part(2, "bbbb"), part(3, "cccc"), part(1, "aaaa"))
    assert body(pack, SMS._replace(max_characters=14)) == "bbbb cccc aaaa"
    assert body(pack, SMS._replace(max_characters=13)) == "bbbb aaaa"
    assert body(pack, SMS._replace(max_characters=8)) == "aaaa"


def test_a_part_of_rank_one_is_there_even_if_it_does_not_fit() -> None:
    """The channel splits it then: a number must never be cut off."""
    pack = a_pack(part(1, "a" * 200), part(2, "b"))
    assert body(pack, SMS) == "a" * 200


def test_a_shorter_part_of_lower_rank_fills_the_room() -> None:
    """A long part that does not fit does not keep out a short one."""
    pack = a_pack(part(1, "a" * 100), part(2, "b" * 100), part(3, "c" * 50))
    assert body(pack, SMS) == f"{'a' * 100} {'c' * 50}"


def test_without_a_limit_everything_is_said_in_paragraphs() -> None:
    """Mail has room."""
    assert body(a_pack(part(1, "aaaa"), part(5, "b" * 500)), MAIL) == "aaaa\n\n" + "b" * 500


def test_links_appear_only_where_the_channel_allows_them() -> None:
    """On SMS the whole part goes, not only the address; without a number there is no page to lead to."""
    pack = a_pack(part(1, "x {number}"), part(2, "lihat {link}"))
    assert body(pack, MAIL, number=number()) == f"x {number()}\n\nlihat {PAGES}/r/{number()}"
    assert body(pack, SMS, number=number()) == f"x {number()}"
    assert body(a_pack(part(1, "x"), part(2, "lihat {link}")), MAIL) == "x"
    assert body(pack, MAIL, number="RT 05") == "x RT 05"


def test_a_part_with_a_condition_needs_its_value() -> None:
    """Given and not empty."""
    pack = a_pack(part(1, "x"), part(2, "BAHAYA", when="emergency"))
    assert body(pack, SMS, emergency="112") == "x BAHAYA"
    assert body(pack, SMS, emergency="") == body(pack, SMS) == "x"


@pytest.mark.parametrize("name", ["number", "status", "agency", "category", "area", "note", "due", "other", "reports"])
def test_a_part_that_names_an_empty_value_is_left_out(name: str) -> None:
    """Nobody reads "with ." or a bare bracket."""
    pack = a_pack(part(1, "x"), part(2, "with {" + name + "}"))
    assert body(pack, SMS) == body(pack, SMS, **{name: ""}) == "x"


def test_codes_become_words_in_the_language_of_the_citizen() -> None:
    """Status, agency, category, date; an unknown code stands as it is."""
    pack = a_pack(part(1, "{status} {agency} {category} {due}"))
    values = {"status": "in-progress", "agency": "bina-marga", "category": "tree", "due": "2026-03-08T20:00:00+00:00"}
    assert body(pack, SMS, **values) == "Proses Dinas Bina Marga Pohon 9 Maret 2026"
    assert body(pack, SMS, "en", **values) == "(In progress Dinas Bina Marga Trees 9 March 2026)"
    assert "dinas-baru" in body(pack, SMS, **values | {"agency": "dinas-baru"})


def test_a_list_of_reports_names_each_with_its_status() -> None:
    """The answer to "CEK" alone."""
    pack = a_pack(part(1, "{reports}"))
    listed = f"{number('1')}=waiting {number('2')}=in-progress"
    assert body(pack, SMS, reports=listed) == f"{number('1')} (Menunggu), {number('2')} (Proses)"


def test_an_unknown_language_is_answered_in_the_first_of_the_pack() -> None:
    """Indonesian in Jakarta."""
    assert body(a_pack(part(1, "x")), SMS, "fr") == "x"


def test_the_subject_carries_the_number() -> None:
    """So that a mail program threads by it."""
    pack = a_pack(part(1, "x"))
    assert render(pack, MAIL, "kind", {"number": number()}, "en", PAGES).subject == f"Subject [{number()}]"
    assert render(pack, MAIL, "kind", {}, "id", PAGES).subject == "Subjek"


def test_a_kind_without_words_is_an_invalid_event() -> None:
    """A dead letter that can be redriven once the pack has the text."""
    with pytest.raises(InvalidEvent) as error:
        render(jakarta(), SMS, "birthday", {}, "id", PAGES)
    assert error.value.reason == "unknown-reply-kind"


@given(
    st.text(min_size=1, max_size=300), st.sampled_from(sorted(jakarta().texts)), st.sampled_from([MAIL, SMS]), st.sampled_from(["id", "en"])
)
def test_a_note_is_said_as_it_is_whatever_stands_in_it(note: str, kind: str, channel: Channel, language: str) -> None:
    """Braces and percent signs in an officer's note are no template; the number is always there."""
    values = {"number": number(), "note": note, "status": "waiting", "other": number("2"), "agency": "bina-marga"}
    rendered = render(jakarta(), channel, kind, values, language, PAGES).body
    if kind in ("question", "rejected", "done") and note and channel is MAIL:
        assert note in rendered
    if kind not in ("my-reports", "no-reports", "how-to-report", "emergency", "too-many"):
        assert number() in rendered
    assert not re.search(r"\{(number|link|status|agency|due|other)\}", rendered.replace(note, "") if note else rendered)


# The stage.


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    database.create_tables(metadata)
    yield database
    database.close()


def requested(reply_id: str = "r1", conversation: str = "c1") -> ReplyRequested:
    return ReplyRequested(reply_id=reply_id, channel="sms", conversation=conversation, kind="received", values={"number": number()},
                          number=number(), requested_at=NOON)  # fmt: skip


def run(database: Database, *events: object) -> None:
    handler = ReplyHandler("sms")
    inputs = [an_input(event, event_id=f"e{i}", offset=i) for i, event in enumerate(events, 1)]  # type: ignore[arg-type]
    changes = [change for each in inputs for change in handler.decide(each, None).changes]
    with database.begin() as connection:
        handler.load(connection, inputs)
        handler.save(connection, changes)


def test_a_request_becomes_a_waiting_row_once(database: Database) -> None:
    """The reply id is the key: asked for again, even after it was sent, it is not sent again."""
    run(database, requested())
    with database.begin() as connection:
        connection.execute(replies.update().values(state="sent"))
    run(database, requested(), requested())
    with database.read() as connection:
        rows = connection.execute(select(replies.c.reply_id, replies.c.state)).all()
    assert [tuple(row) for row in rows] == [("r1", "sent")]


def test_the_sender_is_told_of_replies_only(database: Database) -> None:
    """Not of a contact: each time it is told it asks the database."""
    told: list[str] = []
    handler = ReplyHandler("sms", lambda: told.append("look"))
    contact = an_input(ContactSealed(conversation="c1", sealed="x"), event_id="e1", offset=1)
    for each, so_far in ((contact, 0), (an_input(requested(), event_id="e2", offset=2), 1), (contact, 1)):
        with database.begin() as connection:
            handler.save(connection, handler.decide(each, None).changes)
        assert len(told) <= so_far
        handler.saved()
        assert len(told) == so_far


def test_a_reply_is_due_also_when_the_clock_is_set_back_after_it_was_queued(database: Database) -> None:
    """A clock that was an hour ahead must not hold answers up for an hour."""
    run(database, requested())
    with database.read() as connection:
        assert connection.scalar(select(replies.c.next_at)) == 0


def test_the_newest_contact_of_a_conversation_is_kept(database: Database) -> None:
    """In one batch or over several."""
    run(database, ContactSealed(conversation="c1", sealed="old"), ContactSealed(conversation="c1", sealed="new"))
    run(database, ContactSealed(conversation="c2", sealed="a"))
    run(database, ContactSealed(conversation="c2", sealed="b"))
    with database.read() as connection:
        kept = connection.execute(select(contacts.c.conversation, contacts.c.sealed).order_by(contacts.c.conversation)).all()
    assert [tuple(row) for row in kept] == [("c1", "new"), ("c2", "b")]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_forgetting_removes_the_address(database: Database, together: bool) -> None:
    """An empty record is the wish of a person; of another channel nothing is touched."""
    with database.begin() as connection:
        connection.execute(contacts.insert(), [{"channel": "email", "conversation": "c1", "sealed": "mail"}])
    if together:
        run(database, ContactSealed(conversation="c1", sealed="x"), Removed(key="c1"))
    else:
        run(database, ContactSealed(conversation="c1", sealed="x"))
        run(database, Removed(key="c1"))
    with database.read() as connection:
        assert [tuple(row) for row in connection.execute(select(contacts))] == [("email", "c1", "mail")]


def test_a_contact_after_forgetting_is_kept(database: Database) -> None:
    """Who writes again wants an answer again."""
    run(database, Removed(key="c1"), ContactSealed(conversation="c1", sealed="x"))
    with database.read() as connection:
        assert connection.scalars(select(contacts.c.sealed)).all() == ["x"]


def test_another_event_is_invalid() -> None:
    """It does not belong into these topics."""
    from kanal.testing import registered

    message: Input = an_input(registered())
    with pytest.raises(InvalidEvent):
        ReplyHandler("sms").decide(message, None)
