"""Who used how much, by month: from the queue's own book, so that members see what they were charged.

Source: specs/redemption.md §10."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from creditledger.redemption.queues.slurm.sales import Sale
from creditledger.redemption.started_jobs import Stage

_MS_PER_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one member used of one hardware class in one month."""

    month: str
    """``2026-11``, in UTC, in which the attempt ended."""
    account: str
    member: str
    """Slurm's user name; empty where the sum is over an account's members."""
    hardware: str
    attempts: int
    gpu_ms: int
    captured_micro: int

    @property
    def gpu_hours(self) -> str:
        """`gpu_ms` as hours, rounded down to thousandths."""
        return hours(self.gpu_ms)


def usage(sales: Iterable[Sale], *, month: str | None = None, by_member: bool = True) -> list[Usage]:
    """Sums over measured and settled sales, by month, account, member and class."""
    groups: dict[tuple[str, str, str, str], list[Sale]] = {}
    for sale in sales:
        if sale.stage != Stage.SETTLED or sale.end_unix_s is None:
            continue
        when = datetime.fromtimestamp(sale.end_unix_s, UTC).strftime("%Y-%m")
        if month is None or when == month:
            member = sale.user if by_member else ""
            groups.setdefault((when, sale.account, member, sale.quote.hardware), []).append(sale)
    return [
        Usage(
            month=key[0],
            account=key[1],
            member=key[2],
            hardware=key[3],
            attempts=len(group),
            gpu_ms=sum(sale.gpu_ms for sale in group),
            captured_micro=sum(sale.captured_micro for sale in group),
        )
        for key, group in sorted(groups.items())
    ]


def hours(gpu_ms: int) -> str:
    """GPU-hours with three decimals, rounded down."""
    thousandths = gpu_ms * 1_000 // _MS_PER_HOUR
    return f"{thousandths // 1_000}.{thousandths % 1_000:03d}"


def as_csv(rows: Sequence[Usage]) -> str:
    """With a header, for spreadsheets; no field can be taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("month", "account", "member", "class", "attempts", "gpu_ms", "gpu_hours", "captured_micro")
    )
    for row in rows:
        names = (_plain(row.account), _plain(row.member), row.hardware)
        writer.writerow((row.month, *names, row.attempts, row.gpu_ms, row.gpu_hours, row.captured_micro))
    return out.getvalue()


def _plain(name: str) -> str:
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
