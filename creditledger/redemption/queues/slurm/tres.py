"""Slurm's trackable resources, ``cpu=4,node=1,gres/gpu=2,gres/gpu:h100=2``, as numbers.

Source: specs/redemption.md §10."""

import re
from typing import Final

from creditledger.errors import MalformedRecordError

_COUNT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_GPU: Final = "gres/gpu"


def gpus_by_type(tres: str) -> dict[str, int]:
    """How many GPUs of which type; under ``""`` those of no type in particular. Empty for none.

    Raises MalformedRecordError."""
    counted = _counts(tres)
    typed = {name[len(_GPU) + 1 :]: count for name, count in counted.items() if name.startswith(f"{_GPU}:")}
    rest = counted.get(_GPU, 0) - sum(typed.values())
    return {kind: count for kind, count in {**typed, "": max(rest, 0)}.items() if count}


def processors(tres: str) -> int:
    """How many processors. Raises MalformedRecordError."""
    return _counts(tres).get("cpu", 0)


def _counts(tres: str) -> dict[str, int]:
    """The plain counts; sizes such as ``mem=1000M`` are left out."""
    found: dict[str, int] = {}
    for part in tres.split(",") if tres else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise MalformedRecordError(
                "not a list of resources", expected="name=count", found=ascii(part)[:60]
            )
        if name == "cpu" or name == _GPU or name.startswith(f"{_GPU}:"):
            if not _COUNT.fullmatch(value):
                raise MalformedRecordError("not a count", expected="digits", found=ascii(part)[:60])
            found[name] = int(value)
    return found
