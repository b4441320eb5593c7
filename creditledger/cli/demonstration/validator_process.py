"""A validator of the story: a process of its own, run with URL, DIR, KEY and MODEL.

It follows the log and submits over HTTP; what nodes keep for it, it finds beside the log in DIR."""

import sys
import time
from pathlib import Path
from typing import Final

from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import load_model
from creditledger.cli.demonstration.reached import reach
from creditledger.errors import BusyError
from creditledger.ledger.clock import system_clock
from creditledger.service.http_source import HttpSource
from creditledger.validation.evidence import DirectoryEvidence
from creditledger.validation.validator import Validator
from creditledger.validation.validator_key import ValidatorKey

INTERVAL_SECONDS: Final = 0.5


def main(url: str, folder: str, key: str, model: str | None = None) -> None:
    """Do what is due, over and over, until it is told to end."""
    ledger = reach(url, Path(folder), clock=system_clock)
    evidence = DirectoryEvidence(Path(folder))
    runner = NumpyLlama(load_model(Path(model) if model else None))
    validator = Validator(
        HttpSource(url),
        key=ValidatorKey.load(Path(key), ledger_id=ledger.id),
        runner=runner,
        journal=Path(key + ".journal"),
        evidence=evidence,
        sink=evidence,
        policy=ledger.policy(),
        submit=ledger.append,
    )
    while True:
        try:
            if not validator.step():
                runner.release()
        except BusyError as error:
            print(error, file=sys.stderr)
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
