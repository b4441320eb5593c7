"""What the campaign came to, beside its goals."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

UNPAID_MAX: Final = 0.001
"""Of honest jobs, and of their receipts."""
Line: TypeAlias = tuple[str, str, str, bool]
"""Case, what was found, the goal, and whether it is met."""


def goals(told: dict[str, Any]) -> list[Line]:
    """Case, what was found, the goal, and whether it is met."""
    honest = told["honest"]
    jobs, receipts, convicted = honest["jobs"], honest["receipts"], told["honest_convicted"]
    earned = honest["earned_micro"] + honest["unvested_micro"]
    checked = f"{honest['receipts_checked']} of {receipts}, {honest['verdicts']} verdicts"
    tails = [f"job {one['job']}: {one['reason']} {one['tail']}" for one in honest["refutals"]]
    lines = [
        _unpaid("honest jobs unpaid", honest["jobs_unpaid"], jobs),
        _unpaid("honest receipts unpaid", honest["receipts_unpaid"], receipts),
        ("honest receipts run again", checked, "all", honest["receipts_checked"] == receipts),
        (
            "honest verdicts refuted, inconclusive",
            ", ".join([f"{honest['refuted']}, {honest['inconclusive']}", *tails]),
            "-",
            True,
        ),
        (
            "honest ratio, of the threshold",
            f"median {honest['ratio_share_median']:.2f}, largest {honest['ratio_share_max']:.2f}",
            "-",
            True,
        ),
        ("honest nodes convicted", ", ".join(convicted) or "0", "0", not convicted),
        (
            "earned, of what is owed (micro-credits)",
            f"{earned} of {honest['owed_micro']}, {honest['unvested_micro']} unvested",
            "all, vested",
            honest["jobs_unpaid"] > 0 or (earned == honest["owed_micro"] and not honest["unvested_micro"]),
        ),
    ]
    beside = sum(cheat["jobs"] for cheat in told["cheats"])
    unpaid = sum(cheat["partner_unpaid"] for cheat in told["cheats"])
    lines.append(("honest receipts beside a cheat unpaid", f"{unpaid} of {beside}", "-", True))
    for cheat in told["cheats"]:
        found = f"{'convicted' if cheat['convicted'] else 'NOT convicted'} in {cheat['jobs']} jobs"
        found += f", {cheat['paid']} paid"
        lines.append((f"{cheat['cheat']} with {cheat['engine']}", found, "convicted", cheat["convicted"]))
    return lines


def _unpaid(case: str, unpaid: int, of: int) -> Line:
    share = unpaid / of if of else 1.0
    return case, f"{unpaid} of {of} ({share:.2%})", f"<= {UNPAID_MAX:.1%}", share <= UNPAID_MAX


def show(lines: Sequence[Line]) -> None:
    """The goals as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "found", "goal", "met", title="Two processes, one model")
    for case, found, goal, is_met in lines:
        table.add_row(case, found, goal, "yes" if is_met else "NO")
    Console().print(table)
