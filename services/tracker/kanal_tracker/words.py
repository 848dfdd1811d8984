"""The words of the public pages, Indonesian first. Words of replies are in the pack: they go out under the city's name."""

import re
from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "id": {
        "title": "Pantau laporan",
        "ask": "Masukkan nomor laporan Anda",
        "hint": "Contoh: {example}. Huruf besar atau kecil, dengan atau tanpa tanda hubung.",
        "look": "Lihat status",
        "no_number": "Belum punya nomor? Kirim laporan lewat salah satu kanal resmi; nomornya kami balas.",
        "unknown": "Nomor {number} belum kami kenal. Bila baru saja Anda terima, coba lagi beberapa menit lagi.",
        "number": "Nomor laporan", "status": "Status", "agency": "Ditangani oleh", "category": "Jenis masalah", "area": "Wilayah",
        "channel": "Masuk lewat", "received": "Diterima", "due": "Perkiraan selesai", "text": "Isi laporan",
        "private": "Isi laporan ini hanya untuk pelapor dan petugas.", "timeline": "Perjalanan laporan", "not_yet": "Belum ditentukan",
        "merged": "Digabung dengan laporan", "emergency": "Keadaan darurat? Telepon", "again": "Lihat laporan lain",
        "language": "English",
        "status:waiting": "Laporan sudah diterima dan menunggu tanggapan dinas terkait.",
        "status:coordinating": "Laporan sedang diarahkan ke dinas yang berwenang.",
        "status:dispatched": "Laporan diteruskan ke unit pelaksana.",
        "status:in-progress": "Petugas sedang mengerjakan.",
        "status:awaiting-validation": "Pekerjaan dilaporkan selesai dan sedang diperiksa.",
        "status:follow-up-rejected": "Hasil pekerjaan belum diterima; dinas harus memperbaikinya.",
        "status:done": "Pekerjaan sudah diperiksa dan selesai. Belum beres? Balas BELUM dan nomor laporan lewat kanal yang sama.",
        "status:unclear": "Petugas bertanya kepada pelapor dan menunggu jawabannya.",
        "status:rejected": "Laporan tidak dapat ditangani.",
        "status:merged": "Masalah yang sama sudah dilaporkan; laporan ini mengikuti laporan itu.",
        "action:register": "Laporan diterima", "action:route": "Diteruskan ke dinas", "action:append": "Pesan tambahan dari pelapor",
        "action:accept": "Mulai dikerjakan", "action:refuse": "Bukan wewenang dinas ini", "action:assign": "Dinas ditetapkan",
        "action:delegate": "Diteruskan ke unit", "action:ask": "Pertanyaan kepada pelapor", "action:answer": "Pertanyaan selesai",
        "action:progress": "Kemajuan dilaporkan", "action:finish": "Pekerjaan dilaporkan selesai",
        "action:validate": "Diperiksa dan selesai",
        "action:return": "Hasil dikembalikan untuk diperbaiki", "action:reject": "Laporan ditolak", "action:merge": "Digabung",
        "action:unmerge": "Dipisahkan lagi", "action:reopen": "Dibuka lagi oleh pelapor",
        "rule:symbol": "Huruf atau angka ke-{position} ({symbol}) tidak pernah dipakai dalam nomor laporan.",
        "rule:length": "Nomor laporan punya 12 huruf dan angka setelah {prefix}; yang Anda ketik {count}.",
        "rule:check": "Nomor ini salah ketik: ada satu huruf yang keliru atau dua yang tertukar.",
    },
    "en": {
        "title": "Follow a report",
        "ask": "Enter the number of your report",
        "hint": "Example: {example}. Capital or small letters, with or without hyphens.",
        "look": "Show its status",
        "no_number": "No number yet? Send your report on one of the official channels; we reply with its number.",
        "unknown": "The number {number} is not known yet. If you have just received it, try again in a few minutes.",
        "number": "Report number", "status": "Status", "agency": "With", "category": "Kind of problem", "area": "Area",
        "channel": "Sent by", "received": "Received", "due": "Expected by", "text": "The report",
        "private": "The text of this report is for the reporter and the officers only.",
        "timeline": "What happened", "not_yet": "Not decided yet",
        "merged": "Merged with report", "emergency": "An emergency? Call", "again": "Look at another report",
        "language": "Bahasa Indonesia",
        "status:waiting": "The report was received and waits for the agency in charge.",
        "status:coordinating": "The report is being passed to the agency in charge.",
        "status:dispatched": "The report was passed to the unit that does the work.",
        "status:in-progress": "Officers are working on it.",
        "status:awaiting-validation": "The work was reported as done and is being checked.",
        "status:follow-up-rejected": "The result was not accepted; the agency has to mend it.",
        "status:done": "The work was checked and is done. Not fixed? Reply NOT FIXED and the number on the same channel.",
        "status:unclear": "An officer has asked the reporter and waits for the answer.",
        "status:rejected": "The report cannot be handled.",
        "status:merged": "The same problem had been reported; this report follows that one.",
        "action:register": "Report received", "action:route": "Passed to an agency", "action:append": "A further message of the reporter",
        "action:accept": "Work begins", "action:refuse": "Not this agency's duty", "action:assign": "Agency decided",
        "action:delegate": "Passed to a unit", "action:ask": "A question to the reporter", "action:answer": "The question is closed",
        "action:progress": "Progress reported", "action:finish": "Work reported as done", "action:validate": "Checked and done",
        "action:return": "Sent back to be mended", "action:reject": "Report rejected", "action:merge": "Merged",
        "action:unmerge": "Taken apart again", "action:reopen": "Reopened by the reporter",
        "rule:symbol": "Symbol {position} ({symbol}) is never used in the number of a report.",
        "rule:length": "A report's number has 12 letters and digits behind {prefix}; you typed {count}.",
        "rule:check": "This number is mistyped: one letter is wrong or two are swapped.",
    },
}  # fmt: skip

ROLES: Mapping[str, Mapping[str, str]] = {
    "id": {"reporter": "Pelapor", "agency": "Dinas", "rule": "Otomatis", "clock": "Otomatis"},
    "en": {"reporter": "Reporter", "agency": "Agency", "rule": "Automatic", "clock": "Automatic"},
}


def explain(rule: str, language: str, prefix: str) -> str:
    """The broken rule of a number (`kanal.numbers.read_number`) in a citizen's words."""
    words = WORDS[language]
    if match := re.match(r"symbol (\d+) \((.)\)", rule, re.DOTALL):
        return words["rule:symbol"].format(position=match.group(1), symbol=match.group(2))
    if match := re.match(r"has (\d+) symbols", rule):
        return words["rule:length"].format(count=match.group(1), prefix=prefix)
    return words["rule:check"]
