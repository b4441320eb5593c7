"""The pool behind a URL, as the parties of the story use it: each process has a copy of its own."""

import os
from pathlib import Path

from creditledger.ledger.clock import Clock
from creditledger.ledger.log_copy import LogCopy
from creditledger.ledger.remote_ledger import RemoteLedger
from creditledger.service.remote.copies import open_remote


def reach(url: str, folder: Path, *, clock: Clock) -> RemoteLedger:
    """The pool at ``url``, for readers with the policy in ``folder``; each reading looks for news first."""
    path = folder / "copies" / str(os.getpid())
    LogCopy.create(path, url=url, policy=(folder / "policy").read_bytes())
    ledger = open_remote(path, clock=clock)
    ledger.looks_first = True
    return ledger
