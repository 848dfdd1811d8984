"""The router's stage: which events it answers, and what it says."""

from typing import Any

import pytest
from kanal_router.handler import RouterHandler

from kanal import topics
from kanal.events import Event, ReportAppended, ReportRouted
from kanal.stage import Decision
from kanal.testing import NOON, an_input, jakarta, message, number, registered, updated

REFUSED: dict[str, Any] = {"action": "refuse", "status": "coordinating", "refused_by": ("bina-marga",)}


def decide(event: Event) -> Decision:
    return RouterHandler(jakarta()).decide(an_input(event), None)


def routed(event: Event) -> ReportRouted:
    emits = decide(event).events
    assert len(emits) == 1
    assert isinstance(emits[0].event, ReportRouted)
    return emits[0].event


def test_a_registered_report_is_routed_with_the_deciding_row() -> None:
    """Agencies ask why: the row and what it fitted are in the event, keyed by the report."""
    decision = decide(registered())
    event = routed(registered())

    assert (decision.events[0].topic, decision.events[0].key, decision.outcome) == (topics.REPORTS, number(), "routed")
    assert (event.agency, event.row, event.reason) == ("bina-marga", "R03", "street-light in *")
    assert (event.category, event.area, event.attempt, event.to_dispatcher, event.routed_at) == (
        "street-light", "31.71.01.1002", 0, False, NOON,
    )  # fmt: skip


def test_a_report_that_nobody_understood_goes_to_the_dispatchers_agency() -> None:
    """The last row takes everything."""
    assert routed(registered(category="other", area="")).agency == "biro-pemerintahan"


def test_a_refusal_sends_it_to_the_next_candidate() -> None:
    """An agency that says "not ours" costs the citizen no word."""
    event = routed(updated(**REFUSED))

    assert (event.agency, event.row, event.attempt) == ("pertamanan", "R03", 1)


def test_a_refusal_with_a_suggestion_goes_to_the_suggested() -> None:
    """Who refuses often knows who is right."""
    event = routed(updated(**REFUSED, suggested="satpol-pp"))

    assert (event.agency, event.row, event.reason) == ("satpol-pp", "(suggestion)", "suggested by bina-marga")


def test_the_third_refusal_goes_to_a_dispatcher() -> None:
    """Rules give up: a person places it."""
    refused = updated(**REFUSED | {"refused_by": ("bina-marga", "pertamanan", "satpol-pp")})

    assert (routed(refused).agency, routed(refused).to_dispatcher, routed(refused).attempt) == ("biro-pemerintahan", True, 3)
    assert decide(refused).outcome == "to-dispatcher"


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(updated(**REFUSED, decided_by_person=True), id="a person had decided"),
        pytest.param(updated(**REFUSED | {"accepted": False}), id="a refusal that the tracker did not let through"),
        pytest.param(updated(action="accept"), id="taken up"),
        pytest.param(updated(action="assign", decided_by_person=True), id="assigned by a dispatcher"),
        pytest.param(updated(action="reopen", status="waiting"), id="reopened"),
        pytest.param(routed(registered()), id="its own word"),
        pytest.param(
            ReportAppended(
                number=number(), message_id="m", channel="sms", sender_key="s", conversation="c", received_at=NOON, text="RT 3"
            ),
            id="a further message",
        ),
        pytest.param(message(), id="not a report at all"),
    ],
)  # fmt: skip
def test_everything_else_is_left_alone(event: Event) -> None:
    """Only a registration and a refusal that counts move a report; never over a person's decision."""
    assert decide(event) == Decision(outcome="not-for-routing", applied=())


def test_the_same_event_is_routed_in_the_same_way() -> None:
    """No clock, no state: a repeat carries the same words and, by its role, the same id."""
    assert decide(registered()) == decide(registered())
    assert decide(registered()).events[0].role == "routed"
    assert decide(registered()).events[0].event_id == ""
