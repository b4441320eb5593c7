"""`rotate` and `register --next`: keys change hands, and every verb takes the new ones."""

from pathlib import Path
from typing import Any

import pytest

from cli_pools import ask, cli


def refuse(*arguments: object, exit_code: int) -> dict[str, Any]:
    """Run a verb that must fail so; its error."""
    said = cli(*arguments, "--json")
    assert said.code == exit_code, said
    return said.answer


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-person pool with a client ``carol`` who may rotate twice, and a queue that may once."""
    folder = tmp_path_factory.mktemp("rotation")
    ask("init", folder / "pool", "--origin", "pool.example/rotation")
    for name, role in (
        *(("carol", "client"), ("carol2", "client"), ("carol3", "client"), ("stranger", "client")),
        *(("queue", "queue"), ("queue2", "queue"), ("third", "operator"), ("fourth", "operator")),
    ):
        ask("key", "new", folder / f"{name}.key", "--role", role)
    registered = ask(
        "register", folder / "pool", "carol", "--key", folder / "carol.key", "--next", folder / "carol2.key"
    )
    assert len(registered["next_key"]) == 64
    queue = ("register", folder / "pool", "queue", "--key", folder / "queue.key")
    ask(*queue, "--next", folder / "queue2.key")
    ask("grant", folder / "pool", "carol", "100credits", "--reason", "test")
    return folder


def test_the_whole_life_of_an_account_with_three_keys(pool: Path) -> None:
    ledger, keys = pool / "pool", [pool / f"{name}.key" for name in ("carol", "carol2", "carol3")]
    wrong = ("rotate", ledger, "--key", keys[0], "--next")
    assert refuse(*wrong, keys[2], exit_code=6)["error"] == "RoleError"
    assert refuse(*wrong, pool / "queue.key", exit_code=6)["error"] == "RoleError"
    assert refuse(*wrong, pool / "missing.key", exit_code=2)["error"] == "UsageError"
    stranger = ("rotate", ledger, "--key", pool / "stranger.key", "--next", keys[1])
    assert refuse(*stranger, exit_code=6)["error"] == "UnknownIdError"
    rotated = ask("rotate", ledger, "--key", keys[0], "--next", keys[1], "--then", keys[2])
    assert (rotated["role"], rotated["repeated"], rotated["from_index"]) == (
        "client",
        False,
        rotated["index"] + 1,
    )
    again = ask("rotate", ledger, "--key", keys[0], "--next", keys[1], "--then", keys[2])
    assert (again["repeated"], again["index"]) == (True, rotated["index"])
    twice = ("rotate", ledger, "--key", keys[0], "--next", keys[1])
    assert refuse(*twice, exit_code=6)["error"] == "RoleError"
    transfer = ("transfer", ledger, "queue", "1credits", "--key")
    assert refuse(*transfer, keys[0], exit_code=6)["error"] == "RoleError"
    ask(*transfer, keys[1])
    ask("rotate", ledger, "--key", keys[1], "--next", keys[2])
    quote, voucher = pool / "quote", pool / "voucher"
    ask("quote", ledger, "--queue", "queue", "--class", "cpu", "--gpus", "1", "--seconds", "60", "-o", quote)
    assert refuse("hold", ledger, quote, "--key", keys[1], "-o", voucher, exit_code=6)["error"] == "RoleError"
    held = ask("hold", ledger, quote, "--key", keys[2], "-o", voucher)
    verified = ask("verify", voucher, "--policy", ledger / "policy")
    assert verified["ok"]
    assert verified["holder"] == rotated["account"]
    ask("rotate", ledger, "--key", pool / "queue.key", "--next", pool / "queue2.key")
    said = cli(
        *("run", ledger, "--queue", "local", "--voucher", voucher, "--key", pool / "queue2.key", "--json"),
        *("--", "true"),
    )
    ran = said.answer
    assert (ran["exit_code"], ran["settled"], ran["hold"]) == (0, True, held["hold"])
    assert ask("balance", ledger, rotated["account"])["held_micro"] == 0
    assert ask("audit", ledger)["ok"]
    assert ask("fsck", ledger)["ok"]


def test_the_operator_rotates_and_every_verb_goes_on(pool: Path) -> None:
    """L14: and nothing of a refused rotation stays behind."""
    ledger, keys = pool / "pool", pool / "pool" / "keys"
    before = sorted(keys.iterdir())
    first = ("rotate", ledger, "--key", keys / "operator.key", "--next")
    assert refuse(*first, pool / "third.key", exit_code=6)["error"] == "RoleError"
    assert sorted(keys.iterdir()) == before
    rotated = ask(*first, keys / "operator-next.key", "--then", pool / "third.key")
    assert rotated["role"] == "operator"
    assert sorted(keys.iterdir()) == before
    ask("grant", ledger, "carol", "1credits", "--reason", "test")
    assert refuse(*first, pool / "third.key", exit_code=6)["error"] == "RoleError"
    ask("rotate", ledger, "--key", keys / "operator-next.key", "--next", pool / "third.key")
    kept = sorted(set(keys.iterdir()) - set(before))
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]
    ask("grant", ledger, "carol", "1credits", "--reason", "test")
    assert ask("status", ledger)["published_size"] == ask("status", ledger)["size"]
    assert (ledger / "policy").read_text().count("#creditledger key ") == 3
    kept[0].rename(pool / "elsewhere.key")
    grant = ("grant", ledger, "carol", "1credits", "--reason", "test")
    refused = refuse(*grant, exit_code=6)
    assert (refused["error"], refused["expected"]) == (
        "RoleError",
        ask("key", "show", pool / "third.key")["public"],
    )
    (pool / "elsewhere.key").rename(keys / "found-by-its-public-key.key")
    ask(*grant)
    assert ask("audit", ledger)["ok"]
    assert ask("fsck", ledger)["ok"]
