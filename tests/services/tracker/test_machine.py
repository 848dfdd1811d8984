"""The status table: every action in every status by every role, against a table written from the design, not from the code."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kanal_tracker.machine import ACTIONS, STAFF_ROLE, Refusal, Report, Rules, move

from kanal.events import UpdateRequested
from kanal.status import CLOSED, LABELS
from kanal.testing import NOON, jakarta, later, number

from .story import requested

STATUSES = ("waiting", "coordinating", "dispatched", "in-progress", "awaiting-validation", "follow-up-rejected", "done", "unclear",
            "rejected", "merged")  # fmt: skip
ROLES = ("agency", "dispatcher", "reporter", "clock", "rule")
OPEN = ("waiting", "coordinating", "dispatched", "in-progress", "awaiting-validation", "follow-up-rejected", "unclear")
BEFORE = "dispatched"
"""The status that the reports of these tests had before a question or a merge."""

# action: (from, to, who). Source: design, "Status", row by row. A second question at a time is not allowed ("one question").
TABLE: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "accept": (("waiting", "coordinating", "dispatched", "follow-up-rejected"), "in-progress", ("agency",)),
    "refuse": (("waiting", "coordinating", "dispatched"), "coordinating", ("agency",)),
    "assign": (OPEN, "coordinating", ("dispatcher",)),
    "delegate": (("waiting", "coordinating", "dispatched", "in-progress"), "dispatched", ("agency",)),
    "ask": (tuple(status for status in OPEN if status != "unclear"), "unclear", ("agency", "dispatcher")),
    "answer": (("unclear",), BEFORE, ("reporter", "clock")),
    "progress": (("in-progress",), "in-progress", ("agency",)),
    "finish": (("in-progress",), "awaiting-validation", ("agency",)),
    "validate": (("awaiting-validation",), "done", ("dispatcher",)),
    "return": (("awaiting-validation",), "follow-up-rejected", ("dispatcher",)),
    "reject": (OPEN, "rejected", ("dispatcher",)),
    "merge": (OPEN, "merged", ("dispatcher", "rule")),
    "unmerge": (("merged",), BEFORE, ("dispatcher", "rule")),
    "reopen": (("done",), "waiting", ("reporter",)),
}
PARENTS = {agency.code: agency.parent for agency in jakarta().agencies.values()}


def a_report(status: str = "waiting", name: str = "1", **changes: Any) -> Report:
    values: dict[str, Any] = {
        "number": number(name), "channel": "sms", "conversation": "c", "sender_key": "s", "language": "id", "visibility": "private",
        "received_at": NOON, "text": "gelap", "category": "street-light", "area": "", "status": status, "agency": "bina-marga",
        "version": 7, "due_at": NOON + timedelta(days=7),
    }  # fmt: skip
    if status in ("unclear", "merged"):
        values["status_before"] = BEFORE
    if status == "unclear":
        values["asked_at"] = NOON
    if status == "merged":
        values["merged_into"] = number("2")
    if status == "done":
        values["done_at"] = NOON
    return Report(**values | changes)


def rules(*reports: Report) -> Rules:
    return Rules(14, PARENTS)


def moved(report: Report, action: str, **changes: Any) -> Report:
    result = move(report, requested(action, **changes), rules(report))
    assert isinstance(result, Report), result
    return result


def refused(report: Report, action: str, **changes: Any) -> str:
    result = move(report, requested(action, **changes), rules(report))
    assert isinstance(result, Refusal), result
    assert result.message
    return result.rule


def test_the_statuses_and_actions_are_those_of_the_design() -> None:
    """No more, no fewer."""
    assert set(LABELS) == set(STATUSES)
    assert frozenset(STATUSES) - frozenset(OPEN) == CLOSED
    assert set(ACTIONS) == set(TABLE)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", TABLE)
def test_an_action_does_what_the_table_says_and_nothing_else(action: str, status: str, role: str) -> None:
    """The allowed move with its status and one version more; everything else is refused by a rule with a name."""
    from_, to, who = TABLE[action]
    result = move(a_report(status), requested(action, by_role=role), rules())
    if status in from_ and role in who:
        assert isinstance(result, Report), result
        assert (result.status, result.version) == (to, 8)
    else:
        assert isinstance(result, Refusal)
        assert result.rule in ("wrong-status", "wrong-role", "already-asked")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("status", STATUSES)
def test_an_action_that_does_not_exist_is_refused(status: str, role: str) -> None:
    """In every status, by every role."""
    assert refused(a_report(status), "vanish", by_role=role) == "unknown-action"


@pytest.mark.parametrize("role", ["", "citizen", "AGENCY"])
def test_an_unknown_role_may_do_nothing(role: str) -> None:
    """Not even ask."""
    for action in TABLE:
        assert refused(a_report(TABLE[action][0][0]), action, by_role=role) == "wrong-role"


NEEDS = [
    ("refuse", {"reason": ""}, "reason-needed"),
    ("refuse", {"reason": "  "}, "reason-needed"),
    ("refuse", {"agency": "nobody"}, "agency-unknown"),
    ("assign", {"agency": ""}, "agency-unknown"),
    ("assign", {"agency": "nobody"}, "agency-unknown"),
    ("delegate", {"agency": ""}, "agency-unknown"),
    ("delegate", {"agency": "nobody"}, "agency-unknown"),
    ("delegate", {"agency": "pertamanan"}, "not-below"),
    ("delegate", {"agency": "bina-marga"}, "not-below"),
    ("ask", {"note": ""}, "note-needed"),
    ("progress", {"note": " \n"}, "note-needed"),
    ("finish", {"note": ""}, "note-needed"),
    ("finish", {"reason": ""}, "photo-or-reason-needed"),
    ("return", {"reason": ""}, "reason-needed"),
    ("reject", {"reason": ""}, "reason-needed"),
    ("merge", {"other": ""}, "other-unknown"),
    ("merge", {"other": number("1")}, "other-unknown"),
]


@pytest.mark.parametrize(("action", "missing", "rule"), NEEDS, ids=[f"{n[0]} {n[1]}" for n in NEEDS])
def test_an_action_without_what_it_needs_is_refused(action: str, missing: dict[str, str], rule: str) -> None:
    """With the name of what is missing."""
    assert refused(a_report(TABLE[action][0][-1] if action != "ask" else "waiting"), action, **missing) == rule


def test_a_stale_version_is_refused_before_anything_else() -> None:
    """Who decided on an older state looks again, whatever he asks for; without a version (clocks) it is not asked."""
    for version in (6, 8, 0):
        assert refused(a_report(), "accept", version=version) == "stale-version"
        assert refused(a_report("done"), "nonsense", version=version) == "stale-version"
    assert moved(a_report(), "accept", version=7).version == 8
    assert moved(a_report(), "accept", version=None).version == 8


def test_nobody_validates_his_own_work() -> None:
    """Who finished it, even when he is a dispatcher too."""
    finished = moved(a_report("in-progress"), "finish", by="rina")
    assert refused(finished, "validate", by="rina") == "own-work"
    assert moved(finished, "validate", by="sari").status == "done"


def test_own_work_is_judged_by_the_newest_finish() -> None:
    """After a return somebody else may have done it."""
    first = moved(a_report("in-progress"), "finish", by="rina")
    again = moved(moved(moved(first, "return", by="sari"), "accept", by="doni"), "finish", by="doni")
    assert refused(again, "validate", by="doni") == "own-work"
    assert moved(again, "validate", by="rina").status == "done"


def test_after_a_reopening_the_old_work_does_not_count() -> None:
    """It has to be finished anew before anybody can validate."""
    done = moved(moved(a_report("in-progress"), "finish", by="rina"), "validate", by="sari")
    assert moved(done, "reopen").finished_by == ""


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_work_is_delegated_to_any_unit_below(depth: int) -> None:
    """A unit, its unit, and so on; upwards and sideways never."""
    parents = {"top": "", "a1": "top", "a2": "a1", "a3": "a2", "b1": "top"}
    report = a_report(agency="top")
    below = Rules(14, parents)
    result = move(report, requested("delegate", agency=f"a{depth}"), below)
    assert isinstance(result, Report)
    assert (result.agency, result.status, result.decided_by_person) == (f"a{depth}", "dispatched", True)
    for agency, unit in (("a1", "top"), ("a1", "b1"), ("a2", "a1"), ("", "a1"), ("", "top")):
        assert isinstance(move(a_report(agency=agency), requested("delegate", agency=unit), below), Refusal)


def test_a_circle_of_agencies_does_not_hang() -> None:
    """A mistake in a pack must not stop the stage."""
    assert isinstance(move(a_report(), requested("delegate", agency="x"), Rules(14, {"x": "y", "y": "x"})), Refusal)


def test_taking_a_merge_apart_forgets_the_other() -> None:
    """And the report is where it was."""
    merged = moved(a_report("in-progress"), "merge")
    assert merged.merged_into == number("2")
    apart = moved(merged, "unmerge")
    assert (apart.status, apart.merged_into) == ("in-progress", "")


@pytest.mark.parametrize(("days", "taken"), [(0, True), (13.99, True), (14, True), (14.0001, False), (400, False)])
def test_reopening_is_possible_for_fourteen_days(days: float, taken: bool) -> None:
    """To the second; afterwards it needs a new report."""
    at = NOON + timedelta(days=days)
    if taken:
        reopened = moved(a_report("done"), "reopen", requested_at=at)
        assert (reopened.status, reopened.done_at) == ("waiting", None)
    else:
        assert refused(a_report("done"), "reopen", requested_at=at) == "too-late"


@pytest.mark.parametrize("status", [status for status in OPEN if status != "unclear"])
@pytest.mark.parametrize("role", ["reporter", "clock"])
def test_an_answer_brings_back_the_status_before(status: str, role: str) -> None:
    """Whatever it was."""
    assert moved(moved(a_report(status), "ask"), "answer", by_role=role).status == status


def test_the_clock_pauses_while_a_question_is_open() -> None:
    """The time that the reporter takes is not the agency's; a second question pauses it again."""
    report = a_report("in-progress", due_at=later(1_000))
    once = moved(moved(report, "ask", requested_at=later(100)), "answer", requested_at=later(400))
    assert (once.due_at, once.asked_at) == (later(1_300), None)
    twice = moved(moved(once, "ask", requested_at=later(500)), "answer", requested_at=later(501))
    assert twice.due_at == later(1_301)


@pytest.mark.parametrize("action", ["assign", "reject", "merge"])
def test_the_clock_goes_on_however_a_question_ends(action: str) -> None:
    """Assigned anew, rejected or merged: the question is no longer open and no answer is waited for."""
    ended = moved(moved(a_report(due_at=later(1_000)), "ask", requested_at=later(100)), action, requested_at=later(160))
    assert (ended.asked_at, ended.due_at) == (None, later(1_060))


def test_an_answer_from_before_the_question_does_not_shorten_the_time() -> None:
    """Clocks of machines differ."""
    report = moved(a_report(due_at=later(1_000)), "ask", requested_at=later(100))
    assert moved(report, "answer", requested_at=later(90)).due_at == later(1_000)


def test_a_merge_during_a_question_comes_back_to_the_work() -> None:
    """Never to the question, which nobody would answer."""
    merged = moved(moved(a_report("in-progress"), "ask"), "merge")
    assert moved(merged, "unmerge").status == "in-progress"


def test_an_agency_may_name_another_finish_date_when_it_accepts() -> None:
    """Otherwise the rule's stays."""
    assert moved(a_report(), "accept", finish_at=later(50)).due_at == later(50)
    assert moved(a_report(), "accept").due_at == a_report().due_at


def test_refusals_are_remembered_in_their_order() -> None:
    """The router asks the next; the third goes to the dispatcher."""
    report = a_report()
    for agency in ("bina-marga", "pertamanan", "satpol-pp"):
        report = moved(a_report(agency=agency, refused_by=report.refused_by), "refuse")
    assert report.refused_by == ("bina-marga", "pertamanan", "satpol-pp")


def test_an_assignment_by_a_dispatcher_is_a_person_s_decision() -> None:
    """And takes the report off the dispatcher's list."""
    assigned = moved(a_report(to_dispatcher=True), "assign")
    assert (assigned.agency, assigned.decided_by_person, assigned.to_dispatcher) == ("pertamanan", True, False)


def test_staff_act_only_in_roles_of_staff() -> None:
    """The token never gives a reporter's or a clock's power."""
    assert set(STAFF_ROLE) == set(TABLE) - {"answer", "reopen"}
    assert set(STAFF_ROLE.values()) == {"agency", "dispatcher"}


REQUESTS = st.builds(
    requested,
    st.sampled_from([*TABLE, "vanish"]),
    by_role=st.sampled_from(ROLES),
    by=st.sampled_from(["rina", "sari"]),
    version=st.sampled_from([None, None, None, 1, 2, 3]),
    agency=st.sampled_from(["bina-marga", "bina-marga-peralatan", "pertamanan", "nobody", ""]),
    note=st.sampled_from(["note", ""]),
    reason=st.sampled_from(["reason", ""]),
    other=st.sampled_from([number("2"), number("1"), ""]),
    requested_at=st.integers(0, 60 * 24 * 40).map(later),
)


@settings(max_examples=200)
@given(st.lists(REQUESTS, max_size=30))
def test_no_sequence_of_actions_leaves_the_table(requests: list[UpdateRequested]) -> None:
    """Known statuses only, one version per accepted action, and a closed report moves by reopen or unmerge only."""
    report = a_report(version=1)
    for request in requests:
        after = move(report, request, rules(report))
        if isinstance(after, Refusal):
            assert after.rule
            continue
        assert after.status in STATUSES
        assert after.version == report.version + 1
        assert (report.status in CLOSED) <= (request.action in ("reopen", "unmerge"))
        assert (after.status == "unclear") == (after.asked_at is not None)
        assert (after.status == "merged") == bool(after.merged_into)
        assert after.due_at >= report.due_at
        assert after.status not in CLOSED or request.action in ("validate", "reject", "merge")
        report = after
