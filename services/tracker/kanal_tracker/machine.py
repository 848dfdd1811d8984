"""The status table as a pure state machine: which action is allowed when, by whom, with what. Everything else is refused.

Source: the table of statuses and actions in docs/reference/statuses.md, after Jakarta's CRM.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from kanal.events import UpdateRequested
from kanal.status import CLOSED, LABELS

ALL = frozenset(LABELS)
OPEN = ALL - CLOSED
BEFORE_WORK = frozenset({"waiting", "coordinating", "dispatched"})
BACK = "(the status before)"
SAME = "(unchanged)"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one report, folded from its story."""

    number: str
    channel: str
    conversation: str
    sender_key: str
    language: str
    visibility: str
    received_at: datetime
    text: str
    category: str
    area: str
    status: str = "waiting"
    status_before: str = ""
    agency: str = ""
    version: int = 1
    entries: int = 0
    """Lines in the timeline."""
    due_at: datetime
    asked_at: datetime | None = None
    """Since when the clock pauses for the reporter's answer."""
    done_at: datetime | None = None
    decided_by_person: bool = False
    to_dispatcher: bool = False
    refused_by: tuple[str, ...] = ()
    finished_by: str = ""
    result: str = ""
    """What the agency said when it finished; told to the reporter when that is accepted."""
    merged_into: str = ""
    emergency: bool = False
    partition: int = 0


class Refusal(NamedTuple):
    """Why an action is not done: the rule's name, and a sentence for who asked."""

    rule: str
    message: str


class Rules(NamedTuple):
    """What the table needs from outside."""

    reopen_days: int
    parents: Mapping[str, str]
    """Agency → the agency above it."""


class Action(NamedTuple):
    """A row of the status table."""

    from_: frozenset[str]
    to: str
    roles: frozenset[str]
    check: Callable[[Report, UpdateRequested, Rules], Refusal | None]
    effect: Callable[[Report, UpdateRequested], Report]


def move(report: Report, request: UpdateRequested, rules: Rules) -> Report | Refusal:
    """The report after `request`, with its version one higher, or the rule that refuses it."""
    if request.version is not None and request.version != report.version:
        return Refusal("stale-version", f"the report is at version {report.version}, not {request.version}: look again")
    action = ACTIONS.get(request.action)
    if action is None:
        return Refusal("unknown-action", f"there is no action {request.action!r}; there are {', '.join(ACTIONS)}")
    if request.by_role not in action.roles:
        return Refusal("wrong-role", f"{request.action} is for {' or '.join(sorted(action.roles))}, not for {request.by_role}")
    if report.status not in action.from_:
        return Refusal("wrong-status", f"{request.action} is not possible while the report is {report.status}")
    if (refusal := action.check(report, request, rules)) is not None:
        return refusal
    after = action.effect(report, request)
    status = {BACK: report.status_before or "waiting", SAME: report.status}.get(action.to, action.to)
    # A question or a merge is left behind for the status that the work was in, never for one another.
    before = report.status_before if report.status in ("unclear", "merged") else report.status
    after = msgspec.structs.replace(after, status=status, status_before=before, version=report.version + 1)
    return _clock_goes_on(after, request.requested_at) if status != "unclear" else after


def _clock_goes_on(report: Report, at: datetime) -> Report:
    """The time that the reporter took to answer is not the agency's."""
    if report.asked_at is None:
        return report
    paused = max(at - report.asked_at, timedelta(0))
    return msgspec.structs.replace(report, asked_at=None, due_at=report.due_at + paused)


def _needs(*fields: str) -> Callable[[Report, UpdateRequested, Rules], Refusal | None]:
    def check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
        for field in fields:
            if not getattr(request, field).strip():
                return Refusal(f"{field}-needed", f"{request.action} needs a {field}")
        return None

    return check


def _nothing_needed(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    return None


def _assign_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if request.agency not in rules.parents:
        return Refusal("agency-unknown", "assign needs the code of an agency of the pack")
    return None


def _refuse_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if request.agency and request.agency not in rules.parents:
        return Refusal("agency-unknown", "the suggested agency is not in the pack")
    return _needs("reason")(report, request, rules)


def _delegate_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    unit = request.agency
    if unit not in rules.parents:
        return Refusal("agency-unknown", "delegate needs the code of a unit of the pack")
    above = rules.parents[unit]
    for _ in range(len(rules.parents)):
        if above in ("", report.agency):
            break
        above = rules.parents.get(above, "")
    return None if above == report.agency != "" else Refusal("not-below", f"{unit} is not a unit below {report.agency}")


def _ask_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if report.status == "unclear":
        return Refusal("already-asked", "a question is open already: wait for its answer")
    return _needs("note")(report, request, rules)


def _finish_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if (refusal := _needs("note")(report, request, rules)) is not None:
        return refusal
    if not request.reason.strip():
        return Refusal("photo-or-reason-needed", "finish needs a photo of the result, or a reason why there is none")
    return None


def _validate_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if report.finished_by and request.by == report.finished_by:
        return Refusal("own-work", "who reported the work as done cannot validate it")
    return None


def _merge_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    # Whether the other report exists is looked up before it is asked for: a fold must depend on its own report's story only,
    # since a replay reads the partitions in another order.
    if not request.other or request.other == report.number:
        return Refusal("other-unknown", "merge needs the number of another report")
    return None


def _reopen_check(report: Report, request: UpdateRequested, rules: Rules) -> Refusal | None:
    if report.done_at is not None and request.requested_at - report.done_at > timedelta(days=rules.reopen_days):
        return Refusal("too-late", f"a report can be reopened within {rules.reopen_days} days")
    return None


def _no_effect(report: Report, request: UpdateRequested) -> Report:
    return report


def _accepted(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, due_at=request.finish_at or report.due_at)


def _refused(report: Report, request: UpdateRequested) -> Report:
    # Rules leave alone what a person decided: refused after that, it must come back to a person.
    return msgspec.structs.replace(report, refused_by=(*report.refused_by, report.agency), to_dispatcher=report.decided_by_person)


def _assigned(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, agency=request.agency, decided_by_person=True, to_dispatcher=False)


def _delegated(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, agency=request.agency, decided_by_person=True)


def _asked(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, asked_at=request.requested_at)


def _finished(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, finished_by=request.by, result=request.note)


def _done(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, done_at=request.requested_at)


def _merged(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, merged_into=request.other)


def _unmerged(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, merged_into="")


def _reopened(report: Report, request: UpdateRequested) -> Report:
    return msgspec.structs.replace(report, done_at=None, finished_by="", result="")


_AGENCY, _DISPATCHER, _REPORTER = frozenset({"agency"}), frozenset({"dispatcher"}), frozenset({"reporter"})

ACTIONS: Mapping[str, Action] = {
    "accept": Action(BEFORE_WORK | {"follow-up-rejected"}, "in-progress", _AGENCY, _nothing_needed, _accepted),
    "refuse": Action(BEFORE_WORK, "coordinating", _AGENCY, _refuse_check, _refused),
    "assign": Action(OPEN, "coordinating", _DISPATCHER, _assign_check, _assigned),
    "delegate": Action(BEFORE_WORK | {"in-progress"}, "dispatched", _AGENCY, _delegate_check, _delegated),
    "ask": Action(OPEN, "unclear", _AGENCY | _DISPATCHER, _ask_check, _asked),
    "answer": Action(frozenset({"unclear"}), BACK, _REPORTER | {"clock"}, _nothing_needed, _no_effect),
    "progress": Action(frozenset({"in-progress"}), SAME, _AGENCY, _needs("note"), _no_effect),
    "finish": Action(frozenset({"in-progress"}), "awaiting-validation", _AGENCY, _finish_check, _finished),
    "validate": Action(frozenset({"awaiting-validation"}), "done", _DISPATCHER, _validate_check, _done),
    "return": Action(frozenset({"awaiting-validation"}), "follow-up-rejected", _DISPATCHER, _needs("reason"), _no_effect),
    "reject": Action(OPEN, "rejected", _DISPATCHER, _needs("reason"), _no_effect),
    "merge": Action(OPEN, "merged", _DISPATCHER | {"rule"}, _merge_check, _merged),
    "unmerge": Action(frozenset({"merged"}), BACK, _DISPATCHER | {"rule"}, _nothing_needed, _unmerged),
    "reopen": Action(frozenset({"done"}), "waiting", _REPORTER, _reopen_check, _reopened),
}

STAFF_ROLE: Mapping[str, str] = {
    name: "agency" if "agency" in action.roles else "dispatcher"
    for name, action in ACTIONS.items()
    if action.roles & (_AGENCY | _DISPATCHER)
}
"""Which role the holder of the staff token acts in; there are no accounts yet."""
