"""Folding stories over a real database: the life of a report, replies, parked events, status questions, merges."""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from kanal_tracker.tables import VIEW

from kanal import topics
from kanal.errors import InvalidEvent
from kanal.events import Event, ReplyRequested, ReporterTold, UpdateRequested
from kanal.ids import derive_id
from kanal.testing import ADI, BUNGA, NOON, later, number, registered, updated

from .story import Folding, appended, asked, belum, public, requested, routed

TABLES = tuple(table.name for table in VIEW)


def test_the_life_of_a_report(folding: Folding) -> None:
    """Registered, routed, taken up, finished, validated, BELUM: each step with its status, version, timeline and notice."""
    steps: list[tuple[Event, str, list[str]]] = [
        (registered(), "waiting", []),
        (routed(), "waiting", []),
        (requested("accept", version=2), "in-progress", ["taken-up"]),
        (requested("progress", version=3), "in-progress", []),
        (requested("finish", version=4), "awaiting-validation", []),
        (requested("validate", version=5), "done", ["done"]),
        (belum(), "waiting", ["reopened"]),
        (requested("accept", version=8), "in-progress", ["taken-up"]),
    ]
    for event, status, kinds in steps:
        told = folding.fold(event)
        assert (folding.report().status, told.kinds) == (status, kinds), event
        assert [update.status for update in told.updates][-1:] == [status]
        assert {update.accepted for update in told.updates} == {True}
    assert folding.timeline() == ["register", "route", "accept", "progress", "finish", "validate", "append", "reopen", "accept"]
    assert folding.report().version == 9


def test_the_versions_told_are_those_of_the_report(folding: Folding) -> None:
    """One higher with each accepted change; subscribers can see a gap."""
    told = folding.one_by_one(registered(), routed(), requested("accept"), requested("finish"), requested("validate"), belum())
    assert [update.version for update in told.updates] == [1, 2, 3, 4, 5, 6, 7]
    assert [update.action for update in told.updates] == ["register", "route", "accept", "finish", "validate", "append", "reopen"]


def test_in_one_batch_it_is_the_same_as_one_by_one(folding: Folding, tmp_path: Path) -> None:
    """Each event sees the changes of those before it."""
    story = [
        registered(),
        routed(),
        requested("accept"),
        requested("finish"),
        requested("validate"),
        belum(),
        requested("ask"),
        appended(by="a"),
    ]
    folding.fold(*story)
    other = Folding(tmp_path, "other")
    other.one_by_one(*story)
    assert folding.view() == other.view()
    other.close()


def test_the_due_date_is_the_category_s(folding: Folding) -> None:
    """Hours from the receipt; an unknown category gets the pack's."""
    folding.fold(registered("1"), registered("2", category="unheard-of"))
    hours = folding.handler._pack.categories["street-light"].due_hours
    assert folding.report("1").due_at == NOON + timedelta(hours=hours)
    assert folding.report("2").due_at == NOON + timedelta(hours=168)


# Replies: what, to whom, where.

NOTICES = [
    ("accept", [], "taken-up"),
    ("ask", [], "question"),
    ("validate", ["accept", "finish"], "done"),
    ("reject", [], "rejected"),
    ("merge", [], "merged"),
]
SILENT = [("refuse", []), ("assign", []), ("delegate", []), ("progress", ["accept"]), ("finish", ["accept"]),
          ("return", ["accept", "finish"]), ("unmerge", ["merge"])]  # fmt: skip


@pytest.mark.parametrize(("action", "before", "kind"), NOTICES, ids=[notice[0] for notice in NOTICES])
def test_the_reporter_is_told_where_he_reported(folding: Folding, action: str, before: list[str], kind: str) -> None:
    """One notice, in his conversation, channel and language, with his number and an id that a repeat has too."""
    folding.fold(registered("2"), registered("1", language="en"), routed(), *(requested(each) for each in before))
    event = requested(action)
    told = folding.fold(event)
    (reply,) = told.replies
    report = registered()
    assert (reply.kind, reply.channel, reply.conversation, reply.language) == (kind, "sms", report.conversation, "en")
    assert (reply.number, reply.values["number"]) == (number(), number())
    (emit,) = [emit for emit in folding.emitted if isinstance(emit.event, ReplyRequested)]
    assert (emit.topic, emit.key, emit.event_id) == (topics.reply_requested("sms"), report.conversation, reply.reply_id)


@pytest.mark.parametrize(("action", "before"), SILENT, ids=[silent[0] for silent in SILENT])
def test_of_the_agencies_own_affairs_the_reporter_hears_nothing(folding: Folding, action: str, before: list[str]) -> None:
    """Handing over, progress and checks are on the page."""
    folding.fold(registered("2"), registered(), routed(), *(requested(each) for each in before))
    assert folding.fold(requested(action)).kinds == []


def test_notices_carry_what_they_have_to_say(folding: Folding) -> None:
    """The agency and the date when taken up, the question, the reason, the other number."""
    folding.fold(registered("2"), *(registered(name) for name in "1345"), routed())
    taken_up, question, rejected, rejected_with_note, merged = (
        folding.fold(event).replies[0].values
        for event in (
            requested("accept", finish_at=later(99)), requested("ask", "3"), requested("reject", "4"),
            requested("reject", "5", note="Di luar wilayah"), requested("merge", "1"),
        )
    )  # fmt: skip
    assert taken_up == {"number": number(), "agency": "bina-marga", "due": later(99).isoformat()}
    assert question["note"] == "Di mana tepatnya?"
    assert rejected["note"] == "not in the city"
    assert rejected_with_note["note"] == "Di luar wilayah"
    assert merged["other"] == number("2")


def test_a_refused_action_is_told_to_staff_only(folding: Folding) -> None:
    """`report-updated` says which rule; the version stays, the timeline too, the reporter hears nothing."""
    folding.fold(registered())
    told = folding.fold(requested("finish", action_id="action-1"))
    assert told.kinds == []
    (update,) = told.updates
    assert (update.accepted, update.rule, update.version, update.status, update.action_id) == (
        False,
        "wrong-status",
        1,
        "waiting",
        "action-1",
    )
    answer = folding.answer("action-1")
    assert answer is not None
    assert (answer.accepted, answer.rule, answer.version) == (False, "wrong-status", 1)
    assert folding.timeline() == ["register"]


def test_the_same_action_id_twice_has_one_effect_and_the_first_answer(folding: Folding) -> None:
    """A form sent twice, also in another record and in the same batch; a refusal stays a refusal."""
    folding.fold(registered())
    first = requested("ask", action_id="action-1", version=1)
    told = folding.fold_inputs([folding.as_input(first, "e1"), folding.as_input(first, "e2")])
    told_later = folding.fold_inputs([folding.as_input(requested("accept", action_id="action-1"), "e3")])
    assert told.kinds == ["question"]
    assert told_later.all == []
    answer = folding.answer("action-1")
    assert answer is not None
    assert (answer.accepted, answer.version) == (True, 2)
    assert folding.timeline() == ["register", "ask"]


# Routing.


def test_a_report_is_with_the_agency_that_the_rules_found(folding: Folding) -> None:
    """And on the dispatcher's list where they gave up."""
    folding.fold(registered(), routed(agency="pertamanan"))
    assert (folding.report().agency, folding.report().to_dispatcher) == ("pertamanan", False)
    folding.fold(routed(agency="biro-pemerintahan", to_dispatcher=True, attempt=3))
    assert (folding.report().agency, folding.report().to_dispatcher) == ("biro-pemerintahan", True)


@pytest.mark.parametrize("action", ["assign", "delegate"])
def test_an_automatic_routing_never_overrides_a_person(folding: Folding, action: str) -> None:
    """Ignored without a version, a line or a word, also when it is redriven later."""
    folding.fold(registered(), routed(), requested(action))
    before = folding.view()
    told = folding.fold(routed(agency="satpol-pp", attempt=2))
    assert (told.all, folding.view()) == ([], before)


def test_the_router_hears_who_refused_and_whom_he_suggests(folding: Folding) -> None:
    """In their order, so that it can ask the next."""
    folding.fold(registered(), routed())
    told = folding.one_by_one(
        requested("refuse", agency="pertamanan"), routed(agency="pertamanan", attempt=1), requested("refuse", requested_at=later(20))
    )
    refusals = [update for update in told.updates if update.action == "refuse"]
    assert [update.refused_by for update in refusals] == [("bina-marga",), ("bina-marga", "pertamanan")]
    assert [update.suggested for update in refusals] == ["pertamanan", ""]
    assert [update.decided_by_person for update in refusals] == [False, False]


# Messages of the reporter.


def test_a_further_message_is_kept_under_its_own_number_too(folding: Folding) -> None:
    """The number that it was promised finds the report."""
    folding.fold(registered(), appended(by="more"))
    assert folding.report("more") == folding.report("1")
    assert folding.timeline() == ["register", "append"]


def test_an_answer_ends_the_question(folding: Folding) -> None:
    """By the reporter himself; the agency sees the status from before."""
    folding.fold(registered(), requested("accept"), requested("ask"), appended(by="answer", received_at=later(30)))
    assert folding.report().status == "in-progress"
    assert folding.timeline()[-2:] == ["append", "answer"]


def test_a_stranger_s_message_does_not_answer_the_question(folding: Folding) -> None:
    """It is appended, and the question stays open."""
    folding.fold(registered(), requested("ask"), appended(by="other", sender=BUNGA))
    assert folding.report().status == "unclear"


def test_belum_from_a_stranger_does_not_reopen(folding: Folding) -> None:
    """Only the same sender (or the access code) may: a forwarded mail must not give that right away."""
    folding.fold(registered(), requested("accept"), requested("finish"), requested("validate"))
    folding.fold(belum(sender=BUNGA))
    assert folding.report().status == "done"


def test_belum_in_time_reopens_and_later_does_not(folding: Folding) -> None:
    """Fourteen days after it was done; then the reporter is told to report again."""
    for name in ("1", "2"):
        folding.fold(registered(name), requested("accept", name), requested("finish", name), requested("validate", name))
    told = folding.fold(belum("1", "b1", received_at=later(10) + timedelta(days=14)))
    assert (told.kinds, folding.report("1").status) == (["reopened"], "waiting")
    told = folding.fold(belum("2", "b2", received_at=later(11) + timedelta(days=14)))
    assert (told.kinds, folding.report("2").status) == (["not-reopened"], "done")
    assert told.replies[0].values == {"number": number("2"), "status": "done", "too_late": "yes"}


def test_the_timeline_tells_why_a_report_was_rejected(folding: Folding) -> None:
    """The page shows it; the reporter is told the same."""
    folding.fold(registered())
    told = folding.fold(requested("reject", reason="bukan wilayah kota"))
    assert told.replies[0].values["note"] == "bukan wilayah kota"
    assert [row[-2] for row in folding.view()["tracker_timeline"] if "reject" in row] == ["bukan wilayah kota"]


@pytest.mark.parametrize(("emergency", "dated"), [("kebakaran", False), ("", True)])
def test_nobody_is_told_that_danger_will_be_seen_to_in_a_week(folding: Folding, emergency: str, dated: bool) -> None:
    """Neither when it is taken up nor when he asks."""
    folding.fold(registered(emergency=emergency))
    taken_up = folding.fold(requested("accept")).replies[0].values
    (status,) = folding.fold(asked()).replies
    assert (bool(taken_up.get("due")), bool(status.values.get("due"))) == (dated, dated)


def test_belum_answers_the_question_of_an_officer(folding: Folding) -> None:
    """As in: has anybody been there? Belum. He was told that the city still waits for him."""
    folding.fold(registered(), requested("ask"))
    told = folding.fold(belum())
    assert folding.report().status != "unclear"
    assert told.kinds == ["appended"]


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        pytest.param([], {"status": "waiting", "open": "yes"}, id="open"),
        pytest.param(["accept"], {"status": "in-progress", "open": "yes"}, id="in progress"),
        pytest.param(["reject"], {"status": "rejected"}, id="rejected"),
    ],
)
def test_belum_on_a_report_that_is_not_done_is_answered_with_its_status(folding: Folding, actions: list[str], said: dict[str, str]) -> None:
    """Noted as a message, answered once, where it came from, and nothing changes."""
    folding.fold(registered("2"), registered(), *(requested(action) for action in actions))
    before = folding.report().status
    told = folding.fold(belum(channel="email", conversation="mail-1"))
    (reply,) = told.replies
    assert (reply.kind, reply.values) == ("not-reopened", {"number": number(), **said})
    assert (reply.channel, reply.conversation) == ("email", "mail-1")
    assert folding.report().status == before


def test_belum_on_a_merged_report_is_asked_of_the_one_that_it_follows(folding: Folding) -> None:
    """Whether that can be reopened is decided in its own story; all of its reporters hear of it."""
    folding.fold(registered("1"), registered("2", sender=BUNGA), requested("merge", "2", other=number("1")))
    folding.fold(requested("accept"), requested("finish"), requested("validate"))
    told = folding.fold(belum("2", sender=BUNGA))
    assert [(reply.kind, reply.values) for reply in told.replies] == [("passed-on", {"number": number("2"), "other": number("1")})]
    (request,) = [event for event in told.all if isinstance(event, UpdateRequested)]
    assert [(emit.topic, emit.key) for emit in folding.emitted if emit.event is request] == [(topics.REPORTS, number("1"))]
    reopened = folding.fold(request)
    assert folding.report("1").status == "waiting"
    assert {(reply.kind, reply.number, reply.values.get("tell")) for reply in reopened.replies} == {
        ("reopened", number("1"), None),
        ("reopened", number("2"), "yes"),
    }
    assert folding.fold(request).all == []


def test_belum_is_passed_on_over_as_many_merges_as_there_were(folding: Folding) -> None:
    """3 into 2, then 2 into 1."""
    folding.fold(registered("1"), registered("2"), registered("3", sender=BUNGA))
    folding.fold(requested("merge", "3", other=number("2")), requested("merge", "2", other=number("1")))
    folding.fold(requested("accept"), requested("finish"), requested("validate"))
    told = folding.fold(belum("3", sender=BUNGA))
    assert [event.number for event in told.all if isinstance(event, UpdateRequested)] == [number("1")]


def test_reports_merged_in_a_circle_stop_nothing(folding: Folding) -> None:
    """Two officers at the same moment: neither can be reopened, and nothing goes round for ever."""
    folding.fold(registered("1"), registered("2"), requested("merge", "1", other=number("2")), requested("merge", "2", other=number("1")))
    told = folding.fold(belum("1"))
    assert [(reply.kind, reply.values["status"]) for reply in told.replies] == [("not-reopened", "merged")]


@pytest.mark.parametrize(
    ("actions", "sender", "later_by", "said"),
    [
        pytest.param([], BUNGA, timedelta(0), {"status": "waiting", "other": number("1"), "open": "yes"}, id="open"),
        pytest.param(["reject"], BUNGA, timedelta(0), {"status": "rejected", "other": number("1")}, id="rejected"),
        pytest.param(
            ["accept", "finish", "validate"], BUNGA, timedelta(days=15), {"status": "done", "other": number("1"), "too_late": "yes"},
            id="too late",
        ),
        pytest.param(["accept", "finish", "validate"], ADI, timedelta(0), {"status": "merged"}, id="a stranger"),
    ],
)  # fmt: skip
def test_belum_on_a_merged_report_that_reopens_nothing_is_answered_with_what_became_of_the_other(
    folding: Folding, actions: list[str], sender: str, later_by: timedelta, said: dict[str, str]
) -> None:
    """ "Passed on" without a further word would be no answer."""
    folding.fold(registered("1"), registered("2", sender=BUNGA), requested("merge", "2", other=number("1")))
    folding.fold(*(requested(action) for action in actions))
    told = folding.fold(belum("2", sender=sender, received_at=later(20) + later_by))
    assert [(reply.kind, reply.values) for reply in told.replies] == [("not-reopened", {"number": number("2")} | said)]
    assert not any(isinstance(event, UpdateRequested) for event in told.all)


# What the normalizer must know.


def test_the_normalizer_is_told_where_an_answer_means_something_else(folding: Folding) -> None:
    """When a question waits or the report is closed, and when that is over; of nothing else."""
    folding.fold(registered(), routed())
    steps = [
        ("accept", []), ("ask", ["unclear"]), ("answer", ["in-progress"]), ("finish", []), ("validate", ["done"]), ("reopen", ["waiting"]),
        ("reject", ["rejected"]),
    ]  # fmt: skip
    for action, statuses in steps:
        told = folding.fold(requested(action)).to_normalizer
        assert [each.status for each in told] == statuses, action
        assert {(each.number, each.conversation, each.told_at) for each in told} <= {(number(), registered().conversation, later(10))}
    emits = [emit for emit in folding.emitted if isinstance(emit.event, ReporterTold)]
    assert [(emit.topic, emit.key) for emit in emits] == [(topics.REPORTER_TOLD, registered().conversation)]


def test_the_normalizer_is_told_of_all_who_reported_the_same(folding: Folding) -> None:
    """They were told "done" too, each in his own conversation, and may answer."""
    folding.fold(registered("1"), registered("2", sender=BUNGA), requested("merge", "2", other=number("1")))
    folding.fold(requested("accept"), requested("finish"))
    for action, status in (("validate", "done"), ("reopen", "waiting")):
        told = folding.fold(requested(action)).to_normalizer
        assert {(each.number, each.conversation, each.status) for each in told} == {
            (number("1"), registered("1").conversation, status),
            (number("2"), registered("2", sender=BUNGA).conversation, status),
        }
        ids = [emit.event_id or emit.role for emit in folding.emitted]
        assert len(ids) == len(set(ids))


def test_the_normalizer_forgets_what_was_told_of_a_report_that_is_taken_apart_again(folding: Folding) -> None:
    """It is open, and was told to be done like the one that it followed."""
    folding.fold(registered("1"), registered("2"), registered("3"))
    folding.fold(requested("merge", "3", other=number("2")), requested("merge", "2", other=number("1")))
    folding.fold(requested("accept"), requested("finish"), requested("validate"))
    told = folding.fold(requested("unmerge", "2")).to_normalizer
    assert [(each.number, each.status) for each in told] == [(number("2"), "waiting"), (number("3"), "waiting")]


def test_belum_twice_reopens_once(folding: Folding) -> None:
    """The second finds an open report."""
    folding.fold(registered(), requested("accept"), requested("finish"), requested("validate"))
    told = folding.fold(belum(by="b1", received_at=later(20)), belum(by="b2", received_at=later(21)))
    assert told.kinds == ["reopened", "not-reopened"]


# Status questions.


def test_a_status_question_is_answered_where_it_was_asked(folding: Folding) -> None:
    """With status and agency; the expected date only while somebody works on it; the report does not change."""
    folding.fold(registered(), routed())
    before = folding.view()
    told = folding.fold(asked(channel="email", conversation="elsewhere", language="en"))
    (reply,) = told.replies
    assert (reply.channel, reply.conversation, reply.language) == ("email", "elsewhere", "en")
    assert (reply.kind, reply.values) == ("status", {"number": number(), "status": "waiting", "agency": "bina-marga"})
    assert folding.view() == before
    folding.fold(requested("accept"))
    assert folding.fold(asked()).replies[0].values["due"] == folding.report().due_at.isoformat()


def test_a_question_about_a_merged_report_names_the_other(folding: Folding) -> None:
    """What is done about it is told there."""
    folding.fold(registered("2"), registered(), requested("merge"))
    (reply,) = folding.fold(asked()).replies
    assert (reply.values["status"], reply.values["other"]) == ("waiting", number("2"))
    (mine,) = folding.fold(asked(mine=True)).replies
    assert (mine.kind, mine.values) == ("my-reports", {"reports": f"{number()}=waiting"})


def test_a_question_for_an_unknown_number_is_answered_at_once(folding: Folding) -> None:
    """And not parked."""
    told = folding.fold(asked("77"))
    assert (told.kinds, told.replies[0].values) == (["status-unknown"], {"number": number("77"), "recent": "yes"})
    assert not any(folding.view().values())


def test_only_the_reporter_gets_the_proof_that_lets_one_add_to_a_report(folding: Folding) -> None:
    """An answer about a number carries it (mail: in Reply-To); a stranger who heard of the number could speak for the reporter."""
    folding.fold(registered())
    assert [folding.fold(asked(proven=proven)).replies[0].number for proven in (False, True)] == ["", number()]


def test_a_question_for_the_number_of_a_further_message_is_answered(folding: Folding) -> None:
    """It is another name of the report."""
    folding.fold(registered(), appended(by="more"))
    assert folding.fold(asked("more")).kinds == ["status"]


def test_cek_alone_lists_at_most_three_open_reports_newest_first(folding: Folding) -> None:
    """Closed ones are passed over, unknown ones too."""
    folding.fold(*(registered(name) for name in "123456"), requested("reject", "2"), requested("accept", "3"))
    told = folding.fold(asked("2", "77", "1", "3", "4", "5", "6", mine=True))
    (reply,) = told.replies
    assert (reply.kind, reply.number) == ("my-reports", "")
    assert reply.values == {"reports": f"{number('1')}=waiting {number('3')}=in-progress {number('4')}=waiting"}


def test_cek_alone_without_an_open_report_says_so(folding: Folding) -> None:
    """Not with an empty list."""
    folding.fold(registered(), requested("reject"))
    assert folding.fold(asked("1", mine=True)).kinds == ["no-reports"]


# Merges.


def test_the_reporters_of_merged_reports_are_told_when_it_is_done(folding: Folding) -> None:
    """Each in his own conversation under his own number; who was taken apart again is not told."""
    folding.fold(registered("1"), registered("2", sender=BUNGA), registered("3"), registered("4"))
    folding.fold(*(requested("merge", name, other=number("1")) for name in "234"), requested("unmerge", "4"))
    folding.fold(requested("accept"), requested("finish"))
    told = folding.fold(requested("validate", note="Beres"))
    assert {(reply.kind, reply.number, reply.conversation) for reply in told.replies} == {
        ("done", number("1"), registered("1").conversation),
        ("done", number("2"), registered("2", sender=BUNGA).conversation),
        ("done", number("3"), registered("3").conversation),
    }
    assert len({reply.reply_id for reply in told.replies}) == 3


def test_reporters_merged_before_in_the_same_batch_are_told_too(folding: Folding) -> None:
    """Without a look into the database between."""
    told = folding.fold(
        registered("1"), registered("2"), requested("merge", "2", other=number("1")),
        requested("accept"), requested("finish"), requested("validate"),
    )  # fmt: skip
    assert [reply.number for reply in told.replies if reply.kind == "done"].count(number("2")) == 1


def test_reporters_of_a_report_that_is_merged_on_are_told_too(folding: Folding) -> None:
    """3 into 2, then 2 into 1: when 1 is done all three hear of it."""
    folding.fold(registered("1"), registered("2"), registered("3"))
    folding.fold(requested("merge", "3", other=number("2")), requested("merge", "2", other=number("1")))
    folding.fold(requested("accept"), requested("finish"))
    told = folding.fold(requested("validate"))
    assert {reply.number for reply in told.replies} == {number("1"), number("2"), number("3")}


# Bad events, parked events.


def test_a_second_report_under_the_same_number_is_refused(folding: Folding) -> None:
    """One in 10^9: a dead letter with a cause of its own, and the first report stays as it is."""
    folding.fold(registered())
    before = folding.view()
    with pytest.raises(InvalidEvent) as error:
        folding.fold(registered("1", message_id="another", text="lain"))
    assert error.value.reason == "number-collision"
    assert folding.view() == before


def test_a_report_under_the_other_name_of_another_is_refused(folding: Folding) -> None:
    """An alias is a number too: else the new report could never be found."""
    folding.fold(registered(), appended(by="2"))
    with pytest.raises(InvalidEvent) as error:
        folding.fold(registered("2"))
    assert error.value.reason == "number-collision"


def test_what_is_no_part_of_a_story_is_refused(folding: Folding) -> None:
    """It does not belong into `reports`."""
    with pytest.raises(InvalidEvent):
        folding.fold(updated())


EARLY = {
    "routed": routed(),
    "appended": appended(by="more", received_at=later(2)),
    "accepted": requested("accept", requested_at=later(3)),
    "asked": requested("ask", requested_at=later(4)),
}


@pytest.mark.parametrize("batches", ["one batch", "each its own", "registration apart"])
@pytest.mark.parametrize("order", list(itertools.permutations(EARLY)), ids=">".join)
def test_events_before_the_registration_give_the_same_tables_in_any_order(
    folding: Folding, tmp_path: Path, order: tuple[str, ...], batches: str
) -> None:
    """Parked, then folded by the time at which they were said, whichever came first and however they were batched."""
    early = [EARLY[name] for name in order]
    match batches:
        case "one batch":
            folding.fold(*early, registered())
        case "each its own":
            folding.one_by_one(*early, registered())
        case _:
            folding.fold(*early)
            folding.fold(registered())
    expected = Folding(tmp_path, "expected")
    expected.one_by_one(registered(), *EARLY.values())
    assert folding.view() == expected.view()
    expected.close()


def test_parked_events_of_one_second_keep_the_order_of_their_times(folding: Folding) -> None:
    """Machines are faster than seconds."""
    at = later(3)
    first = requested("ask", requested_at=at)
    second = requested("answer", requested_at=at + timedelta(milliseconds=400))
    for event, event_id in ((first, "z"), (second, "a")):
        folding.fold_inputs([folding.as_input(event, event_id)])
    folding.fold(registered())
    assert folding.timeline() == ["register", "ask", "answer"]


def test_the_same_action_id_twice_before_the_registration_has_one_effect(folding: Folding) -> None:
    """Parked under two event ids: the second gets the first answer."""
    first = requested("accept", action_id="action-1", requested_at=later(1))
    again = requested("reject", action_id="action-1", requested_at=later(2))
    folding.fold(first, again)
    told = folding.fold(registered())
    assert told.kinds == ["taken-up"]
    assert folding.report().status == "in-progress"


def test_a_parked_event_changes_nothing_and_says_nothing_until_then(folding: Folding) -> None:
    """Only the parking table holds it."""
    assert folding.fold(routed(), appended()).all == []
    view = folding.view()
    assert [name for name in TABLES if view[name]] == ["tracker_parked"]
    assert len(view["tracker_parked"]) == 2


def test_parked_merges_know_the_other_report(folding: Folding) -> None:
    """What a parked event names must be looked up when it is folded, not only when it came."""
    folding.fold(registered("2"))
    folding.fold(requested("merge", other=number("2")))
    folding.fold(registered())
    assert folding.report().merged_into == number("2")


# Privacy.


def test_no_reply_and_no_update_holds_the_text_of_the_report(folding: Folding) -> None:
    """Kinds and values only: what the citizen wrote stays in the tables."""
    told = folding.one_by_one(public("1", text="RAHASIA"), public("2", text="RAHASIA"), routed(), requested("accept"), appended(text="RAHASIA"),
                              requested("finish"), requested("validate"), asked())  # fmt: skip
    assert len(told.all) > 8
    assert "RAHASIA" not in repr(told.all)
    assert derive_id(ADI) not in repr(told.all)
