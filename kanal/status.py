"""The statuses of a report: codes, and the words for them. Not here: which moves are allowed (the tracker's state machine)."""

from collections.abc import Mapping

LABELS: Mapping[str, Mapping[str, str]] = {
    "waiting": {"id": "Menunggu", "en": "Waiting"},
    "coordinating": {"id": "Koordinasi", "en": "Being coordinated"},
    "dispatched": {"id": "Disposisi", "en": "Dispatched"},
    "in-progress": {"id": "Proses", "en": "In progress"},
    "awaiting-validation": {"id": "Menunggu Validasi", "en": "Awaiting validation"},
    "follow-up-rejected": {"id": "TL Ditolak", "en": "Follow-up rejected"},
    "done": {"id": "Selesai", "en": "Done"},
    "unclear": {"id": "Menunggu Pelapor", "en": "Waiting for the reporter"},
    "rejected": {"id": "Ditolak", "en": "Rejected"},
    "merged": {"id": "Digabung", "en": "Merged"},
}
"""Source of the codes and Indonesian words: JAKI's help centre and Jakarta Smart City, 2021–2025 (docs/reference/sources.md)."""

CLOSED = frozenset({"done", "rejected", "merged"})
"""Everything else is open."""

TOLD = frozenset({"unclear", "done", "rejected"})
"""Statuses in which the reporter's next message means something else: the answer to a question, or a word about what is closed."""


def label(status: str, language: str) -> str:
    """The word for a status, in Indonesian when the language is not known."""
    words = LABELS[status]
    return words.get(language, words["id"])
