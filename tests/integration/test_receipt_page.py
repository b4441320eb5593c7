"""A receipt's page: what the browser ticks, and what it crosses out, in front of a real server.

The server's answers are spoiled on their way where a test says so: specs/service.md §9.2. Threat D3."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from browsing import Tab, chromium, faults_of
from creditledger.ledger.clock import system_clock
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch, Receipt
from creditledger.transparency.bundle import Bundle, SignedRecord
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.note import parse_note
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import HOUR_MS, ed25519
from fakes.lively_pool import MINUTE_MS, ORIGIN, LivelyPool
from fakes.shown_pool import ShownPool
from pool_processes import serving

pytestmark = pytest.mark.chromium

WIDE = {"width": 1200, "height": 900}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A served pool, and receipts of it: of the first job, and of the one under way."""

    url: str
    policy: TrustPolicy
    paid: str
    under_way: str

    def bundle(self, receipt: str) -> Bundle:
        return Bundle.decode(httpx2.get(f"{self.url}/v1/bundles/{receipt}", trust_env=False).content)


class SmallPool(LivelyPool):
    """A job that was upheld, settled and vested, and one that is under way."""

    def __init__(self, folder: Path, *, now_unix_ms: int) -> None:
        ShownPool.__init__(
            self, folder, origin=ORIGIN, start_unix_ms=now_unix_ms - HOUR_MS, rule_set=4, vesting_ms=0
        )
        self._keep_keys()
        until = now_unix_ms + 2 * HOUR_MS
        chain = self.work(self.order("done", self.node, expires_unix_ms=until), 512)[0]
        self.deliver(chain[-1:])
        self.certify()
        self.judge()
        self.certify()
        self.ledger.settle_due()
        for _ in range(3):
            self.wait(1)
            self.certify()
        self.clock.now = now_unix_ms - MINUTE_MS
        self.work(self.order("under way", self.node, expires_unix_ms=until), 300)
        self.certify()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("receipts") / "ledger"
    small = SmallPool(folder, now_unix_ms=system_clock())
    receipts, policy = list(_receipts(small)), small.ledger.policy()
    small.ledger.close()
    with serving(folder, "--interval", 1) as served:
        yield Served(url=served.url, policy=policy, paid=receipts[0], under_way=receipts[-1])


def _receipts(pool: LivelyPool) -> Iterator[str]:
    """The ids of all, in the order of the log."""
    with pool.ledger.snapshot() as snapshot:
        for index in range(snapshot.log.size):
            record = Entry.decode(snapshot.log.entry_bytes(index)).record
            if isinstance(record, Batch):
                for body in snapshot.log.bodies(record)[: record.count]:
                    yield Receipt.decode(body).digest(pool.ledger.id).hex()


@pytest.fixture(scope="module")
def still(browser: Any, pool: Served) -> Iterator[Any]:
    """The receipt's page, opened once for whoever spoils what it fetches."""
    opened = Tab(browser, pool.url, viewport=WIDE)
    page = opened.open(f"/receipts/{pool.paid}")
    assert checked(page) == "holds"
    yield page
    opened.close()


@pytest.fixture
def tab(browser: Any, pool: Served) -> Iterator[Tab]:
    opened = Tab(browser, pool.url, viewport=WIDE)
    yield opened
    opened.close()


def checked(page: Any) -> str:
    """The verdict, once it is there."""
    page.wait_for_selector("#checker[data-verdict]")
    verdict: str = page.get_attribute("#checker", "data-verdict")
    return verdict


def again(page: Any, act: Callable[[], object]) -> str:
    """The verdict after the page was made to check anew."""
    page.evaluate("delete document.getElementById('checker').dataset.verdict")
    act()
    return checked(page)


def states(page: Any) -> dict[str, str]:
    """Each step's state, which must stand there in words, too."""
    words = {
        "holds": "holds",
        "fails": "does not hold",
        "unchecked": "not checked here",
        "absent": "not in this bundle",
        "skipped": "not looked at",
    }
    found = {}
    for step in page.locator("#steps li").all():
        state = step.get_attribute("data-state")
        assert step.locator(".badge").inner_text() == words[state]
        found[step.get_attribute("data-step")] = state
    return found


def send(page: Any, receipt: str, bundle: Bundle | bytes) -> None:
    """Have the browser get this for the receipt's bundle."""
    body = bundle if isinstance(bundle, bytes) else bundle.encode()
    page.route(f"**/v1/bundles/{receipt}", lambda route: route.fulfill(status=200, body=body))


ALL = [
    "form",
    "ledger",
    "asked",
    "log",
    "witnesses",
    "age",
    "receipt",
    "entry",
    "signature",
    "order",
    "round",
    "state",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_true_receipt_is_ticked_step_by_step(
    browser: Any, pool: Served, scheme: str, tmp_path: Path
) -> None:
    tab = Tab(browser, pool.url, color_scheme=scheme, viewport=WIDE)
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) == "holds"
    expected = dict.fromkeys(ALL, "holds") | {"verdicts": "unchecked", "certificate": "unchecked"}
    assert states(page) == expected
    verdict = page.inner_text("#verdict")
    assert "has verified that its node signed it and that it stands in the log that a quorum" in verdict
    assert "rests on signatures which no browser can check" in verdict
    assert "creditledger verify" in verdict
    assert "this pool said" in verdict
    found = page.locator("li[data-step=asked] .found dd").all_inner_texts()
    assert found == [pool.paid, pool.paid]
    assert page.get_attribute("#verdict", "aria-live") == "polite"
    page.click("#said-by-bundle summary")
    assert "activations" in page.inner_text("#said") or "tokens" in page.inner_text("#said")
    assert faults_of(page) == []
    tab.shoot(f"receipt-{scheme}", tmp_path)
    assert tab.complaints == []
    tab.close()


def test_a_receipt_under_way_says_what_is_not_there_yet(tab: Tab, pool: Served) -> None:
    page = tab.open(f"/receipts/{pool.under_way}")
    assert checked(page) == "holds"
    assert "not yet" in page.inner_text("dl.figures")
    assert states(page)["order"] == "holds"
    assert "no delivery" in page.inner_text("li[data-step=order]")
    assert states(page)["verdicts"] == "absent"


def _spoiled(bundle: Bundle, other: Bundle, what: str) -> Bundle | bytes:
    entry, leaf, place = bundle.entry[0], bundle.leaf[0], bundle.entry[0].place[0]

    def placed(**changes: Any) -> tuple[SignedRecord, ...]:
        return (entry.replace(place=(place.replace(**changes),)),)

    if what == "leaf":
        return bundle.replace(leaf=(leaf.replace(index=leaf.index ^ 1),))
    if what == "sibling":
        return bundle.replace(entry=placed(path=(bytes(32), *place.path[1:])))
    if what == "time":
        return bundle.replace(entry=placed(time_unix_ms=place.time_unix_ms + 1))
    if what == "signature":
        return bundle.replace(
            entry=(entry.replace(signature=entry.signature[:-1] + bytes([entry.signature[-1] ^ 1])),)
        )
    if what == "swapped":
        return other
    if what == "truncated":
        return bundle.encode()[:-1]
    if what == "state":
        value = bundle.states[0].value
        return bundle.replace(
            states=(bundle.states[0].replace(value=value[:-2] + b"\x00\x00"), *bundle.states[1:])
        )
    note = parse_note(bundle.checkpoint)
    text, lines = note.text, [line.line for line in note.signatures]
    if what == "root":
        text = text.replace(text.split(b"\n")[2], b"A" * 43 + b"=")
    if what == "log":
        lines = [line for line in lines if b" local " in line]
    if what == "witnesses":
        lines = [line for line in lines if b" local " not in line]
    if what == "stranger":
        stranger = CosignatureSigner("stranger", ed25519("stranger")).cosign(text, timestamp=1_800_000_000)
        lines = sorted([*lines, stranger.line])
    if what == "witness":
        early = CosignatureSigner("local", ed25519("another")).cosign(text, timestamp=1_800_000_000)
        known = next(one for one in note.signatures if one.name == "local")
        lines = sorted(replace(known, body=early.body).line if b" local " in line else line for line in lines)
    return bundle.replace(checkpoint=text + b"\n" + b"".join(lines))


@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        ("truncated", "form", "cut short"),
        ("swapped", "asked", "another receipt"),
        ("root", "log", "signature does not hold"),
        ("log", "log", "its log did not sign"),
        ("stranger", "log", "does not know"),
        ("witness", "witnesses", "signature does not hold"),
        ("witnesses", "witnesses", "lacks a quorum"),
        ("leaf", "receipt", "another root"),
        ("sibling", "entry", "another root"),
        ("time", "entry", "another root"),
        ("signature", "entry", "another root"),
        ("state", "state", "another root"),
    ],
)
def test_a_spoiled_receipt_is_crossed_out_where_it_is_spoiled(
    still: Any, pool: Served, what: str, step: str, said: str
) -> None:
    page = still
    send(page, pool.paid, _spoiled(pool.bundle(pool.paid), pool.bundle(pool.under_way), what))
    assert again(page, lambda: page.dispatch_event("input[value=pool]", "change")) == "refused"
    found = states(page)
    at = list(found).index(step)
    assert found[step] == "fails"
    assert set(list(found.values())[:at]) <= {"holds", "absent"}
    assert set(list(found.values())[at + 1 :]) <= {"skipped"}
    assert said in page.inner_text(f"li[data-step={step}]").lower()
    assert "Do not believe" in page.inner_text("#verdict")
    assert page.locator("#said-by-bundle").is_hidden()


def test_a_refusal_is_seen_as_well(tab: Tab, pool: Served, tmp_path: Path) -> None:
    send(tab.page, pool.paid, _spoiled(pool.bundle(pool.paid), pool.bundle(pool.under_way), "sibling"))
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) == "refused"
    assert faults_of(page) == []
    tab.shoot("receipt-refused", tmp_path)


def test_an_old_checkpoint_is_not_fresh(tab: Tab, pool: Served) -> None:
    """The reader's own limit: the pool's policy has none."""
    page = tab.open(f"/receipts/{pool.paid}")
    checked(page)
    page.check("input[value=own]")
    strict = replace(pool.policy, max_age_ms=1).serialize().decode()
    page.fill("#policy-text", strict)
    assert again(page, lambda: page.click("#policy-keep")) == "refused"
    assert states(page)["age"] == "fails"
    lenient = replace(pool.policy, max_age_ms=86_400_000).serialize().decode()
    page.fill("#policy-text", lenient)
    assert again(page, lambda: page.click("#policy-keep")) == "holds"


def test_a_policy_of_ones_own_is_kept_and_forgotten(tab: Tab, pool: Served, tmp_path: Path) -> None:
    """It lies in this browser, for this ledger; and nobody's word is mentioned any more."""
    page = tab.open(f"/receipts/{pool.paid}")
    checked(page)
    page.check("input[value=own]")
    page.fill("#policy-text", "log nothing\n")
    page.click("#policy-keep")
    page.wait_for_function("document.getElementById('policy-said').textContent.startsWith('Not kept')")
    file = tmp_path / "policy"
    file.write_bytes(pool.policy.serialize())
    assert again(page, lambda: page.set_input_files("#policy-file", file)) == "holds"
    assert "this pool said" not in page.inner_text("#verdict")
    tab.shoot("receipt-own-policy", tmp_path)
    kept = page.evaluate("Object.entries(localStorage)")
    assert pool.policy.ledger_id is not None
    assert kept == [[f"creditledger/policy/{pool.policy.ledger_id.hex()}", file.read_text()]]
    page.reload()
    assert checked(page) == "holds"
    assert page.is_checked("input[value=own]")
    assert again(page, lambda: page.click("#policy-forget")) == "holds"
    assert page.evaluate("localStorage.length") == 0
    assert page.is_checked("input[value=pool]")


def test_a_pool_that_shows_another_policy_is_caught_by_ones_own(tab: Tab, pool: Served) -> None:
    """Whoever holds the right keys is not told otherwise by a log of the pool's making."""
    page = tab.open(f"/receipts/{pool.paid}")
    checked(page)
    page.check("input[value=own]")
    stranger = CosignatureSigner("local", ed25519("the witness that I know")).vkey
    own = replace(pool.policy, witnesses=(replace(pool.policy.witnesses[0], vkey=stranger),))
    page.fill("#policy-text", own.serialize().decode())
    assert again(page, lambda: page.click("#policy-keep")) == "refused"
    assert states(page)["log"] == "fails"


def test_any_bundle_is_checked_from_a_file_with_no_network(tab: Tab, pool: Served, tmp_path: Path) -> None:
    """Opened or dropped; a balance rests on what no browser can check, and nothing is proven of it."""
    page = tab.open("/verify")
    page.wait_for_selector("#checker:not([hidden])")
    policy = pool.policy.serialize().decode()
    page.check("input[value=own]")
    page.fill("#policy-text", policy)
    page.click("#policy-keep")
    account = httpx2.get(
        f"{pool.url}/v1/bundles/{ed25519('client').public_key.hex()}", trust_env=False
    ).content
    tab.context.set_offline(True)
    file = tmp_path / "client.bundle"
    file.write_bytes(account)
    assert again(page, lambda: page.set_input_files("#bundle-file", file)) == "open"
    assert "nothing is proven" in page.inner_text("#verdict")
    assert states(page) == dict.fromkeys(
        ["form", "ledger", "log", "witnesses", "age", "round", "state"], "holds"
    ) | {"certificate": "unchecked"}
    page.click("#said-by-bundle summary")
    assert re.search(r"[\d,.]+ credits", page.inner_text("#said"))
    assert faults_of(page) == []
    tab.shoot("verify-balance", tmp_path)
    long = tmp_path / "long.bundle"
    long.write_bytes(bytes(10**6))
    assert again(page, lambda: page.set_input_files("#bundle-file", long)) == "refused"
    assert "too long" in page.inner_text("li[data-step=form]")
    assert again(page, lambda: page.evaluate(_DROP, list(account))) == "open"
    # The page asks for news every few seconds, here in vain.
    in_vain = ("htmx:", "ERR_INTERNET_DISCONNECTED")
    assert [said for said in tab.complaints if not any(word in said for word in in_vain)] == []


_DROP = """(bytes) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "dropped.bundle"));
  const drop = new DragEvent("drop", { dataTransfer: transfer, cancelable: true });
  document.getElementById("drop").dispatchEvent(drop);
}"""


def test_a_browser_without_ed25519_says_that_it_could_not_look(tab: Tab, pool: Served) -> None:
    """Never a tick, and never a cross: it says nothing of the receipt."""
    tab.page.add_init_script(
        "crypto.subtle.importKey = () => Promise.reject(new DOMException('', 'NotSupportedError'))"
    )
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) == "unable"
    assert "could not check" in page.inner_text("#verdict")
    assert "fails" not in states(page).values()


def test_a_page_over_plain_http_says_why_it_cannot_look(tab: Tab, pool: Served) -> None:
    tab.page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) in ("unable", "trouble")
    assert "HTTPS" in page.inner_text("#verdict")


def test_what_the_pool_does_not_give_is_told(tab: Tab, pool: Served) -> None:
    problem = '{"detail": "no published checkpoint covers it yet"}'
    tab.page.route("**/v1/bundles/*", lambda route: route.fulfill(status=503, body=problem))
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) == "trouble"
    assert "no published checkpoint covers it yet" in page.inner_text("#verdict")


def test_a_receipt_is_read_without_scripts(browser: Any, pool: Served, tmp_path: Path) -> None:
    """The facts, the command, the bundle to take away."""
    tab = Tab(browser, pool.url, java_script_enabled=False, viewport=WIDE)
    page = tab.open(f"/receipts/{pool.paid}")
    text = page.inner_text("main")
    for words in (
        "upheld",
        "tiny-llama",
        "credits for its span",
        "creditledger verify receipt.bundle",
        "With scripts on",
    ):
        assert words in text
    before = pool.bundle(pool.paid)
    with page.expect_download() as download:
        page.click("text=Download the bundle")
    # The checkpoint in it may be dated anew at any moment.
    found = Bundle.decode(Path(download.value.path()).read_bytes())
    assert found in (before, pool.bundle(pool.paid))
    tab.shoot("receipt-without-scripts", tmp_path)
    tab.close()


def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Any, pool: Served, tmp_path: Path) -> None:
    tab = Tab(browser, pool.url, viewport={"width": 360, "height": 740})
    page = tab.open(f"/receipts/{pool.paid}")
    assert checked(page) == "holds"
    page.check("input[value=own]")
    page.wait_for_selector("#policy-text")
    assert faults_of(page) == []
    tab.shoot("receipt-narrow", tmp_path)
    tab.close()


@pytest.mark.parametrize(
    "spelling", ["0" * 64, "F" * 64, "0" * 63, "%3Cscript%3E", "..%2f..%2fpolicy", "%00"]
)
def test_what_is_no_receipt_is_not_found(pool: Served, spelling: str) -> None:
    answer = httpx2.get(f"{pool.url}/receipts/{spelling}", trust_env=False, headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "<script>" not in answer.text.replace("<script defer", "").replace("<script type", "")
