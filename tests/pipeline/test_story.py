"""The life of a report from outside: real mail and SMS in, answers out, officers at the API, the page; the same in both modes."""

import re

from kanal_normalizer.tables import told
from kanal_tracker.tables import VIEW
from sqlalchemy import select

from kanal.database import dump
from tests.pipeline.town import PATIENCE_SECONDS, Town, body_of, number_in
from tests.servers.processes import wait_until


def test_a_mail_becomes_a_report_that_is_followed_worked_on_finished_and_reopened(town: Town) -> None:
    """Everything that a citizen by mail and an agency by API can do with one report, in order."""
    siti = town.mail_citizen("siti")
    message_id = siti.send("Jalan berlubang besar di kelurahan Cikini, dekat stasiun. Telepon saya 0812 3456 7890.", "Jalan rusak")

    receipt = siti.wait_for("Laporan diterima")
    number = number_in(body_of(receipt))
    assert receipt["In-Reply-To"] == message_id
    assert message_id in receipt["References"]
    assert receipt["Subject"] == "Re: Jalan rusak"
    assert receipt["Auto-Submitted"] == "auto-replied"
    assert f"{town.kanal.url}/r/{number}" in body_of(receipt)

    routed = town.wait_for_report(number, lambda report: report["agency"] is not None)
    assert routed["status"] == "waiting"
    assert routed["category"] == "road-damage"
    assert routed["agency"] == {"code": "bina-marga", "name": "Dinas Bina Marga"}
    assert (routed["visibility"], routed["text"], routed["area"]) == ("private", None, None)

    siti.send("Tepatnya di depan RT 05.\n\nPada Sel, 24 Nov 2026 pukul 10.12 Kanal menulis:\n> Laporan diterima.", answers=receipt)
    added = siti.wait_for("ditambahkan ke laporan")
    assert number_in(body_of(added)) == number

    siti.send("Bagaimana kelanjutannya ya pak?", answers=receipt)
    assert f"Laporan {number}: Menunggu" in body_of(siti.wait_for(f"Laporan {number}: "))

    assert town.act(number, "accept").status_code == 200
    assert "mulai ditangani oleh Dinas Bina Marga" in body_of(siti.wait_for("mulai ditangani"))

    assert town.act(number, "ask", note="Di sisi jalan yang mana?").json()["status"] == "unclear"
    question = siti.wait_for("petugas bertanya: Di sisi jalan yang mana?")
    siti.send("Sisi utara, dekat halte.", answers=question)
    town.wait_for_status(number, "in-progress")

    assert town.act(number, "finish", note="Lubang sudah ditambal.", reason="kamera rusak").json()["status"] == "awaiting-validation"
    assert town.act(number, "validate").json()["status"] == "done"
    done = siti.wait_for(f"Laporan {number} selesai")

    siti.send("BELUM beres, masih berlubang", answers=done)
    assert f"Laporan {number} dibuka lagi" in body_of(siti.wait_for("dibuka lagi"))
    reopened = town.wait_for_status(number, "waiting")
    actions = [line["action"] for line in reopened["timeline"]]
    assert actions == [
        "register", "route", "append", "accept", "ask", "append", "answer", "finish", "validate", "append", "reopen",
    ]  # fmt: skip
    assert reopened["version"] == len(actions)


def test_an_sms_gets_its_number_at_once_and_its_answers_by_sms(town: Town) -> None:
    """The webhook tells the number that the receipt then repeats; a status question, a notice and BELUM work by SMS too."""
    budi = town.sms_citizen()
    answer = budi.send("Lampu jalan mati di kelurahan Kebagusan, gelap sekali")
    receipt = budi.wait_for("Laporan diterima")
    number = number_in(receipt)
    assert number == answer["number"]
    assert len(receipt) <= 160

    budi.send("CEK")
    assert f"{number} (Menunggu)" in budi.wait_for("Laporan Anda yang sedang berjalan")
    budi.send(f"cek {number.replace('-', ' ').lower()}")
    assert f"Laporan {number}: Menunggu" in budi.wait_for(f"Laporan {number}:")

    for action, values in (("accept", {}), ("finish", {"note": "Lampu diganti.", "reason": "malam hari"}), ("validate", {})):
        town.wait_for_report(number, lambda report: report["agency"] is not None)
        assert town.act(number, action, **values).status_code == 200
    budi.wait_for(f"Laporan {number} selesai")
    budi.send("belum")
    budi.wait_for("dibuka lagi")
    assert town.wait_for_status(number, "waiting")["timeline"][-1]["by_role"] == "reporter"


def test_an_sms_answers_the_question_that_was_asked_and_not_the_report_talked_of_last(town: Town) -> None:
    """And whoever reported the same problem can say that it is not fixed."""
    dewi, agus = town.sms_citizen(), town.sms_citizen()
    lamp = dewi.send("Lampu jalan mati di kelurahan Kebagusan")["number"]
    drain = dewi.send("LAPOR got mampet di kelurahan Cikini")["number"]
    same = agus.send("Lampu gelap di kelurahan Kebagusan")["number"]
    for number in (lamp, drain, same):
        town.wait_for_report(number, lambda report: report["agency"] is not None)
    assert town.act(lamp, "ask", note="Tiang nomor berapa?").status_code == 200
    dewi.wait_for("Tiang nomor berapa?")
    _wait_until_told(town, lamp, "unclear")
    dewi.send("Tiang 17, depan masjid")
    assert number_in(dewi.wait_for("ditambahkan ke laporan")) == lamp
    assert town.wait_for_status(lamp, "waiting")["timeline"][-1]["action"] == "answer"

    assert town.act(same, "merge", other=lamp).status_code == 200
    for action, values in (("accept", {}), ("finish", {"note": "Lampu diganti.", "reason": "malam hari"}), ("validate", {})):
        assert town.act(lamp, action, **values).status_code == 200
    agus.wait_for(f"Laporan {same} selesai")
    _wait_until_told(town, same, "done")
    agus.send("BELUM")
    agus.wait_for(f"Laporan {same} digabung dengan {lamp}; pesan Anda kami teruskan")
    for citizen, number in ((dewi, lamp), (agus, same)):
        citizen.wait_for(f"Laporan {number} dibuka lagi")
    assert town.wait_for_status(lamp, "waiting")["timeline"][-1]["action"] == "reopen"


def _wait_until_told(town: Town, number: str, status: str) -> None:
    """Until the normalizer knows what the citizen was told."""
    row = select(told.c.status).where(told.c.number == number)

    def knows() -> bool:
        with town.database() as database, database.read() as connection:
            return connection.scalar(row) == status

    wait_until(knows, PATIENCE_SECONDS, f"the normalizer is told that {number} is {status}")


def test_a_long_sms_in_parts_is_one_report_and_two_citizens_are_never_mixed(town: Town) -> None:
    """Parts come out of order, from two phones that use the same reference: each text is whole and its sender's own."""
    ani, joko = town.sms_citizen(), town.sms_citizen()
    parts = {"part_reference": "7", "part_total": 2}
    ani.send("di kelurahan Menteng sudah tiga hari", part_number=2, **parts)
    first = joko.send("Pohon tumbang menutup jalan ", part_number=1, **parts)
    promised = ani.send("Sampah menumpuk di depan sekolah ", part_number=1, **parts)
    joko.send("di kelurahan Gambir", part_number=2, **parts)
    assert number_in(ani.wait_for("Laporan diterima")) == promised["number"]
    assert number_in(joko.wait_for("Laporan diterima")) == first["number"]
    assert town.wait_for_report(promised["number"], lambda report: report["agency"] is not None)["category"] == "litter"
    assert town.wait_for_report(first["number"], lambda report: report["agency"] is not None)["category"] == "tree"


def test_a_refused_report_goes_to_the_next_agency_and_after_the_third_refusal_to_the_dispatchers(town: Town) -> None:
    """Candidates are asked in the order of the routing table; a person's decision is then final."""
    citizen = town.sms_citizen()
    number = citizen.send("LAPOR sampah menumpuk di kelurahan Rawamangun")["number"]
    asked = []
    for _ in range(3):
        report = town.wait_for_report(number, lambda found: bool(found["agency"]) and found["agency"]["code"] not in asked)
        asked.append(report["agency"]["code"])
        assert town.act(number, "refuse", reason="not-ours").json()["status"] == "coordinating"
    placed = town.wait_for_report(
        number, lambda found: found["agency"]["code"] not in asked or found["agency"]["code"] == "biro-pemerintahan"
    )
    assert len(set(asked)) == 3
    assert placed["agency"]["code"] == "biro-pemerintahan"
    assert town.act(number, "assign", agency="lingkungan-hidup").json()["agency"]["code"] == "lingkungan-hidup"


def test_the_api_answers_as_fixed(town: Town) -> None:
    """400 with the rule, 404, 401, 409 with the newer report, 422 naming the rule, and the first answer for a repeated action id."""
    number = town.sms_citizen().send("LAPOR trotoar rusak di kelurahan Senayan")["number"]
    report = town.wait_for_report(number, lambda found: found["agency"] is not None)
    wrong = number[:-1] + ("2" if number[-1] != "2" else "3")
    assert town.report(wrong).status_code == 400
    assert "check symbol" in town.report(wrong).json()["message"]
    assert town.report("JK-2222-2222-2222").status_code == 404
    url = f"{town.kanal.url}/api/v1/reports/{number}/actions"
    import requests

    assert requests.post(url, json={}, timeout=10).status_code == 401
    assert requests.post(url, json={}, headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 401
    stale = town.act(number, "accept", version=report["version"] - 1)
    assert (stale.status_code, stale.json()["report"]["version"]) == (409, report["version"])
    refused = town.act(number, "validate")
    assert (refused.status_code, refused.json()["error"]) == (422, "wrong-status")
    first = town.act(number, "accept", action_id="the-same-action")
    again = town.act(number, "accept", version=1, action_id="the-same-action")
    assert first.status_code == again.status_code == 200
    assert again.json()["version"] == first.json()["version"]


def test_the_page_shows_the_report_in_both_languages_without_script(town: Town) -> None:
    """A small phone with scripts off sees state and agency; a private text is not on the page."""
    text = "LAPOR pohon besar miring di kelurahan Menteng"
    number = town.sms_citizen().send(text)["number"]
    town.wait_for_report(number, lambda found: found["agency"] is not None)
    page, english = town.page(f"/r/{number.lower().replace('-', '')}"), town.page(f"/r/{number}?lang=en")
    assert page.status_code == english.status_code == 200
    assert "Menunggu" in page.text
    assert "Waiting" in english.text
    assert "Dinas Pertamanan" in page.text
    assert "<script" not in page.text
    assert "miring" not in page.text
    assert town.page("/r/JK-2222-2222-2222").status_code == 404
    assert re.search(r"salah ketik", town.page(f"/?number={number[:-1]}{'2' if number[-1] != '2' else '3'}").text)


def test_automatic_mail_opens_no_report_and_gets_no_answer(town: Town) -> None:
    """Absence notes and our own mail are settled as ignored; an answer would start a loop."""
    robot = town.mail_citizen("robot")
    robot.send("I am out of office.", "Automatic reply", Auto_Submitted="auto-replied")
    person = town.mail_citizen("orang")
    person.send("Saluran air mampet di kelurahan Petogogan", "Saluran")
    person.wait_for("Laporan diterima")
    assert robot.inbox() == []


def test_the_tracker_rebuilt_from_the_journal_equals_the_tracker(town: Town) -> None:
    """The database is a view of `reports`: emptied and folded anew, every table is the same, row by row."""
    town.kanal.stop()
    with town.database() as database, database.read() as connection:
        before = dump(connection, VIEW)
    rebuilt = town.command("rebuild", "tracker")
    assert rebuilt.returncode == 0, rebuilt.stderr
    with town.database() as database, database.read() as connection:
        after = dump(connection, VIEW)
    assert len(before["tracker_reports"]) >= 6
    assert after == before
    sent = len(town.mailbox.messages) + len(town.gateway.sent)
    town.kanal.start()
    citizen = town.sms_citizen()
    citizen.send("LAPOR lampu mati di kelurahan Cawang")
    citizen.wait_for("Laporan diterima")
    assert len(town.mailbox.messages) + len(town.gateway.sent) == sent + 1, "a rebuild must not tell anybody anything again"
