"""Every verb once as it is meant, in one pool after another."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_pools import MODEL_DIGEST, ROOT, Stage, ask, cli, content_of, frames
from creditledger.errors import InclusionProofError
from creditledger.transparency.tile import decode_entry_bundle
from creditledger.transparency.tlog_proof import verify_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from ledger_pools import registration

MICRO = 1_000_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("verbs"))


def test_init_without_a_file_founds_a_one_person_pool(tmp_path: Path) -> None:
    founded = ask("init", tmp_path / "pool", "--origin", "pool.example/alone")
    assert (founded["quorum"], founded["local_validators"]) == (1, 1)
    assert founded["origin"] == "pool.example/alone"
    assert len(founded["ledger"]) == 64
    assert founded["ledger"] in Path(founded["policy"]).read_text()
    assert sorted(path.name for path in (tmp_path / "pool" / "keys").iterdir()) == [
        "log-ml-dsa-44.key",
        "operator-next.key",
        "operator.key",
        "validator-0.key",
        "witness-local.key",
    ]


def test_a_pool_with_a_second_log_key_is_proven_with_it(tmp_path: Path) -> None:
    """A reader of another policy gets a bundle without that line; neither is a bundle for the other."""
    pool, key, bundle = tmp_path / "pool", tmp_path / "alice.key", tmp_path / "bundle"
    founded = ask("init", pool, "--origin", "pool.example/second", "--require-ml-dsa")
    assert "log-ml-dsa-44.key" in {path.name for path in Path(founded["keys"]).iterdir()}
    ask("key", "new", key)
    ask("register", pool, "alice", "--key", key)
    written = TrustPolicy.load(pool / "policy")
    plain = replace(written, witnesses=written.witnesses[:1], groups=(), quorum="local")
    (tmp_path / "plain").write_bytes(plain.serialize())
    for policy, other in ((pool / "policy", tmp_path / "plain"), (tmp_path / "plain", pool / "policy")):
        ask("prove", pool, "alice", "--policy", policy, "-o", bundle)
        assert ask("verify", bundle, "--policy", policy)["name"] == "alice"
        assert cli("verify", bundle, "--policy", other).code == 1
    assert bundle.stat().st_size < 4_096
    assert ask("audit", pool)["ok"]


def test_a_committee_of_public_keys_certifies_only_where_its_keys_are(tmp_path: Path) -> None:
    """Without local validators a grant stays pending; with a key file copied in, the next verb certifies."""
    ask("key", "new", tmp_path / "v.key", "--role", "validator")
    ask("key", "new", tmp_path / "c.key")
    (tmp_path / "p.toml").write_text('[committee]\nmembers = ["v.key.pub"]\nquorum = 1\n')
    pool = tmp_path / "pool"
    arguments = ["--origin", "pool.example/two", "--parameters", tmp_path / "p.toml"]
    founded = ask("init", pool, *arguments)
    assert (founded["local_validators"], founded["quorum"]) == (0, 1)
    assert ask("register", pool, "carol", "--key", tmp_path / "c.key")["status"] == "pending"
    waiting = ask("grant", pool, "carol", "7", "--reason", "seed")
    assert (waiting["status"], waiting["round"]) == ("pending", None)
    before = ask("balance", pool, "carol")
    assert (before["available_micro"], before["certified"]) == (0, False)
    (pool / "keys" / "validator-0.key").write_bytes((tmp_path / "v.key").read_bytes())
    assert ask("checkpoint", pool)["certified_round"] == 2
    after = ask("balance", pool, "carol")
    assert (after["available_micro"], after["certified"]) == (7, True)


def test_a_hold_without_a_certified_round_gives_its_voucher_later(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    validator = stage.pool / "keys" / "validator-0.key"
    validator.rename(tmp_path / "away")
    arguments = [stage.quote(), "--key", stage / "alice.key", "-o", stage / "late", "--id", "03" * 16]
    said = cli("hold", stage.pool, *arguments, "--json")
    assert (said.code, said.answer["error"]) == (3, "BusyError")
    assert "03" * 16 in said.answer["message"]
    assert not (stage / "late").exists()
    assert stage.balance("alice")["certified"] is False
    (tmp_path / "away").rename(validator)
    assert ask("hold", stage.pool, *arguments)["repeated"] is True
    ask("verify", stage / "late", "--policy", stage.policy)


def test_registration_by_approval_takes_the_operators_key(tmp_path: Path) -> None:
    stage = Stage(tmp_path, parameters='admission = "approval"')
    assert stage.balance("n1")["role"] == "node"


def test_tokens_are_shown_once_listed_and_revoked(stage: Stage) -> None:
    """Once as JSON with the names of §24 and no others, once as a table; the secret only where it is made."""
    made = ask("token", "new", stage.pool, "--scope", "metrics", "--valid", "30m", "--name", "prometheus")
    invited = ask("invite", stage.pool, "--uses", 3, "-o", stage / "invitation")
    assert made["expires_unix_ms"] - made["created_unix_ms"] == 1_800_000
    text, secret = (stage / "invitation").read_text(), made["token"].rpartition("_")[2]
    assert text.startswith(f"clt_{invited['id']}_")
    listed = cli("token", "list", stage.pool, "--json").out
    rows = [json.loads(line) for line in listed.splitlines()]
    assert rows == [
        {name: value for name, value in row.items() if name not in ("token", "file")}
        for row in (made, invited)
    ]
    table = cli("token", "list", stage.pool).out
    for shown in (listed, table):
        assert secret not in shown
        assert text.strip().rpartition("_")[2] not in shown
        assert made["id"] in shown
    revoked = ask("token", "revoke", stage.pool, made["id"])
    assert ask("token", "revoke", stage.pool, made["id"]) == revoked
    assert (revoked["revoked_unix_ms"] or 0) > 0
    assert cli("admissions", stage.pool).out == "waiting: none\n"
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", _section("§24")))))
    assert {*made, *invited} <= named


def test_a_key_file_is_private_and_its_public_side_is_not(tmp_path: Path) -> None:
    made = ask("key", "new", tmp_path / "v.key", "--role", "validator")
    assert (tmp_path / "v.key").stat().st_mode & 0o777 == 0o600
    secret = json.loads((tmp_path / "v.key").read_text())["bls"]
    assert secret not in (tmp_path / "v.key.pub").read_text()
    shown = ask("key", "show", tmp_path / "v.key")
    assert shown["public"] == made["public"]
    assert shown["role"] == "validator"
    assert len(shown["proof_of_possession"]) == 192
    assert secret not in json.dumps(shown)


def test_registering_binds_the_key_file_to_the_ledger(stage: Stage) -> None:
    shown = ask("key", "show", stage / "alice.key")
    assert shown["ledger"] == ask("status", stage.pool)["ledger"]
    again = ask("register", stage.pool, "alice", "--key", stage / "alice.key")
    assert again["repeated"] is True


def test_a_grant_is_in_effect_and_certified_on_return(stage: Stage) -> None:
    stage.add("dora", "client")
    granted = stage.grant("dora", "2.5credits")
    assert granted["status"] == "certified"
    balance = stage.balance("dora")
    assert (balance["available_micro"], balance["certified"]) == (2_500_000, True)
    assert balance["round"] == granted["round"]


def test_a_repeated_id_is_a_success_and_moves_nothing_twice(stage: Stage) -> None:
    number = "0f" * 16
    first = stage.grant("bob", "3", "--id", number)
    again = stage.grant("bob", "3", "--id", number)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert first["index"] == again["index"]
    assert stage.balance("bob")["available_micro"] == 3


def test_from_quote_to_capture_and_release(stage: Stage) -> None:
    before = stage.balance("alice")
    hold = stage.hold(seconds=100)
    held = stage.balance("alice")
    assert held["held_micro"] == before["held_micro"] + MICRO
    verified = ask("verify", stage / "voucher", "--policy", stage.policy)
    assert (verified["subject"], verified["status"], verified["id"]) == ("hold", "open", hold)
    captured = ask("capture", stage.pool, hold, 1_500, "--key", stage / "gpu.key", "--id", "01" * 16)
    assert captured["amount_micro"] == 15_000
    again = ask("capture", stage.pool, hold, 1_500, "--key", stage / "gpu.key", "--id", "01" * 16)
    assert (again["repeated"], again["index"]) == (True, captured["index"])
    ask("release", stage.pool, hold, "--key", stage / "gpu.key")
    after = stage.balance("alice")
    assert after["held_micro"] == before["held_micro"]
    assert after["available_micro"] == before["available_micro"] - 15_000
    assert stage.balance("gpu")["metered_micro"] == 15_000 - 150


def test_a_hold_repeated_by_its_id_gives_the_voucher_again(stage: Stage) -> None:
    quote = stage.quote("again")
    arguments = [quote, "--key", stage / "alice.key", "-o", stage / "again.voucher", "--id", "02" * 16]
    first, again = ask("hold", stage.pool, *arguments), ask("hold", stage.pool, *arguments)
    assert (again["hold"], again["repeated"]) == (first["hold"], True)
    ask("verify", stage / "again.voucher", "--policy", stage.policy)


def test_transfer_moves_credits(stage: Stage) -> None:
    before = stage.balance("bob")["available_micro"]
    moved = ask("transfer", stage.pool, "bob", "10", "--key", stage / "alice.key")
    assert moved["status"] == "certified"
    assert stage.balance("bob")["available_micro"] == before + 10


def test_statement_ends_at_the_balance(stage: Stage) -> None:
    found = ask("statement", stage.pool, "alice")
    last = found["lines"][-1]
    balance = stage.balance("alice")
    assert last["available_after"] == balance["available_micro"]
    assert sum(line["available_change"] for line in found["lines"]) == balance["available_micro"]
    assert (found["account"], found["round"]) == (balance["account"], balance["round"])


def test_statement_of_an_account_by_its_hex_id_is_a_table(stage: Stage) -> None:
    said = cli("statement", stage.pool, stage.balance("alice")["account"])
    assert said.code == 0
    assert "grant" in said.out
    assert "round: " in said.out


def test_a_voucher_runs_one_job_and_gives_the_rest_back(stage: Stage) -> None:
    stage.hold("job.voucher")
    arguments = ["--queue", "local", "--voucher", stage / "job.voucher", "--key", stage / "gpu.key"]
    before = stage.balance("alice")
    ran = cli("run", stage.pool, *arguments, "--json", "--", "sh", "-c", "echo --json; exit 3")
    assert (ran.code, ran.err) == (0, "")
    answer = ran.answer
    assert (answer["exit_code"], answer["ending"], answer["settled"]) == (3, "exited", True)
    assert Path(answer["stdout"]).read_text() == "--json\n"
    assert answer["captured_micro"] + answer["released_micro"] == 6 * MICRO
    after = stage.balance("alice")
    assert after["available_micro"] == before["available_micro"] + answer["released_micro"]
    assert after["held_micro"] == before["held_micro"] - 6 * MICRO
    again = cli("run", stage.pool, *arguments, "--json", "--", "false")
    assert again.answer == answer


def test_the_queue_key_is_found_in_the_ledger_directory(stage: Stage) -> None:
    stage.hold("found.voucher", seconds=60)
    (stage.pool / "keys" / "gpu.key").write_bytes((stage / "gpu.key").read_bytes())
    ran = cli("run", stage.pool, "--queue", "local", "--voucher", stage / "found.voucher", "--json", "true")
    assert ran.answer["exit_code"] == 0


def _until_settled(run: list[object]) -> list[dict[str, Any]]:
    """Turn after turn until one settles something."""
    turns: list[dict[str, Any]] = []
    while not (turns and turns[-1]["settled"]):
        assert len(turns) < 100
        turns.append(ask(*run))
    return turns


def test_a_local_queue_is_installed_handed_jobs_and_run(tmp_path: Path) -> None:
    """Install, submit, one turn after another; then the same voucher, and a shadow's job."""
    stage = Stage(tmp_path)
    key = ["--key", stage / "gpu.key"]
    made = ask("queue", "install", stage.pool, "local", "--slots", 2, "--class", "cpu", *key)
    assert (made["slots"], made["class"]) == (2, "cpu")
    stage.hold("first", seconds=60)
    job = ["queue", "submit", stage.pool, "local", "--voucher", stage / "first", *key, "--json", "--"]
    waiting = cli(*job, "sh", "-c", "sleep 0.2; exit 3").answer
    assert (waiting["status"], waiting["before"], waiting["outcome"]) == ("waiting", 0, None)
    run = ["queue", "run", stage.pool, "local", "--once", *key]
    turns = _until_settled(run)
    assert turns[0]["started"] == [waiting["hold"]]
    (settled,) = turns[-1]["settled"]
    assert (settled["exit_code"], settled["settled"]) == (3, True)
    assert settled["captured_micro"] > 0
    again = cli(*job, "true").answer
    assert (again["status"], again["outcome"]) == ("ended", settled)
    stage.hold("second", seconds=60)
    other = ["queue", "submit", stage.pool, "local", "--voucher", stage / "second", *key, "--json", "--"]
    assert cli(*other, "sleep", "0.2").answer["status"] == "waiting"
    turns = _until_settled([*run, "--shadow"])
    (settled,) = turns[-1]["settled"]
    assert settled["gpu_ms"] >= 200
    assert (settled["captured_micro"], settled["released_micro"]) == (0, 600_000)
    shapes = _section("§21")
    for name in {*made, *waiting, *turns[0]}:
        assert name in shapes


def test_one_process_at_a_time_runs_a_local_queue(stage: Stage) -> None:
    from creditledger.ledger.directory import WriterLock

    made = ask("queue", "install", stage.pool, "local", "--slots", 1, "--key", stage / "gpu.key")
    run = ["queue", "run", stage.pool, "local", "--once", "--key", stage / "gpu.key"]
    lock = WriterLock(Path(made["directory"]) / "runner.lock")
    try:
        assert cli(*run).code == 3
    finally:
        lock.close()
    assert cli(*run).code == 0
    other = ["queue", "install", stage.pool, "local", "--slots", 1, "--queue", "gpu2"]
    stage.add("gpu2", "queue")
    ask(*other)
    assert cli(*run).code == 2
    assert cli(*run, "--queue", "gpu").code == 0
    assert cli(*run, "--queue", "gpu2").code == 6


def test_an_order_is_logged_held_and_its_secret_is_private(stage: Stage) -> None:
    (stage / "plan").write_text("# both spans at one node\n0:2 n1\n\n2:4 n1\n")
    ordered = ask(
        *("order", stage.pool, "--model", "tiny", "--plan", stage / "plan", "--positions", 256),
        *("--max-price", "1credits", "--key", stage / "alice.key", "-o", stage / "job"),
    )
    assert ordered["status"] == "certified"
    assert (stage / "job").stat().st_mode & 0o777 == 0o600
    waiting = cli("confirm", stage.pool, stage / "job", "--key", stage / "alice.key", "--json")
    assert (waiting.code, waiting.answer["error"]) == (3, "BusyError")
    by_digest = ask(
        *("order", stage.pool, "--model", MODEL_DIGEST, "--plan", stage / "plan", "--positions", 1),
        *("--max-price", 1, "--key", stage / "alice.key", "-o", stage / "other job"),
    )
    assert by_digest["job"] != ordered["job"]


def test_status_and_checkpoint_agree(stage: Stage) -> None:
    status, checkpoint = ask("status", stage.pool), ask("checkpoint", stage.pool)
    assert status["size"] == status["published_size"] == checkpoint["size"]
    assert status["certified_round"] == checkpoint["certified_round"]
    note = cli("checkpoint", stage.pool).out
    assert note.splitlines()[:2] == [status["origin"], str(status["size"])]
    assert status["granted_micro"] == sum(
        status[f"{part}_micro"] for part in ("available", "held", "unvested", "burned")
    )


def test_a_reader_without_the_operators_key_gets_the_published_checkpoint(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    ask("init", pool, "--origin", "pool.example/reader")
    (pool / "keys" / "operator.key").unlink()
    before = content_of(pool)
    assert cli("checkpoint", pool).out.encode() == (pool / "public" / "checkpoint").read_bytes()
    assert content_of(pool) == before


def test_bundles_of_account_hold_and_absence_verify(stage: Stage) -> None:
    hold = stage.hold("proven.voucher", seconds=50)
    for subject, arguments in {
        "account": ["alice"],
        "hold": [hold],
        "absent": ["--absent", "ab" * 32],
    }.items():
        made = ask("prove", stage.pool, *arguments, "-o", stage / "bundle")
        assert made["subject"] == subject
        verified = ask("verify", stage / "bundle", "--policy", stage.policy)
        assert (verified["subject"], verified["work"]) == (subject, "unchecked")
        assert verified["size"] == ask("status", stage.pool)["published_size"]
        assert verified["time_unix_ms"] > 0
    by_id = ask("prove", stage.pool, stage.balance("alice")["account"], "-o", stage / "bundle")
    assert by_id["subject"] == "account"


def test_a_proof_in_text_verifies_against_the_published_entry(stage: Stage) -> None:
    granted = stage.grant("bob", "1")
    path = stage / "grant.tlog-proof"
    made = ask("prove", stage.pool, granted["grant"], "--format", "tlog-proof", "-o", path)
    assert (made["subject"], made["index"]) == ("entry", granted["index"])
    assert (made["size"], made["bytes"]) == (ask("status", stage.pool)["published_size"], path.stat().st_size)
    by_index = stage / "index.tlog-proof"
    ask("prove", stage.pool, made["index"], "--format", "tlog-proof", "-o", by_index)
    assert by_index.read_bytes() == path.read_bytes()
    bundles = sorted((stage.pool / "public/tile/entries").glob("000.p/*"), key=lambda file: int(file.name))
    entries = decode_entry_bundle(bundles[-1].read_bytes(), width=int(bundles[-1].name))
    policy, entry = TrustPolicy.load(stage.policy), entries[made["index"]]
    assert verify_tlog_proof(path.read_bytes(), entry=entry, policy=policy).index == made["index"]
    with pytest.raises(InclusionProofError):
        verify_tlog_proof(path.read_bytes(), entry=entries[0], policy=policy)


def test_verify_says_work_size_and_time_in_text(stage: Stage) -> None:
    ask("prove", stage.pool, "bob", "-o", stage / "text bundle")
    lines = cli("verify", stage / "text bundle", "--policy", stage.policy).out.splitlines()
    assert "work: unchecked" in lines
    assert f"size: {ask('status', stage.pool)['size']}" in lines
    assert any(line.startswith("time unix ms: ") for line in lines)


def test_append_answers_each_frame_in_order(stage: Stage) -> None:
    ledger_id = bytes.fromhex(ask("status", stage.pool)["ledger"])
    one, two = (registration(ledger_id, name).encode() for name in ("erna", "fritz"))
    said = cli("append", stage.pool, "--stdin", "--ack", stdin=frames([one, b"no frame", two, one]))
    first, refused, second, again = said.out.splitlines()
    assert first.startswith("ACK ")
    assert refused == "REFUSED 1 MalformedRecordError"
    assert again == first
    assert int(second.split()[1]) == int(first.split()[1]) + 1
    assert said.code == 6
    assert stage.balance("fritz")["certified"] is True
    repeated = cli("append", stage.pool, "--stdin", "--ack", "--json", stdin=frames([one]))
    assert repeated.code == 0
    assert repeated.answer["index"] == int(first.split()[1])


def test_audit_and_fsck_find_nothing(stage: Stage) -> None:
    audited = ask("audit", stage.pool)
    assert audited["ok"] is True
    assert audited["entries"] == audited["checkpoint_size"] == ask("status", stage.pool)["size"]
    assert ask("fsck", stage.pool)["entries"] == audited["entries"]


def test_forget_keeps_what_no_logged_batch_names(stage: Stage) -> None:
    kept = stage.pool / "evidence" / ("ab" * 32)
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(b"sealed inputs of work that is not logged yet")
    answer = ask("forget", stage.pool)
    assert answer == {"sealed": 0, "evidence": 0, "freed_bytes": 0, "kept": 1}
    kept.unlink()
    assert ask("forget", stage.pool)["kept"] == 0


def _shapes(section: str) -> dict[str, set[str]]:
    """The JSON names that a section of specs/cli.md gives each verb, without what it says in words."""
    text = (ROOT / "specs" / "cli.md").read_text()
    part = text[text.index(f"\n## {section} ") :].split("\n## ", 2)[1]
    rows = [line.replace(r"\|", "/").split("|") for line in part.splitlines() if line.startswith("| `")]
    return {row[1].split("`")[1].split()[0]: set(re.findall(r"[a-z_]+", row[2])) for row in rows}


def test_json_has_the_names_that_the_spec_froze(stage: Stage) -> None:
    """Every name a verb answers with stands in its row of specs/cli.md, PLACE's in §3."""
    place = {"index", "leaf_hash", "repeated", "status", "round"}
    hold = stage.hold("shape.voucher", seconds=10)
    queue = ["--key", stage / "gpu.key"]
    answers = {
        "§4": {"register": ask("register", stage.pool, "gpu", *queue), "grant": stage.grant("bob", "1")},
        "§5": {
            "status": ask("status", stage.pool),
            "checkpoint": ask("checkpoint", stage.pool),
            "audit": ask("audit", stage.pool),
            "fsck": ask("fsck", stage.pool),
            "forget": ask("forget", stage.pool),
        },
        "§6": {
            "balance": stage.balance("bob"),
            "statement": ask("statement", stage.pool, "bob"),
            "standing": ask("standing", stage.pool, "n1"),
            "export": ask("export", stage.pool, "--format", "csv", "-o", stage / "all.csv"),
        },
        "§9": {
            "capture": ask("capture", stage.pool, hold, 5, *queue),
            "release": ask("release", stage.pool, hold, *queue),
            "transfer": ask("transfer", stage.pool, "bob", 1, "--key", stage / "alice.key"),
            "prices": ask("prices", stage.pool),
            "quote": _quoted(stage),
            "hold": _held(stage),
        },
    }
    answers["§6"]["statement"] |= answers["§6"]["statement"]["lines"][0]
    answers["§6"]["statement"] |= ask(
        "statement", stage.pool, "bob", "--format", "csv", "-o", stage / "s.csv"
    )
    answers["§6"]["balance"] |= stage.balance("alice")["holds"][0] | stage.balance("alice")["gpu_hours"]
    ranked = ask("leaderboard", stage.pool, "--by", "account")
    answers["§6"]["leaderboard"] = ranked | ranked["rows"][0]
    answers["§9"]["prices"] |= answers["§9"]["prices"]["prices"][0]
    for section, by_verb in answers.items():
        shapes = _shapes(section)
        for verb, answer in by_verb.items():
            named = shapes[verb] | (place if "grant" in by_verb or "capture" in by_verb else set())
            assert set(answer) <= named, (verb, set(answer) - named)


def _quoted(stage: Stage) -> dict[str, object]:
    terms = ["--queue", "gpu", "--class", "cpu", "--gpus", 1, "--seconds", 10]
    return ask("quote", stage.pool, *terms, "-o", stage / "shape.quote")


def _held(stage: Stage) -> dict[str, object]:
    return ask(
        *("hold", stage.pool, stage / "shape.quote", "--key", stage / "alice.key", "-o", stage / "shape.v")
    )


def test_standing_shows_nodes_and_validators(stage: Stage) -> None:
    found = ask("standing", stage.pool)
    assert [row["name"] for row in found["nodes"]] == ["n1"]
    assert found["nodes"][0] == ask("standing", stage.pool, "n1")
    assert found["nodes"][0]["rate_ppm"] == 1_000_000
    assert [(row["member"], row["faults"]) for row in found["validators"]] == [(0, [])]
    assert set(found["validators"][0]) == {
        "member", "bls_key", "checks", "missed", "outvoted", "canaries", "canaries_missed", "faults",
    }  # fmt: skip
    shown = cli("standing", stage.pool).out
    assert "nodes" in shown
    assert "validators" in shown


def test_a_canary_that_is_none_is_counted(stage: Stage) -> None:
    before = ask("audit", stage.pool)["canaries_committed"]
    planted = ask("canary", "plant", stage.pool)
    assert set(planted) == {"receipt", "index", "leaf_hash", "repeated", "status", "round"}
    assert planted["receipt"] is None
    opened = ask("canary", "open", stage.pool)
    assert set(opened) == {"opened", "committed", "opened_ever"}
    assert (opened["opened"], opened["committed"], opened["opened_ever"]) == ([], before + 1, 0)
    audited = ask("audit", stage.pool)
    assert (audited["canaries_committed"], audited["faulty_validators"]) == (before + 1, [])


def test_a_member_and_a_machine_spend_for_a_project(tmp_path: Path) -> None:
    """Up to the cap at that queue, and within the budget; the voucher says who pays."""
    stage = Stage(tmp_path)
    ask("key", "new", stage / "machine.key")
    alice, until = ask("balance", stage.pool, "alice")["account"], 10**14
    terms = ["--cap", "6credits", "--until", until, "--queue", "gpu", "--key", stage / "alice.key"]
    given = ask("delegate", stage.pool, "bob", *terms)
    assert (given["account"], given["cap_micro"], given["used_micro"]) == (alice, 6 * MICRO, 0)
    raw = ask("delegate", stage.pool, stage / "machine.key.pub", *terms)
    assert raw["delegate"] == ask("key", "show", stage / "machine.key")["public"]
    assert ask("delegate", stage.pool, raw["delegate"], *terms)["repeated"] is True
    quote = stage.quote()
    for name in ("bob", "machine"):
        arguments = [quote, "--for", "alice", "--key", stage / f"{name}.key", "-o", stage / f"{name}-voucher"]
        assert ask("hold", stage.pool, *arguments)["holder"] == alice
        shown = ask("verify", stage / f"{name}-voucher", "--policy", stage.policy)
        assert (shown["holder"], shown["amount_micro"]) == (alice, 6 * MICRO)
    again = ["hold", stage.pool, quote, "--for", "alice", "--key", stage / "bob.key", "-o", stage / "none"]
    said = cli(*again, "--id", "07" * 16, "--json")
    assert (said.code, said.answer["error"]) == (6, "LimitError")
    ask("delegate", stage.pool, "bob", *terms[:1], "12credits", *terms[2:])
    said = cli(*again, "--id", "07" * 16, "--json")
    assert (said.answer["error"], said.answer["found"]) == ("FailedIdError", "LimitError")
    said = cli("delegate", stage.pool, "bob", *terms, "--json")
    assert (said.code, said.answer["error"]) == (6, "ConflictError")
    own = ask("budget", stage.pool, "--limit", "12credits", "--days", 30, "--key", stage / "alice.key")
    assert (own["delegate"], own["spent_micro"]) == (None, 12 * MICRO)
    assert cli(*again, "--json").answer["error"] == "LimitError"
    one = ["--limit", 5, "--days", 1, "--for", "bob", "--notice", 3, "--key", stage / "alice.key"]
    assert ask("budget", stage.pool, *one)["spent_micro"] == 6 * MICRO


def test_an_account_is_left_out_of_leaderboards_and_closed(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert ask("listing", stage.pool, "--off", "--key", stage / "bob.key")["listed"] is False
    assert ask("listing", stage.pool, "--key", stage / "bob.key")["listed"] is True
    bob = ask("balance", stage.pool, "bob")["account"]
    closed = ask("close", stage.pool, "--key", stage / "bob.key")
    assert (closed["account"], closed["status"]) == (bob, "certified")
    assert ask("close", stage.pool, "--key", stage / "bob.key")["repeated"] is True
    said = cli("grant", stage.pool, "bob", 1, "--reason", "seed", "--json")
    assert (said.code, said.answer["error"]) == (6, "AccountClosedError")
    assert stage.balance("bob")["closed"] is True


def test_sim_says_what_each_strategy_earns(tmp_path: Path) -> None:
    """Once as JSON, with the names of §19 and no others; twice the same; and as a table."""
    rules = tmp_path / "p.toml"
    rules.write_text("[rates]\ncheck_floor_ppm = 30_000\n")
    arguments = ["sim", "--seed", 7, "--nodes", 5, "--receipts", 6, "--fold-receipts", 2]
    found = ask(*arguments)
    named = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", _section("§19")))))
    rows = {"scenario", "control", "ratio_ppm", "verdict", "latency_p99", "overhead_ppm", "nodes", "receipts"}
    for row in (*found["scenarios"], found["fold"]):
        assert rows < set(row) <= named
    assert len(found["scenarios"]) == 21
    assert (found["seed"], found["fold"]["agrees"]) == (7, True)
    assert ask(*arguments) == found
    assert ask(*arguments, "--config", rules)["trace"] != found["trace"]
    table = cli(*arguments)
    assert table.code == 0
    assert f"trace: {found['trace']}" in table.out
    assert max(map(len, table.out.splitlines())) <= 80


def _section(name: str) -> str:
    return (ROOT / "specs/cli.md").read_text().partition(f"\n## {name} ")[2].partition("\n## ")[0]


def test_doctor_reports_and_never_fails() -> None:
    found = ask("doctor")
    assert found["bls"]
    assert found["packages"]["click"]
    assert isinstance(found["warnings"], list)
    assert cli("doctor").code == 0


def test_a_page_link_is_signed_for_a_while(stage: Stage) -> None:
    """That it opens the page is shown in `test_page_http.py`."""
    answer = ask("page-link", "https://pool.example/", "n1", "--key", stage / "n1.key")
    assert set(answer) == {"link", "node", "expires_unix_ms"}
    assert answer["link"].startswith("https://pool.example/nodes/n1?key=")
    assert "`link, node, expires_unix_ms`" in _section("§25")


def test_help_names_every_verb() -> None:
    from creditledger.cli.main import VERBS

    shown = cli("--help").out
    assert all(f"  {verb} " in shown for verb in VERBS)
    for verb in VERBS:
        assert cli(verb, "--help").code == 0


def test_a_credit_line_lets_an_account_go_below_zero(stage: Stage) -> None:
    stage.add("lender", "client")
    line = ask("credit-line", stage.pool, "lender", "2credits")
    assert (line["limit_micro"], line["status"]) == (2 * MICRO, "certified")
    ask("transfer", stage.pool, "bob", "1.5credits", "--key", stage / "lender.key")
    balance = stage.balance("lender")
    assert (balance["overdrawn_micro"], balance["credit_line_micro"]) == (1_500_000, 2 * MICRO)


def test_a_refund_and_its_repeat(stage: Stage) -> None:
    hold = stage.hold("to be refunded", seconds=100)
    taken = ask("capture", stage.pool, hold, 50_000, "--key", stage / "gpu.key")
    ask("release", stage.pool, hold, "--key", stage / "gpu.key")
    before = stage.balance("alice")["available_micro"]
    arguments = [taken["capture"], "400000", "--reason", "node-failure", "--key", stage / "gpu.key"]
    first = ask("refund", stage.pool, *arguments, "--id", "1e" * 16)
    again = ask("refund", stage.pool, *arguments, "--id", "1e" * 16)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert stage.balance("alice")["available_micro"] == before + 400_000
    # Without --key the queue's key is looked for beside the operator's.
    (stage.pool / "keys" / "gpu.key").write_bytes((stage / "gpu.key").read_bytes())
    ask("refund", stage.pool, taken["capture"], "1", "--reason", "late")
    (stage.pool / "keys" / "gpu.key").unlink()
    assert stage.balance("alice")["available_micro"] == before + 400_001


def test_levies_are_paid_to_validators(tmp_path: Path) -> None:
    stage = Stage(tmp_path, parameters='[levy]\nppm = 100_000\nuse = "validators"')
    key = stage.pool / "keys" / "validator-0.key"
    named = ask("levy-payee", stage.pool, "bob", "--key", key)
    assert named["payee"] == stage.balance("bob")["account"]
    hold = stage.hold(seconds=100)
    ask("capture", stage.pool, hold, 50_000, "--key", stage / "gpu.key")
    paid = ask("levy", stage.pool)
    assert paid["shares"] == [{"account": named["payee"], "amount_micro": 50_000}]
    assert stage.balance("bob")["available_micro"] == 50_000
    assert ask("audit", stage.pool)["ok"] is True


def test_a_slurm_queue_installed_in_shadow_does_not_run_live(stage: Stage, tmp_path: Path) -> None:
    install = ["queue", "install", stage.pool, "slurm", "--queue", "gpu", "--cluster", "tiny"]
    where = ["--directory", tmp_path / "slurm"]
    assert ask(*install, *where, "--shadow")["shadow"] is True
    said = cli("queue", "run", stage.pool, "slurm", *where, "--once", "--json")
    assert (said.code, said.answer["error"]) == (6, "RefusedError")
    assert ask(*install, *where)["shadow"] is False
