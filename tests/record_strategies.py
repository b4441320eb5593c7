"""Any record, built from its type hints; and the list of all record classes there are."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Meta

# Imported for the record classes they declare.
from creditledger.quantities import ZERO_DIGEST, Text
from creditledger.records import (
    account,
    job,
    parameters,
    receipt,
    registration,
    round,
    state,
    transfer,
    verdict,
)
from creditledger.records.entry import LOGGED, Entry, Submission
from creditledger.records.receipt import WINDOW, OutputKind
from creditledger.records.record import Fields, Record

MODULES: Final = (account, job, parameters, receipt, registration, round, state, transfer, verdict)
RECORDS: Final[dict[str, type[Record]]] = {
    value.KIND.name.lower(): value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Record) and value is not Record
}
"""Every record class, by the name of its kind."""


def hints_of(cls: type[Fields]) -> dict[str, Any]:
    """The type hints of a record's fields, in order, with their limits."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in cls.__struct_fields__}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that the hint permits, the limits themselves among them."""
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=4).map(tuple)
    if get_origin(hint) is not Annotated:
        return fields_of(hint)
    limit = get_args(hint)[1]
    if isinstance(limit, Meta) and limit.le is not None:
        most = int(limit.le)
        edges = [edge for edge in (0, 1, 127, 128, 255, 256, 2**16, 2**32, 2**53) if edge <= most]
        return st.sampled_from([*edges, most]) | st.integers(0, most)
    if isinstance(limit, Meta):
        return st.binary(min_size=limit.min_length or 0, max_size=limit.max_length)
    assert isinstance(limit, Text)
    return st.from_regex(limit.pattern, fullmatch=True)


def fields_of(cls: type[Fields]) -> st.SearchStrategy[Any]:
    """Instances of a record class, or of a row inside one."""
    fit = FITS.get(cls.__name__, dict)
    return st.fixed_dictionaries({name: values_of(hint) for name, hint in hints_of(cls).items()}).map(
        lambda values: cls(**fit(values))
    )


def records() -> st.SearchStrategy[Record]:
    """Any record of any kind."""
    return st.sampled_from(sorted(RECORDS)).flatmap(lambda name: fields_of(RECORDS[name]))


def logged_records() -> st.SearchStrategy[Record]:
    """Any record that may stand in the log."""
    return st.sampled_from(sorted(LOGGED)).flatmap(lambda kind: fields_of(LOGGED[kind]))


def signatures() -> st.SearchStrategy[bytes]:
    """Bytes as long as an Ed25519 or a BLS signature."""
    return st.binary(min_size=64, max_size=64) | st.binary(min_size=96, max_size=96)


def entries() -> st.SearchStrategy[Entry]:
    """Any log entry."""
    return st.builds(
        Entry, time_unix_ms=st.integers(0, 2**63 - 1), record=logged_records(), signature=signatures()
    )


def submissions() -> st.SearchStrategy[Submission]:
    """Any submission, with a few bodies."""
    bodies = st.lists(st.binary(max_size=300), max_size=4).map(tuple)
    return st.builds(Submission, record=logged_records(), signature=signatures(), bodies=bodies)


Values = dict[str, Any]


def _fit_job(values: Values) -> Values:
    edges = sorted({span.layer_start for span in values["plan"]} | {0, 7})
    spans = [
        job.PlanSpan(layer_start=start, layer_stop=stop, node=ZERO_DIGEST) for start, stop in pairwise(edges)
    ]
    return values | {"plan": tuple(spans), "max_positions": max(1, values["max_positions"])}


def _fit_receipt(values: Values) -> Values:
    start, stop = sorted((values["layer_start"], values["layer_stop"]))
    output_kind = OutputKind.ACTIVATIONS if values["output_kind"] % 2 else OutputKind.TOKENS
    return values | {
        "layer_start": min(start, 2**16 - 2),
        "layer_stop": stop if stop > start else min(start, 2**16 - 2) + 1,
        "window_start": values["window_start"] // WINDOW * WINDOW,
        "positions": values["positions"] % WINDOW + 1,
        "output_kind": output_kind,
        "sampler": ZERO_DIGEST if output_kind == OutputKind.ACTIVATIONS else values["sampler"],
    }


def _fit_delivery(values: Values) -> Values:
    heads = {head.layer_start: head for head in values["heads"]}
    if not heads:
        heads = {
            3: receipt.ChainHead(node=values["client"], layer_start=3, receipt=values["job"], positions=1)
        }
    return values | {"heads": tuple(heads[start] for start in sorted(heads)), "closes": values["closes"] % 2}


def _fit_parameters(values: Values) -> Values:
    committee = tuple({member.bls_key: member for member in values["committee"]}.values())
    if not committee:
        committee = (
            parameters.Member(bls_key=bytes(48), proof_of_possession=bytes(96), audit_key=bytes(32)),
        )
    return values | {
        "committee": committee,
        "quorum": values["quorum"] % len(committee) + 1,
        "admission": values["admission"] % 2 + 1,
        "levy_use": values["levy_use"] % 3 + 1,
        "transfers_allowed": values["transfers_allowed"] % 2,
        "models": _ascending(values["models"], lambda terms: terms.model),
        "hardware": _ascending(values["hardware"], lambda price: price.name),
        "profiles": _ascending(values["profiles"], lambda terms: (terms.model, terms.layer_stop)),
    }


def _ascending(rows: tuple[Any, ...], key: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(row for _, row in sorted({key(row): row for row in rows}.items()))


def _fit_hold(values: Values) -> Values:
    job_digest = values["job"] if values["gpus"] % 2 else ZERO_DIGEST
    queue = ZERO_DIGEST if job_digest != ZERO_DIGEST else b"q" + values["queue"][1:]
    return values | {"job": job_digest, "queue": queue, "amount_micro": max(1, values["amount_micro"])}


FITS: Final[Mapping[str, Callable[[Values], Values]]] = {
    "Job": _fit_job,
    "Receipt": _fit_receipt,
    "Delivery": _fit_delivery,
    "Parameters": _fit_parameters,
    "Hold": _fit_hold,
    "DelegatedHold": lambda values: (
        _fit_hold(values | {"gpus": 2})
        | {"gpus": values["gpus"], "holder": b"h" + values["holder"][1:]}
        | {"delegate": b"d" + values["delegate"][1:]}
    ),
    "Budget": lambda values: values | {"days": values["days"] % account.DAYS_MAX + 1},
    "Listing": lambda values: values | {"listed": values["listed"] % 2},
    "Numerics": lambda values: values | {"bf16_partials": values["bf16_partials"] % 2},
    "Batch": lambda values: values | {"count": values["count"] % 4096 + 1},
    "Genesis": lambda values: values | {"parameters": values["parameters"].replace(sequence=0)},
    "Registration": lambda values: (
        values | {"role": values["role"] % 3 + 1, "admission": (values["admission"] * 64)[:64]}
    ),
    "Transfer": lambda values: (
        values
        | {"payer": b"a" + values["payer"][1:], "payee": b"b" + values["payee"][1:]}
        | {"amount_micro": max(1, values["amount_micro"])}
    ),
    "Verdict": lambda values: (
        values | {"outcome": values["outcome"] % 3 + 1, "reason": values["reason"] % 10 + 1}
    ),
    "AccountState": lambda values: values | ({"overdrawn_micro": 0} if values["available_micro"] else {}),
}
"""How to make free values obey the rules between a record's fields."""
