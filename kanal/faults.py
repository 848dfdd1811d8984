"""Named points at which a test can kill the process. Without `KANAL_FAIL_POINT` each is one comparison and nothing else."""

import os
import signal
from pathlib import Path

_FILE = os.environ.get("KANAL_FAIL_POINT", "")
_passes: dict[str, int] = {}
"""Order → how often its point was passed since it was given."""


def fail_point(name: str) -> None:
    """Kill this process at the N-th pass, when the file that `KANAL_FAIL_POINT` names holds `name:N:SIGKILL` (or another signal).

    The file may come and go while the process runs. Used by the fault tests only: it stands where a power cut would hurt most.
    """
    if not _FILE:
        return
    order = _order()
    wanted, _, then = order.partition(":")
    if name != wanted:
        return
    passes, _, signal_name = then.partition(":")
    _passes[order] = _passes.get(order, 0) + 1
    if _passes[order] == int(passes):
        os.kill(os.getpid(), signal.Signals[signal_name])


def _order() -> str:
    try:
        return Path(_FILE).read_text()
    except OSError:  # none now
        return ""
