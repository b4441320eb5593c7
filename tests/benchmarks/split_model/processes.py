"""The two nodes' processes and the lines to them: orders to each, rows from one end to the other."""

import multiprocessing
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from creditledger.ledger.ledger import Ledger
from tests.benchmarks.split_model.desk import open_desk
from tests.benchmarks.split_model.node_process import Crossing, Flush, Flushed, NodeSetup, Work, run_node

STOP_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """This process's ends. Rows go in at the first node and come out of the last; between nodes they
    take a line of their own."""

    orders: tuple[Connection, ...]
    rows_in: Connection
    rows_out: Connection

    def send(self, works: Sequence[Work], rows: Crossing) -> None:
        """Give every node its order, and the first one the rows."""
        for orders, work in zip(self.orders, works, strict=True):
            orders.send(work)
        self.rows_in.send(rows)

    def answer(self) -> Crossing:
        """What the last node delivers for the oldest job under way. Raises EOFError if a node died."""
        answer: Crossing = self.rows_out.recv()
        return answer

    def flush(self) -> list[Flushed]:
        """Have all nodes log what they minted."""
        for orders in self.orders:
            orders.send(Flush())
        return [orders.recv() for orders in self.orders]


@contextmanager
def node_processes(setups: Sequence[NodeSetup], ledger: Ledger) -> Iterator[Lines]:
    """A process for each of ``setups``, in the order in which rows pass them, with a desk at ``ledger``."""
    context = multiprocessing.get_context("spawn")
    between = [context.Pipe() for _ in range(len(setups) + 1)]
    with ExitStack() as opened:
        ours: list[Connection] = []
        for number, setup in enumerate(setups):
            orders, theirs = context.Pipe()
            desk, line = socket.socketpair()
            ends = (theirs, between[number][1], between[number + 1][0], line)
            process = context.Process(target=run_node, args=(setup, *ends), name=setup.engine)
            process.start()
            open_desk(ledger, desk)
            for end in ends:
                end.close()
            ours.append(orders)
            opened.callback(_stop, process, orders)
        yield Lines(orders=tuple(ours), rows_in=between[0][0], rows_out=between[-1][1])


def _stop(process: BaseProcess, orders: Connection) -> None:
    """A process ends by itself once nobody can order any more."""
    orders.close()
    process.join(STOP_SECONDS)
    if process.is_alive():
        process.terminate()
        process.join()
