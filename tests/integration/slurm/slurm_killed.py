"""Runs the reconciler until it dies, by SIGKILL, at one moment: ``MOMENT LEDGER DIRECTORY``."""

import os
import signal
import sys
from pathlib import Path

from creditledger.cli.slurm_queue import opened_reconciler
from creditledger.redemption.queues.slurm.settings import SlurmSettings


def die_at(moment: str) -> None:
    """Take turns until the moment has come."""

    def watch(found: str, about: str) -> None:
        if found == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger, directory = Path(sys.argv[2]), Path(sys.argv[3])
    settings = SlurmSettings.load(directory)
    with opened_reconciler(ledger, directory, settings, None, shadow=False, watch=watch) as reconciler:
        while True:
            reconciler.turn()


if __name__ == "__main__":
    die_at(sys.argv[1])
