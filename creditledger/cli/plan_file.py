"""A plan as a text file: which node serves which layers. Source: specs/cli.md §7."""

import re
from collections.abc import Callable
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.records.job import PlanSpan

PLAN_BYTES_MAX: Final = 65_535
_LINE: Final = re.compile(r"(0|[1-9][0-9]{0,5}):([1-9][0-9]{0,5})[ \t]+([^ \t]+)", re.ASCII)


def parse_plan(content: bytes, account_id: Callable[[str], bytes]) -> tuple[PlanSpan, ...]:
    """The spans of lines ``START:STOP ACCOUNT``; blank lines and those that begin with # are skipped.

    Layers are counted from 0 and STOP is exclusive. Raises MalformedRecordError naming the line, and what
    ``account_id`` raises. That spans join is the job's rule."""
    spans: list[PlanSpan] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.fullmatch(text)
        if found is None:
            raise MalformedRecordError(
                f"line {number} of the plan", expected="START:STOP ACCOUNT", found=ascii(text)[:80]
            )
        start, stop, node = found.groups()
        spans.append(PlanSpan(layer_start=int(start), layer_stop=int(stop), node=account_id(node)))
    return tuple(spans)
