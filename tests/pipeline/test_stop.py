"""SIGTERM under load: every process ends cleanly, and after the restart nothing is missing or double."""

from tests.pipeline.checker import check, receipts_of, settled_count
from tests.pipeline.kills import SmsTraffic
from tests.pipeline.town import Town
from tests.servers.processes import wait_until


def test_a_rolling_restart_under_load_loses_and_repeats_nothing(town: Town) -> None:
    """Each process is told to stop while SMS come in, says that it stopped cleanly, and is started again."""
    traffic = SmsTraffic(town)
    traffic.start()
    for process in town.kanal.processes.values():
        stopped_before = process.log.read_text().count('"event": "stopped"')
        process.stop()
        lines = [line for line in process.log.read_text().splitlines() if '"event": "stopped"' in line]
        assert len(lines) == stopped_before + 1, f"{process.name} had to be killed"
        assert '"clean": true' in lines[-1]
        process.start()
    traffic.join()
    wanted = traffic.ledger.message_ids
    with town.journal() as journal:
        wait_until(lambda: settled_count(journal, wanted) == len(wanted), 60, "settlement of every message")
    wait_until(lambda: set(traffic.ledger.numbers.values()) <= set(receipts_of(town)), 60, "a receipt for every report")
    findings = check(town, traffic.ledger)
    assert findings.is_clean(), findings
    assert findings.receipts_repeated == 0
