"""Where a reader on this machine keeps what it must not forget. Source: specs/ledger.md §12."""

import os
from pathlib import Path


def state_folder() -> Path:
    """``$XDG_STATE_HOME/creditledger``, or the same below ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "creditledger"


def seen_folder() -> Path:
    """The last checkpoints that `audit` and `monitor` accepted."""
    return state_folder() / "seen"
