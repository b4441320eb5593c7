"""A plugin, `pytest -p question_log`: what tests ask `verify_bundle` goes to $CREDITLEDGER_QUESTIONS too."""

import json
import os
from typing import Any

import second_reader
from creditledger.transparency.trust_policy import TrustPolicy


def pytest_configure() -> None:
    """Have every question to `verify_bundle` written down before it is answered."""
    asked = second_reader.BOTH["verify_bundle"]

    def ask(encoded: bytes, policy: TrustPolicy, **named: Any) -> Any:
        line = {
            "bundle": encoded.hex(),
            "policy": policy.serialize().hex(),
            "now": named.get("now_unix_ms"),
        }
        with open(os.environ["CREDITLEDGER_QUESTIONS"], "a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")
        return asked(encoded, policy, **named)

    second_reader.BOTH["verify_bundle"] = ask  # type: ignore[index]
