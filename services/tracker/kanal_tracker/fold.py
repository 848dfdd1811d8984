"""Folding the story of a report: each event of `reports` → changes of the view, `report-updated`, and what the citizen hears. Pure."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec

from kanal import topics
from kanal.errors import InvalidEvent
from kanal.events import (
    DeadLetter,
    Event,
    ReplyRequested,
    ReportAppended,
    ReporterTold,
    ReportRegistered,
    ReportRouted,
    ReportUpdated,
    StatusAsked,
    UpdateRequested,
    decode,
    encode,
    event_type,
)
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.pack import Pack
from kanal.stage import Decision, Emit, Input
from kanal.status import CLOSED, TOLD
from kanal_tracker.machine import Refusal, Report, Rules, move
from kanal_tracker.tables import Alias, Answer, Change, Entry, Message, ParkedEvent, State, Unparked

NOTICES = {"accept": "taken-up", "ask": "question", "validate": "done", "reject": "rejected", "merge": "merged", "reopen": "reopened"}
"""What the reporter hears of an action that took effect; of the others nothing."""

MY_REPORTS = 3
GIVE_UP_PARKED = "give-up-parked"
"""What the clock asks for when events have waited too long for their report; no action of people."""

PARKED_HOURS = 24
Story = ReportRegistered | ReportAppended | ReportRouted | StatusAsked | UpdateRequested


class Folded(NamedTuple):
    """One event folded."""

    events: list[Emit]
    changes: list[Change]
    outcome: str


def fold(message: Input, state: State, pack: Pack) -> Decision:
    """What one event of a report's story does."""
    event = message.event
    if not isinstance(event, Story):
        raise InvalidEvent("not a part of a report's story", reason="unexpected-event")
    if isinstance(event, ReportRegistered):
        return _register_and_unpark(event, message, state, pack)
    if isinstance(event, StatusAsked):
        return Decision([_answer_status(event, message, state)], outcome="status-answered")
    report = state.reports.get(event.number)
    if isinstance(event, UpdateRequested) and event.action == GIVE_UP_PARKED:
        return _give_up_parked(event, message, state) if report is None else Decision(outcome="nothing-parked")
    if report is None:  # not applied yet: it will be, together with the registration
        return Decision(changes=[_park(event, message)], outcome="parked", applied=())
    return Decision(*_fold_into(report, event, message, state, pack))


def clock_gives_up(number: str, timer: Input) -> Decision:
    """Events have waited too long for a report: said in its story, so that a replay gives up the same ones."""
    action_id = derive_id("clock", "give-up", number, str(timer.at))
    request = UpdateRequested(number=number, action_id=action_id, action=GIVE_UP_PARKED, by_role="clock", requested_at=timer.at)
    return Decision([Emit(topics.REPORTS, number, request, "give-up", action_id)], outcome="clock-asked")


def _give_up_parked(request: UpdateRequested, message: Input, state: State) -> Decision:
    old = [parked for parked in state.parked.get(request.number, ()) if parked.at < request.requested_at - timedelta(hours=PARKED_HOURS)]
    events = [_dead_letter_of(parked, message) for parked in old]
    return Decision(events, [Unparked(parked.event_id) for parked in old], "gave-up")


def _dead_letter_of(parked: ParkedEvent, message: Input) -> Emit:
    """It was never applied: redriven after the registration it has its effect."""
    headers = {"ce_id": parked.event_id, "ce_type": parked.ce_type, "ce_time": parked.at.isoformat(), "content-type": "application/json"}
    letter = DeadLetter(
        stage="tracker", topic=parked.topic, partition=parked.partition, offset=parked.offset, key=parked.number,
        value=base64.b64encode(parked.value.encode()).decode(), headers=headers, cause="number-unknown", died_at=message.at,
    )  # fmt: skip
    return Emit(topics.DEAD_LETTER, parked.number, letter, "parked-too-long", derive_id("tracker", "parked", parked.event_id))


def clock_answers(report: Report, timer: Input) -> Decision:
    """No answer in time: the report goes back to where it was, asked for like any other change so that a replay has it too."""
    action_id = derive_id("clock", "answer", report.number, str(report.asked_at))
    request = UpdateRequested(
        number=report.number, action_id=action_id, action="answer", by_role="clock", requested_at=timer.at, reason="no-answer"
    )
    return Decision([Emit(topics.REPORTS, report.number, request, "answer", action_id)], outcome="clock-asked")


def _fold_into(report: Report, event: Story, message: Input, state: State, pack: Pack) -> Folded:
    match event:
        case ReportRouted():
            return _routed(report, event, message)
        case ReportAppended():
            return _appended(report, event, message, state, pack)
        case UpdateRequested():
            return _requested(report, event, message, state, pack)
    raise AssertionError("registered and asked are handled before")


# Registered.


def _register_and_unpark(event: ReportRegistered, message: Input, state: State, pack: Pack) -> Decision:
    if event.number in state.reports or event.number in state.aliases:
        raise InvalidEvent("two reports have the same number", reason="number-collision")
    report = _new_report(event, message.place, pack)
    done = _changed(report, "register", message, by_role="reporter")
    entry_of_message: Change = Message(event.number, event.message_id, event.received_at.isoformat(), event.channel, event.text)
    names = [Alias(alias, event.number) for alias in event.aliases]
    registered = Decision(done.events, [*done.changes, entry_of_message, *names], "registered", [message.event_id])
    waiting = state.parked.get(event.number)
    return _unpark(registered, event.number, waiting, state.copy(), pack) if waiting else registered


def _unpark(registered: Decision, number: str, waiting: Sequence[ParkedEvent], later: State, pack: Pack) -> Decision:
    """Fold what came before its registration. By their times, so that it does not matter how they were batched; ids break ties."""
    events, changes, applied = list(registered.events), list(registered.changes), list(registered.applied or ())
    for parked in sorted(waiting, key=lambda parked: (parked.at, parked.event_id)):
        folded = _fold_parked(_last_report(changes, number), parked, later, pack)
        for change in folded.changes:
            later.apply(change)
        events += folded.events
        changes += [*folded.changes, Unparked(parked.event_id)]
        applied.append(parked.event_id)
    return registered._replace(events=events, changes=changes, applied=applied)


def _fold_parked(report: Report, parked: ParkedEvent, state: State, pack: Pack) -> Folded:
    event = decode(parked.ce_type, parked.value.encode())
    assert isinstance(event, ReportAppended | ReportRouted | UpdateRequested)
    place = Place(parked.topic, parked.partition)
    message = Input(event=event, event_id=parked.event_id, at=parked.at, place=place, offset=parked.offset, trace=parked.trace)
    return _fold_into(report, event, message, state, pack)


def _last_report(changes: list[Change], number: str) -> Report:
    return next(change for change in reversed(changes) if isinstance(change, Report) and change.number == number)


def _new_report(event: ReportRegistered, place: Place, pack: Pack) -> Report:
    hours = pack.categories[event.category].due_hours if event.category in pack.categories else pack.due_hours
    return Report(
        number=event.number, channel=event.channel, conversation=event.conversation, sender_key=event.sender_key,
        language=event.language, visibility=event.visibility, received_at=event.received_at, text=event.text,
        category=event.category, area=event.area, version=0, due_at=event.due_at or event.received_at + timedelta(hours=hours),
        emergency=bool(event.emergency), partition=place.partition,
    )  # fmt: skip


def _park(event: ReportAppended | ReportRouted | UpdateRequested, message: Input) -> ParkedEvent:
    return ParkedEvent(
        message.event_id, event.number, int(message.at.timestamp()), message.at, message.place.topic, message.place.partition,
        message.offset, message.trace, event_type(type(event)), encode(event).decode(),
    )  # fmt: skip


# Routed, appended.


def _routed(report: Report, event: ReportRouted, message: Input) -> Folded:
    if report.decided_by_person:
        return Folded([], [], "person-decided")
    after = msgspec.structs.replace(report, agency=event.agency, to_dispatcher=event.to_dispatcher)
    return Folded(*_changed(after, "route", message, by_role="rule", reason=event.row), "routed")


def _appended(report: Report, event: ReportAppended, message: Input, state: State, pack: Pack) -> Folded:
    if event.duplicate:
        return Folded([], [Alias(event.alias, report.number)], "alias")
    noted = _changed(report, "append", message, by_role="reporter")
    changes: list[Change] = list(noted.changes)
    changes.append(Message(report.number, event.message_id, event.received_at.isoformat(), event.channel, event.text))
    if event.alias and event.alias != report.number:
        changes.append(Alias(event.alias, report.number))
    current = _last_report(changes, report.number)
    if event.not_fixed:
        then = _not_fixed(current, event, message, state, pack)
    elif current.status == "unclear" and event.sender_key == report.sender_key:
        then = _requested(current, _request_of_reporter("answer", current.number, event, message), message, state, pack)
    else:
        then = Folded([], [], "appended")
    return Folded([*noted.events, *then.events], [*changes, *then.changes], then.outcome)


def _not_fixed(report: Report, event: ReportAppended, message: Input, state: State, pack: Pack) -> Folded:
    own = event.sender_key == report.sender_key
    if report.status == "unclear" and own:  # "Belum" answers "has anybody been there?"
        answered = _requested(report, _request_of_reporter("answer", report.number, event, message), message, state, pack)
        values = {"number": report.number}
        told = _reply("appended", values, report.number, event.channel, event.conversation, event.language, message)
        return Folded([*answered.events, told], answered.changes, answered.outcome)
    followed = _followed(report, state) if own else report
    if own:
        request = _request_of_reporter("reopen", followed.number, event, message)
        if isinstance(move(followed, request, _rules(pack)), Report):
            if followed is report:
                return _requested(report, request, message, state, pack)
            return _passed_on(report, request, event, message)
    values = {"number": report.number, "status": followed.status}
    values |= {"other": followed.number} if followed is not report else {}
    values |= {"too_late": "yes"} if followed.status == "done" and own else {}
    values |= {} if followed.status in CLOSED else {"open": "yes"}
    answer = _reply("not-reopened", values, report.number, event.channel, event.conversation, event.language, message)
    return Folded([answer], [], "not-reopened")


def _followed(report: Report, state: State) -> Report:
    """The report that this one was merged into, over as many merges as there were; itself when they go in a circle or are not known."""
    passed, main = {report.number}, report
    while main.merged_into:
        ahead = state.reports.get(main.merged_into)
        if ahead is None or ahead.number in passed:
            return report
        passed.add(ahead.number)
        main = ahead
    return main


def _passed_on(report: Report, request: UpdateRequested, event: ReportAppended, message: Input) -> Folded:
    """The problem is followed in another report. Its own story has to say that it is open again, for a replay reads that alone."""
    request = msgspec.structs.replace(request, other=report.number)
    values = {"number": report.number, "other": request.number}
    told = _reply("passed-on", values, report.number, event.channel, event.conversation, event.language, message)
    return Folded([Emit(topics.REPORTS, request.number, request, "reopen", request.action_id), told], [], "passed-on")


def _request_of_reporter(action: str, number: str, event: ReportAppended, message: Input) -> UpdateRequested:
    """An action that a message of the reporter stands for."""
    action_id = derive_id("reporter", message.event_id, action)
    return UpdateRequested(number=number, action_id=action_id, action=action, by_role="reporter", requested_at=event.received_at)


# Requested by people and clocks.


def _requested(report: Report, request: UpdateRequested, message: Input, state: State, pack: Pack) -> Folded:
    if request.action_id in state.answers:
        return Folded([], [], "repeated-action")
    result = move(report, request, _rules(pack))
    if isinstance(result, Refusal):
        answer = Answer(request.action_id, report.number, False, result.rule, result.message, report.version)
        refused = _updated(report, request.action, message, request, rule=result.rule)
        return Folded([Emit(topics.REPORT_UPDATED, report.number, refused, f"updated-{request.action}")], [answer], "refused")
    done = _changed(result, request.action, message, request=request, by_role=request.by_role, reason=request.reason)
    answer = Answer(request.action_id, report.number, True, "", "", result.version)
    said = [*_notices(result, request, message, state), *_for_normalizer(report, result, request, state)]
    return Folded([*done.events, *said], [*done.changes, answer], request.action)


def _rules(pack: Pack) -> Rules:
    return Rules(pack.reopen_days, {agency.code: agency.parent for agency in pack.agencies.values()})


def _notices(report: Report, request: UpdateRequested, message: Input, state: State) -> list[Emit]:
    kind = NOTICES.get(request.action)
    if kind is None:
        return []
    told = [report, *_reported_too(report, state)] if kind in ("done", "rejected", "reopened") else [report]
    return [_notice(kind, each, report, request, message) for each in told]


def _reported_too(report: Report, state: State) -> list[Report]:
    """Reports of the same problem: whoever sent one hears under his own number that it is closed, or open again."""
    return [state.reports[number] for number in sorted(state.merged_into(report.number) - {report.number})]


def _for_normalizer(before: Report, after: Report, request: UpdateRequested, state: State) -> list[Emit]:
    """It could not tell an answer from a new report. Taken apart again, a report is no longer what was told of the one that it followed."""
    statuses = {before.status, after.status}
    if len(statuses) == 1 or (statuses.isdisjoint(TOLD) and before.status != "merged"):
        return []
    # A question is asked of one reporter; of what is closed, or open again, all who reported the same were told.
    told = [after, *_reported_too(after, state)] if statuses & CLOSED else [after]
    return [
        Emit(
            topics.REPORTER_TOLD,
            each.conversation,
            ReporterTold(number=each.number, conversation=each.conversation, status=after.status, told_at=request.requested_at),
            f"told-{each.number}",
        )
        for each in told
    ]


def _notice(kind: str, told: Report, report: Report, request: UpdateRequested, message: Input) -> Emit:
    values = {"number": told.number, "agency": report.agency, "other": request.other, "note": request.note}
    if kind == "done":
        values["note"] = request.note or report.result
    if kind == "taken-up":
        values |= {"due": _due(report), "note": ""}
    if kind == "rejected":
        values["note"] = request.note or request.reason
    if kind == "reopened":  # of those who are told only the one who said BELUM can tell what is not fixed
        who, values["other"] = request.other or report.number, ""
        values["tell"] = "yes" if told.number == who else ""
    given = {name: value for name, value in values.items() if value}
    return _reply(kind, given, told.number, told.channel, told.conversation, told.language, message)


def _due(report: Report) -> str:
    """Of danger nobody says that it will be seen to in a week."""
    return "" if report.emergency else report.due_at.isoformat()


# Status questions.


def _answer_status(event: StatusAsked, message: Input, state: State) -> Emit:
    if event.mine:
        return _answer_mine(event, message, state)
    report = state.reports.get(state.aliases.get(event.number, event.number))
    if report is None:
        kind, values = "status-unknown", {"number": event.number, "recent": "yes"}
    else:
        followed = _followed(report, state)
        kind, values = "status", {"number": report.number, "status": followed.status, "agency": followed.agency}
        values |= {"due": _due(followed)} if followed.status == "in-progress" else {}
        values |= {"other": followed.number} if followed is not report else {}
    number = event.number if event.proven else ""  # whoever heard of a number may ask, but not speak for the reporter
    return _reply(kind, values, number, event.channel, event.conversation, event.language, message)


def _answer_mine(event: StatusAsked, message: Input, state: State) -> Emit:
    known = [state.reports[number] for number in (event.number, *event.others) if number in state.reports]
    of = {report.number: _followed(report, state).status for report in known}
    still_open = [number for number, status in of.items() if status not in CLOSED][:MY_REPORTS]
    if not still_open:
        return _reply("no-reports", {}, "", event.channel, event.conversation, event.language, message)
    listed = " ".join(f"{number}={of[number]}" for number in still_open)
    return _reply("my-reports", {"reports": listed}, "", event.channel, event.conversation, event.language, message)


# Pieces.


class _Changed(NamedTuple):
    events: list[Emit]
    changes: list[Change]


def _changed(
    report: Report, action: str, message: Input, *, by_role: str, reason: str = "", request: UpdateRequested | None = None
) -> _Changed:
    """The report one line longer (and one version newer, unless the machine has done that), and the event that says so."""
    version = report.version if request is not None else report.version + 1
    after = msgspec.structs.replace(report, version=version, entries=report.entries + 1)
    note = (request.note or (request.reason if action == "reject" else "")) if request else ""  # that reason is for the citizen
    at = request.requested_at if request else message.at
    entry = Entry(report.number, report.entries, at.isoformat(), action, after.status, by_role, note, reason)
    updated = _updated(after, action, message, request, by_role=by_role, reason=reason)
    return _Changed([Emit(topics.REPORT_UPDATED, report.number, updated, f"updated-{action}")], [after, entry])


def _updated(
    report: Report, action: str, message: Input, request: UpdateRequested | None, *, rule: str = "", by_role: str = "", reason: str = ""
) -> Event:
    return ReportUpdated(
        number=report.number, version=report.version, action=action, accepted=not rule, rule=rule, status=report.status,
        agency=report.agency, by_role=by_role or (request.by_role if request else ""), reason=reason,
        action_id=request.action_id if request else "", category=report.category, area=report.area, refused_by=report.refused_by,
        suggested=request.agency if request and action == "refuse" else "", decided_by_person=report.decided_by_person,
        updated_at=message.at,
    )  # fmt: skip


def _reply(kind: str, values: dict[str, str], number: str, channel: str, conversation: str, language: str, message: Input) -> Emit:
    reply_id = derive_id("tracker", message.event_id, kind, conversation, number)
    event = ReplyRequested(
        reply_id=reply_id, channel=channel, conversation=conversation, kind=kind, values=values, number=number, language=language,
        requested_at=message.at,
    )  # fmt: skip
    return Emit(topics.reply_requested(channel), conversation, event, kind, reply_id)
