"""The page as a program sees it: headers, caches, errors, links, statements. specs/service.md §9."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import ask, cli
from creditledger.ledger.clock import system_clock
from creditledger.ledger.keyring import KeyFile, KeyRole, bind_key, save_key
from creditledger.service.page.page_headers import CONTENT_POLICY
from creditledger.service.signed_request import LINK_AHEAD_MS_MAX, sign_link
from fakes.cast import ed25519, fake_digest
from fakes.lively_pool import LivelyPool
from pool_processes import RunningPool, serving

HTML = {"accept": "text/html,application/xhtml+xml"}
PAGES = (
    "/", "/leaderboard", "/nodes", "/nodes/node", "/accounts/ada", "/queues", "/queues/queue", "/search?q=no",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page") / "ledger"
    LivelyPool(made, now_unix_ms=system_clock()).ledger.close()
    return made


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[RunningPool]:
    with serving(folder, "--interval", 60) as served:
        yield served


def link(pool: RunningPool, name: str, *, by: str = "", path: str = "", ahead_ms: int = 600_000) -> str:
    """The page of a node, signed by it unless said otherwise."""
    target = path or f"/nodes/{name}"
    expires = system_clock() + ahead_ms
    return sign_link(ed25519(by or name), ledger_id=pool.ledger_id, target=target, expires_unix_ms=expires)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_lets_nothing_in_and_is_asked_for_anew(pool: RunningPool, path: str) -> None:
    found = pool.get(path, **HTML)
    assert (found.status_code, found.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert found.headers["content-security-policy"] == CONTENT_POLICY
    assert "unsafe" not in CONTENT_POLICY
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["referrer-policy"] == "no-referrer"
    assert found.headers["cache-control"] == "no-cache"
    assert " style=" not in found.text
    assert " onclick" not in found.text
    assert "<script>" not in found.text
    again = pool.get(path, **HTML, **{"if-none-match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = pool.client.head(path, headers=HTML)
    assert (head.status_code, head.content) == (200, b"")


def test_a_page_asks_for_news_and_is_told_there_are_none(pool: RunningPool) -> None:
    text = pool.get("/queues", **HTML).text
    news = text.partition('hx-get="/queues?')[2].partition('"')[0]
    quiet = pool.get(f"/queues?{news}", **HTML)
    assert (quiet.status_code, quiet.content, quiet.headers["cache-control"]) == (204, b"", "no-store")
    old = pool.get("/queues?since=0123456789abcdef", **HTML)
    assert (old.status_code, old.text.startswith('<div id="live"')) == (200, True)
    assert news in old.text


def test_files_are_kept_for_ever_under_their_version(pool: RunningPool) -> None:
    text = pool.get("/", **HTML).text
    urls = {part.partition('"')[0] for part in text.split('="/static/')[1:]}
    assert {url.partition("?")[0] for url in urls} >= {"page.css", "live.js", "vendor/htmx.min.js"}
    for url in urls:
        found = pool.get(f"/static/{url}")
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        bare = pool.get(f"/static/{url.partition('?')[0]}")
        assert (bare.headers["cache-control"], bare.content) == ("no-cache", found.content)
        old = pool.get(f"/static/{url.partition('?')[0]}?v=0000000000000000")
        assert old.headers["cache-control"] == "no-cache"
        tag = {"if-none-match": bare.headers["etag"]}
        assert pool.get(f"/static/{url.partition('?')[0]}", **tag).status_code == 304
    assert "Zero-Clause BSD" in pool.get("/static/vendor/htmx.LICENSE").text


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.css",
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/..%2f..%2fpool%2ftokens.py",
        "/static//etc/passwd",
        "/static/vendor",
        "/static/vendor/",
        "/static/page.css%00",
        "/static/PAGE.CSS",
        "/static/vendor/../page.css",
    ],
)
def test_a_path_is_no_way_to_another_file(pool: RunningPool, path: str) -> None:
    """L16: names are looked up, never joined."""
    url = f"{pool.url}{path}"
    found = pool.client.send(pool.client.build_request("GET", url))
    assert found.status_code == 404 or found.url.path == "/static/page.css", path


def test_errors_are_pages_for_browsers_and_problems_for_programs(pool: RunningPool) -> None:
    for path, status in (("/nodes/nobody", 404), ("/nothing", 404), ("/nodes?page=x", 400)):
        shown = pool.get(path, **HTML)
        assert (shown.status_code, shown.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert shown.headers["content-security-policy"] == CONTENT_POLICY
        assert "<h1>" in shown.text
        problem = pool.get(path, accept="*/*")
        assert (problem.status_code, problem.headers["content-type"]) == (status, "application/problem+json")
        head = pool.client.head(path, headers=HTML)
        assert (head.status_code, head.content) == (status, b"")
    assert pool.get("/v1/accounts/nobody", **HTML).headers["content-type"] == "application/problem+json"
    refused = pool.client.post("/nodes", headers=HTML)
    assert (refused.status_code, refused.headers["content-type"]) == (405, "application/problem+json")
    assert pool.get("/v1/records", **HTML).status_code == 405


HOSTILE = (
    "%00", "..", "%2e%2e", "-1", "1e9", "null", "' OR 1=1", "%3Cscript%3E", "%F0%9F%92%A9", "a" * 65,
    "ab" * 32, "AB" * 32, "ab" * 33, "node%0d%0aset-cookie:x", "node ", "%20node", "NODE", "no%64e%2f..",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["nodes", "accounts", "queues"])
def test_hostile_ids_are_nobodys(pool: RunningPool, kind: str) -> None:
    for text in HOSTILE:
        found = pool.get(f"/{kind}/{text}", **HTML)
        assert found.status_code in (200, 404), text
        assert found.status_code == 404 or text == "..", text
        assert "<script>" not in found.text
        assert "set-cookie" not in found.headers
    assert pool.get("/nodes/ada", **HTML).status_code == 404
    assert pool.get("/queues/node", **HTML).status_code == 404


def test_hostile_questions_are_answered_in_kind(pool: RunningPool) -> None:
    for text in (*HOSTILE, "", "*", "%25", "a" * 1_000):
        found = pool.get(f"/search?q={text}", **HTML)
        assert found.status_code in (200, 303), text
        assert "<script>" not in found.text
    for query in ("page=0", "page=-1", "page=1.5", "page=99999999", "page=%D9%A1", "page="):
        assert pool.get(f"/nodes?{query}", **HTML).status_code == 400, query
    assert pool.get("/nodes?page=9999999", **HTML).status_code == 200
    assert pool.get(f"/?{'a' * 3_000}", **HTML).status_code == 414


def test_a_name_an_id_and_its_beginning_lead_to_the_same_page(pool: RunningPool) -> None:
    account = ed25519("ada").public_key.hex()
    receipt = pool.get("/nodes/node", **HTML).text.partition("/receipts/")[2][:64]
    for text, path in (
        ("ada", "/accounts/ada"),
        ("ADA", "/accounts/ada"),
        (account, "/accounts/ada"),
        ("node", "/nodes/node"),
        ("queue", "/queues/queue"),
        (receipt, f"/receipts/{receipt}"),
        (pool.get("/v1/accounts/ada").json()["holds"][0]["hold"], "/accounts/ada"),
    ):
        found = pool.get(f"/search?q={text}", **HTML)
        assert (found.status_code, found.headers.get("location")) == (303, path), text
    for text in ("ad", account[:12]):
        found = pool.get(f"/search?q={text}", **HTML)
        assert (found.status_code, account in found.text) == (200, True), text
    assert account not in pool.get(f"/search?q={account[:3]}", **HTML).text


def test_ratios_are_for_the_holder_of_the_key_alone(pool: RunningPool) -> None:
    """Each refusal beside the link that opens."""
    good = link(pool, "node")
    opened = pool.get(good, **HTML)
    assert (opened.status_code, 'id="ratio-table"' in opened.text) == (200, True)
    assert (opened.headers["cache-control"], opened.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "etag" not in opened.headers
    assert 'id="ratio-table"' not in pool.get("/nodes/node", **HTML).text
    news = opened.text.partition('hx-get="/nodes')[2].partition('"')[0].replace("&amp;", "&")
    assert pool.get(f"/nodes{news}", **HTML).status_code == 204
    by_id = f"/nodes/{ed25519('node').public_key.hex()}"
    assert pool.get(link(pool, "node", path=by_id), **HTML).status_code == 200

    def status(path: str) -> int:
        answer = pool.get(path, **HTML)
        assert answer.status_code == 200 or 'id="ratio-table"' not in answer.text
        return answer.status_code

    last = "0" if good[-1] != "0" else "1"
    assert status(good[:-1] + last) == 422
    assert status(good.replace("/nodes/node?", f"{by_id}?")) == 422
    assert status(link(pool, "node", by="other-node")) == 403
    assert status(link(pool, "other-node", by="node")) == 403
    assert status(good.replace("/nodes/node?", "/nodes/other-node?")) == 403
    assert status(link(pool, "node", ahead_ms=-1)) == 410
    assert status(link(pool, "node", ahead_ms=LINK_AHEAD_MS_MAX + 60_000)) == 410
    assert status(good.partition("&signature")[0]) == 400
    assert status(f"{good}&key={'ab' * 32}") == 400
    assert status("/nodes/node?signature=") == 400
    foreign = sign_link(
        ed25519("node"),
        ledger_id=bytes(32),
        target="/nodes/node",
        expires_unix_ms=system_clock() + 600_000,
    )
    assert status(foreign) == 422


def test_the_verb_prints_a_link_that_opens(pool: RunningPool, tmp_path: Path) -> None:
    """specs/cli.md §25."""
    path = tmp_path / "node.key"
    save_key(path, KeyFile(role=KeyRole.NODE, secret=fake_digest("ed25519", "node")))
    said = cli("page-link", pool.url, "node", "--key", path)
    assert (said.code, "belongs to no ledger" in said.err) == (6, True)
    bind_key(path, ledger_id=pool.ledger_id)
    answer = ask("page-link", f"{pool.url}/", "node", "--key", path, "--valid", "2h")
    assert set(answer) == {"link", "node", "expires_unix_ms"}
    assert abs(answer["expires_unix_ms"] - system_clock() - 7_200_000) < 60_000
    assert 'id="ratio-table"' in pool.get(answer["link"].removeprefix(pool.url), **HTML).text
    printed = cli("page-link", pool.url, "node", "--key", path).out.strip()
    assert pool.get(printed.removeprefix(pool.url), **HTML).status_code == 200


def test_a_statement_is_what_the_verb_writes(pool: RunningPool, folder: Path) -> None:
    for form in ("csv", "jsonl", "beancount"):
        found = pool.get(f"/accounts/node/statement?format={form}")
        assert found.status_code == 200
        assert found.headers["content-disposition"] == f'attachment; filename="statement-node.{form}"'
        written = cli("statement", folder, "node", "--format", form).out
        assert found.text.replace("\r\n", "\n") == written.replace("\r\n", "\n")
    assert pool.get("/accounts/node/statement?format=pdf").status_code == 400
    assert pool.get("/accounts/nobody/statement").status_code == 404


def test_what_the_page_says_is_what_the_verbs_say(pool: RunningPool, folder: Path) -> None:
    balance = ask("balance", folder, "ada")
    text = pool.get("/accounts/ada", **HTML).text
    assert f"{balance['spendable_micro'] // 10**6:,}" in text
    assert all(hold["hold"] in text for hold in balance["holds"])
    node = ask("standing", folder, "other-node")
    shown = pool.get("/nodes/other-node", **HTML).text
    assert f'<td class="num">{node["refuted"]}</td>' in shown
    assert node["suspended"]
    assert "suspended</span>" in shown
    board = json.loads(cli("leaderboard", folder, "--by", "account", "--json").out)
    names = [row["name"] for row in board["rows"]]
    page = pool.get("/leaderboard", **HTML).text
    places = [page.index(f">{name}</a>") for name in names]
    assert places == sorted(places)


def test_a_private_pool_shows_its_page_to_who_has_a_token(folder: Path, tmp_path: Path) -> None:
    """A browser asks for the token by itself, and its answers are for no shared cache."""
    copy = tmp_path / "private"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("lock"))
    (copy / "service.toml").write_text("[reading]\nprivate = true\n")
    token = ask("token", "new", copy)["token"]
    with serving(copy) as served:
        refused = served.get("/", **HTML)
        assert (refused.status_code, "<h1>" in refused.text) == (401, True)
        assert 'Basic realm="creditledger"' in refused.headers.get_list("www-authenticate")[-1]
        assert served.get("/static/page.css").status_code == 401
        basic = base64.b64encode(f"reader:{token}".encode()).decode()
        for path in ("/", "/nodes/node", "/static/page.css", "/accounts/ada/statement"):
            shown = served.get(path, **HTML, authorization=f"Basic {basic}")
            assert shown.status_code == 200, path
            kept = shown.headers["cache-control"]
            assert "private" in kept or "no-store" in kept, path
            assert "public" not in kept
