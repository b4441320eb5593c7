"""Starting a supervisor so that a queue that dies halfway has started nothing.

Source: specs/redemption.md §6."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import creditledger
from creditledger.errors import StorageError
from creditledger.redemption.queues.supervisor import Task

SUPERVISOR: Final = "creditledger.redemption.queues.supervisor"


def launch(task: Task, *, directory: Path) -> "subprocess.Popen[bytes]":
    """A supervisor in a session of its own, with its whole task. Raises StorageError.

    The task goes through a pipe that only this process holds: if we die before all of it is written, the
    supervisor reads an end of file and starts nothing."""
    output = Path(task.stdout).parent
    try:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(output / "supervisor", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", SUPERVISOR],
                cwd=directory,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        _send(process, task.encode())
    except OSError as error:
        raise StorageError(
            f"job could not be launched: {error.strerror}", found=str(output)[-100:]
        ) from error
    return process


def _send(process: "subprocess.Popen[bytes]", content: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("supervisor was made without a pipe")
    with process.stdin as pipe:
        pipe.write(content)


def _environment() -> dict[str, str]:
    """This process's, with the package it runs importable: it may not be installed."""
    package = str(Path(creditledger.__file__).parent.parent)
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, given] if given else [package])}
