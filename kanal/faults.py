"""Named points at which a test can kill the process. Without `KANAL_FAIL_POINT` each is one comparison and nothing else."""

import os
import signal

_WANTED, _, _PASSES = os.environ.get("KANAL_FAIL_POINT", "").partition(":")
_remaining = int(_PASSES or 1)


def fail_point(name: str) -> None:
    """Kill this process with SIGKILL when `KANAL_FAIL_POINT` is `name` or `name:N` (at the N-th pass).

    Used by the fault tests only: it stands where a power cut would hurt most.
    """
    global _remaining
    if name != _WANTED:
        return
    _remaining -= 1
    if _remaining <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
