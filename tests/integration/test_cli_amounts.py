"""Amounts at the edges of machine numbers, for every verb that decides about money: threat K9."""

from collections.abc import Callable

import pytest

from cli_pools import Stage, ask, cli

EXACT = (2**31 - 1, 2**31, 2**31 + 1, 2**53 - 1, 2**53, 2**53 + 1)
LARGEST = 2**63 - 1
OUT_OF_RANGE = (-1, 2**63, 2**63 + 1, 2**64 - 1, 2**64, 2**64 + 1)
NO_AMOUNT = ("true", "True", "1.0", "1e3", "0x10", "")
VERBS: dict[str, Callable[[Stage, object], list[object]]] = {
    "grant": lambda p, amount: ["grant", p.pool, "bob", amount, "--reason", "edge"],
    "credit-line": lambda p, amount: ["credit-line", p.pool, "bob", amount],
    "slash": lambda p, amount: ["slash", p.pool, "n1", amount, "--reason", "edge"],
    "clawback": lambda p, amount: ["clawback", p.pool, "ab" * 32, "n1", amount, "--reason", "edge"],
    "refund": lambda p, amount: [
        *("refund", p.pool, "ab" * 32, amount, "--reason", "edge"),
        *("--key", p / "gpu.key"),
    ],
    "transfer": lambda p, amount: ["transfer", p.pool, "bob", amount, "--key", p / "alice.key"],
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("amounts"))


def state(stage: Stage) -> list[dict[str, object]]:
    return [stage.balance(name) for name in ("alice", "bob", "gpu", "n1")]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("amounts", "code", "error"),
    [(OUT_OF_RANGE, 6, "AmountError"), (NO_AMOUNT, 2, "MalformedRecordError")],
    ids=["out of range", "no amount"],
)
def test_what_is_no_amount_moves_nothing(
    stage: Stage, verb: str, amounts: tuple[object, ...], code: int, error: str
) -> None:
    before = state(stage)
    for amount in amounts:
        said = cli(*VERBS[verb](stage, amount), "--json")
        assert (said.code, said.answer["error"]) == (code, error), (amount, said)
    assert state(stage) == before


@pytest.mark.parametrize("verb", ["grant", "credit-line", "slash"])
def test_amounts_are_kept_to_the_micro_credit(stage: Stage, verb: str) -> None:
    """No number passes through a float or a 32-bit word; a sum beyond the largest amount is refused."""
    before = stage.balance("bob")
    for amount in EXACT:
        assert ask(*VERBS[verb](stage, amount))[_KEPT[verb]] == amount
    after = stage.balance("bob")
    granted = sum(EXACT) if verb == "grant" else 0
    assert after["available_micro"] == before["available_micro"] + granted
    assert after["credit_line_micro"] == (EXACT[-1] if verb == "credit-line" else 0)
    if verb == "credit-line":
        ask("credit-line", stage.pool, "bob", 0)
    largest = cli(*VERBS[verb](stage, LARGEST), "--json")
    if verb == "slash":
        assert (largest.code, largest.answer["amount_micro"]) == (0, LARGEST)
    else:
        assert (largest.code, largest.answer["error"]) == (6, "AmountError")
    assert stage.balance("bob")["available_micro"] == after["available_micro"]


_KEPT = {"grant": "amount_micro", "credit-line": "limit_micro", "slash": "amount_micro"}
