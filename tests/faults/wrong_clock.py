"""Runs a module with its wall clock off: `python -m tests.faults.wrong_clock SECONDS MODULE [ARGUMENT …]`.

Only what Python reads: all of Kanal's times. The Kafka client's own stamps stay right.
"""

import runpy
import sys
from datetime import UTC, datetime, timedelta

import time_machine

if __name__ == "__main__":
    seconds, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=int(seconds)), tick=True):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
