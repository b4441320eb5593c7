"""What a soak came to, beside its goals."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from soak.soak_campaign import Attacked, Found, percentile

MEMORY_KIB_MAX: Final = 8 * 1024
"""How much a server may grow between the second and the last quarter of its long life."""
DESCRIPTORS_MAX: Final = 8
RATIO_MAX: Final = 2.0
Line: TypeAlias = tuple[str, str, str, bool]
"""Case, what was found, the goal, and whether it is met."""


def goals(found: Found) -> list[Line]:
    """Every figure."""
    counts, figures, statuses = found.counts, found.figures, found.statuses
    shown = " ".join(f"{name}:{count}" for name, count in sorted(statuses.items()))
    bad = sum(n for name, n in statuses.items() if name >= "500" and name not in ("503", "507"))
    memory, descriptors = found.memory_kib, found.descriptors
    ready = sorted(found.ready_seconds)
    lines = [
        ("killed, and answering again", f"{found.kills} times, {ready[0]:.1f}..{ready[-1]:.1f} s", "-", True),
        ("entries, rounds certified", f"{figures['entries']}, {figures['rounds certified']}", "-", True),
        ("records acknowledged", str(figures["acknowledged"]), "-", True),
        _none("acknowledged and lost", figures["acknowledged and lost"]),
        _none("logged twice", figures["logged twice"]),
        ("asked again under the same key", str(counts.get("repeats", 0)), "same bytes", True),
        ("hung up before an answer", str(counts.get("hung up", 0)), "-", True),
        ("asked while nobody answered", str(counts.get("no answer", 0)), "-", True),
        ("statuses", shown, "-", True),
        _none("5xx other than 503 and 507", bad),
        ("bundles verified by readers", str(counts.get("bundles verified", 0)), "all", True),
        ("entries replayed by a reader", str(counts.get("entries replayed by a reader", 0)), "all", True),
        (
            "memory of its own, unkilled",
            f"{memory.early / 1024:.1f} -> {memory.late / 1024:.1f} MiB over {found.still_seconds:.0f} s,"
            f" {found.still_entries} entries",
            f"grows <= {MEMORY_KIB_MAX // 1024} MiB",
            memory.growth <= MEMORY_KIB_MAX,
        ),
        (
            "descriptors, unkilled",
            f"{descriptors.early:.0f} -> {descriptors.late:.0f}, most ever {found.most_descriptors}",
            f"grow <= {DESCRIPTORS_MAX}",
            descriptors.growth <= DESCRIPTORS_MAX,
        ),
        ("resident, most ever", f"{found.most_resident_kib / 1024:.0f} MiB", "-", True),
    ]
    calm = found.calm_ms
    quick, slow = percentile(calm, 0.5), percentile(calm, 0.99)
    lines.append(
        ("honest in between", f"p50 {quick:.0f} ms, p99 {slow:.0f} ms, {len(calm)} requests", "-", True)
    )
    lines += [_attacked(one, found) for one in found.attacks]
    lines.append(_none("anything else wrong", len(found.wrong)))
    return lines


def as_json(found: Found) -> dict[str, Any]:
    """The same for programs; times of single requests are left out."""
    told = asdict(found)
    told["attacks"] = [
        {"kind": one.kind, "did": one.did, "ratio": found.ratio(one)}
        | {f"calm_p{p}_ms": percentile(one.calm_ms, p / 100) for p in (50, 99)}
        | {f"under_p{p}_ms": percentile(one.under_ms, p / 100) for p in (50, 99)}
        | {"calm_requests": len(one.calm_ms), "under_requests": len(one.under_ms)}
        for one in found.attacks
    ]
    told["goals"] = [
        {"case": case, "found": what, "goal": goal, "met": met} for case, what, goal, met in goals(found)
    ]
    return told


def show(lines: Sequence[Line], wrong: Sequence[str]) -> None:
    """One table, then what is wrong."""
    widths = [max(len(line[column]) for line in lines) for column in (0, 1, 2)]
    for case, what, goal, met in lines:
        row = f"{case:{widths[0]}}  {what:{widths[1]}}  {goal:{widths[2]}}"
        print(row.rstrip() if met else f"{row}  MISSED")
    for each in wrong[:40]:
        print("wrong:", each[:1_000])


def _none(case: str, count: int) -> Line:
    return case, str(count), "0", count == 0


def _attacked(one: Attacked, found: Found) -> Line:
    calm, under = percentile(one.calm_ms, 0.99), percentile(one.under_ms, 0.99)
    did = " ".join(f"{name}:{count}" for name, count in sorted(one.did.items()))
    ratio = found.ratio(one)
    shown = f"x{ratio:.2f}: p99 {under:.0f} ms, {calm:.0f} just before, {len(one.under_ms)} requests ({did})"
    return f"honest under {one.kind}", shown, f"< x{RATIO_MAX:.0f}", ratio < RATIO_MAX
