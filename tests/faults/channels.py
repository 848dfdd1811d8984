"""T13: the relay and the gateway answer badly, or not at all after they have taken an answer."""

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits

SHORT = Habits(at_most=5)


def refuse_for_now(run: Run) -> None:
    """Nothing was taken: each answer goes out once, later."""
    run.town.gateway.answer_next(run.random.choice((429, 500, 502, 503)), count=run.random.randint(1, 4), headers={"Retry-After": "1"})
    run.town.mailbox.answer_next(
        run.random.choice(("451 4.3.0 later", "421 4.7.0 too busy", "452 4.2.2 full")), count=run.random.randint(1, 3)
    )
    with run.traffic(SHORT):
        pass


def silent_after_success(run: Run) -> None:
    """Taken, but the sender hears an error or nothing: it goes out again, and is counted."""
    run.town.gateway.answer_next(run.random.choice((500, 502, 504)), count=run.random.randint(1, 3), after_keeping=True)
    run.town.mailbox.drop_after_data = run.random.randint(1, 3)
    with run.traffic(SHORT):
        pass


def away(run: Run) -> None:
    """Nobody listens for a while."""
    with run.traffic(SHORT) as traffic:
        run.town.gateway.stop()
        run.town.mailbox.stop()
        traffic.wait_for(15)
        run.town.gateway.start()
        run.town.mailbox.start()


FAULTS = [
    Fault("relay and gateway refuse", "T13", "Relay and gateway answer 4xx, 429 and 5xx for a while and take nothing", refuse_for_now),
    Fault("relay and gateway lose the answer", "T13", "Relay and gateway take an answer, but say 5xx or nothing", silent_after_success),
    Fault("relay and gateway away", "T13", "Neither relay nor gateway listens for a while", away, quick=("embedded",)),
]
