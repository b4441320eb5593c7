"""The verifier of the page, run by itself in Chromium, and the package asked the same without pairings."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import pytest

from browsing import chromium
from creditledger.errors import CreditLedgerError, VerificationError
from creditledger.transparency import bundle_state, certificate
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle

STATIC = files("creditledger.service.page") / "static"
URL = "http://127.0.0.1:9/"
"""Nobody listens there: the test answers. Browsers lend their cryptography to pages of this machine."""
AT_ONCE = 100


class BrowserReader:
    """A tab that has the page's modules and nothing else."""

    def __init__(self, browser: Any) -> None:
        self.page = browser.new_page()
        self.page.route("**/*", _answer)
        self.page.goto(URL)
        self.page.evaluate(_LOAD)

    def bundles(self, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What it makes of each of `question`'s."""
        return self._ask("verified", asked)

    def ask(self, call: str, asked: Sequence[Any]) -> list[Any]:
        """Of each, what the asynchronous function ``call`` answers; None where that refuses."""
        return self._ask(f"answered({call})", asked)

    def _ask(self, function: str, asked: Sequence[Any]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(asked), AT_ONCE):
            part = json.dumps(list(asked[start : start + AT_ONCE]))
            answers += self.page.evaluate(f"(part) => inOrder({function}, JSON.parse(part))", part)
        return answers


@contextmanager
def browser_reader() -> Iterator[BrowserReader]:
    """One of its own; skips without a Chromium."""
    with chromium() as browser:
        yield BrowserReader(browser)


def question(
    encoded: bytes, policy: TrustPolicy | bytes, *, now_unix_ms: int | None = None
) -> dict[str, Any]:
    """A bundle, and whose word its reader takes."""
    text = policy if isinstance(policy, bytes) else policy.serialize()
    return {"bundle": encoded.hex(), "policy": text.hex(), "now": now_unix_ms}


def without_pairings(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the package believes every BLS signature, as a browser must leave them open."""

    def believe(**said: object) -> None:
        pass

    for module, name in (
        (bundle_state, "verify_bls"),
        (bundle_state, "verify_possession"),
        (certificate, "verify_bls_aggregate"),
        (certificate, "verify_possession"),
    ):
        monkeypatch.setattr(module, name, believe)


def told_by_package(asked: dict[str, Any]) -> tuple[list[str], str] | None:
    """The levels and the word on the work that the package finds; None where it refuses."""
    try:
        policy = TrustPolicy.parse(bytes.fromhex(asked["policy"]))
        encoded, now = bytes.fromhex(asked["bundle"]), asked["now"]
        found = verify_bundle(encoded, policy, require="signed", now_unix_ms=now)
    except (VerificationError, CreditLedgerError):
        return None
    return list(found.reached), found.work


def told_by_browser(answer: dict[str, Any]) -> tuple[list[str], str] | None:
    """The same of the browser, whatever it proved of it by itself; None where it refuses."""
    if answer["verdict"] == "refused":
        return None
    assert answer["verdict"] in ("holds", "open"), answer
    levels = ("signed", "logged", "certified", "upheld", "vested")
    said = answer["proven"] + answer["claimed"]
    return [level for level in levels if level in said], answer["work"]


def takes(read: Callable[[Any], object], value: Any) -> bool:
    """Whether the package does."""
    try:
        read(value)
    except CreditLedgerError:
        return False
    return True


def agree_on(reader: BrowserReader, call: str, asked: Sequence[Any], expected: Sequence[bool]) -> int:
    """How many both take; fails where the browser takes another one."""
    found = [answer is not None for answer in reader.ask(call, asked)]
    assert not [one for one, ours, theirs in zip(asked, expected, found, strict=True) if ours != theirs]
    return sum(found)


def damaged(encoded: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(encoded) + 1)
    stop = min(len(encoded), start + chance.randrange(3))
    return encoded[:start] + chance.randbytes(chance.randrange(3)) + encoded[stop:]


def _answer(route: Any) -> None:
    path = route.request.url.removeprefix(URL)
    if path.startswith("static/"):
        body = (STATIC / path.removeprefix("static/")).read_bytes()
        route.fulfill(status=200, content_type="text/javascript", body=body)
    else:
        route.fulfill(status=200, content_type="text/html", body="<!doctype html><title>reader</title>")


_LOAD = """async () => {
  const modules = ["verification", "policy", "octets", "ed25519", "sparse_map", "merkle", "refusal"];
  for (const name of [...modules, "record", "canonical", "log_head", "bundle"])
    Object.assign(globalThis, await import(`/static/verify/${name}.js`));
  const refused = (error) => { if (!(error instanceof Refusal)) throw error; };
  globalThis.bytes = (text) => fromHex(text);
  globalThis.inOrder = async (call, part) => {
    const all = [];
    for (const one of part) all.push(await call(one));
    return all;
  };
  globalThis.answered = (call) => async (one) => {
    try { return (await call(one)) ?? true; } catch (error) { refused(error); return null; }
  };
  const policies = new Map();
  globalThis.verified = async ({ bundle, policy, now, asked }) => {
    try {
      if (!policies.has(policy)) policies.set(policy, await parsePolicy(bytes(policy)));
    } catch (error) {
      refused(error);
      return { verdict: "refused", proven: [], claimed: [], step: "policy" };
    }
    const wanted = asked === undefined ? null : bytes(asked);
    const options = { asked: wanted, nowUnixMs: now };
    const told = await verifyBundle(bytes(bundle), policies.get(policy), options);
    const { verdict, proven, claimed, work, stopped, steps } = told;
    return {
      verdict, proven, claimed, work, step: stopped?.id ?? null, reason: stopped?.reason ?? null,
      steps: Object.fromEntries(steps.map((step) => [step.id, step.state])),
    };
  };
}"""
