"""Progress of verbs that take long: bars on stderr. Source: specs/cli.md §1."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on stderr, one per step, each as it begins: ``show(step, done, all)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), disable=quiet)

    def show(what: str, done: int, total: int) -> None:
        if not tasks:
            progress.start()
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        # Only what was started: stopping an empty display would print an empty line.
        if tasks:
            progress.stop()
