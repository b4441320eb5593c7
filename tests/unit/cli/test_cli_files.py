"""The files that verbs read and write: plans, parameters, outputs."""

import os
from pathlib import Path
from unittest.mock import patch

import click
import pytest

from creditledger.cli.output_file import output_file
from creditledger.cli.parameters_file import read_parameters
from creditledger.cli.plan_file import parse_plan
from creditledger.errors import AmountError, MalformedRecordError, StorageError
from creditledger.ledger.founding import default_parameters
from creditledger.records.parameters import Admission, LevyUse
from ledger_pools import validator_seat


def _account(name: str) -> bytes:
    return name.encode().ljust(32, b"\0")


def test_a_plan_names_one_node_per_span() -> None:
    spans = parse_plan(b"# who runs what\n0:10 anna\n\n 10:30\tbert \n", _account)
    assert [(span.layer_start, span.layer_stop, span.node[:4]) for span in spans] == [
        (0, 10, b"anna"),
        (10, 30, b"bert"),
    ]


@pytest.mark.parametrize(
    "line", ["0-10 a", "0:10", "0:10 a b", "00:10 a", "0:0 a", "-1:2 a", "0:1e3 a", "0:9999999 a", "\xff"]
)
def test_a_line_of_another_form_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(MalformedRecordError, match="line 2"):
        parse_plan(f"0:1 a\n{line}\n".encode("latin-1"), _account)


def _read(folder: Path, text: str) -> Path:
    path = folder / "pool.toml"
    path.write_text(text)
    return path


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    defaults = default_parameters([validator_seat()], quorum=1)
    assert read_parameters(_read(tmp_path, "")).apply(defaults) == defaults


def test_a_key_of_many_parts_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """Each part of a dotted key is looked up from the top: a file of 64 KiB would take 13 seconds."""
    assert read_parameters(_read(tmp_path, "grace_ms = 1 # " + "." * 100)).changes["grace_ms"] == 1
    for text in ("a." * 30_000 + "b = 1", "[" + "a." * 30_000 + "b]", "x = {" + "a." * 101 + "b = 1}"):
        with pytest.raises(MalformedRecordError, match="dots"):
            read_parameters(_read(tmp_path, text))


def test_every_key_of_the_file_reaches_its_field(tmp_path: Path) -> None:
    text = f"""
    rule_set = 1
    admission = "approval"
    transfers_allowed = false
    grace_ms = 1
    clock_tolerance_ms = 2
    [rates]
    check_floor_ppm = 3
    probation = "4credits"
    always_check = 5
    [vesting]
    rounds = 6
    time_ms = 7
    value = "8gpu-s"
    [levy]
    ppm = 9
    use = "burn"
    [[models]]
    digest = "{"02" * 32}"
    name = "second"
    layers = 1
    hidden = 2
    ff = 3
    heads = 4
    kv_heads = 4
    head_dim = 6
    micro_per_tflop = 7
    [[models]]
    digest = "{"01" * 32}"
    name = "first"
    layers = 1
    hidden = 2
    ff = 3
    heads = 4
    kv_heads = 4
    head_dim = 6
    micro_per_tflop = "1credits"
    [[hardware]]
    name = "b"
    micro_per_gpu_second = 1
    [[hardware]]
    name = "a"
    micro_per_gpu_second = 2
    """
    found = read_parameters(_read(tmp_path, text)).apply(default_parameters([validator_seat()], quorum=1))
    assert (found.admission, found.transfers_allowed) == (Admission.APPROVAL, 0)
    assert (found.grace_ms, found.clock_tolerance_ms) == (1, 2)
    assert (found.check_floor_ppm, found.probation_micro, found.always_check_micro) == (3, 4_000_000, 5)
    assert (found.vesting_rounds, found.vesting_ms, found.vesting_micro) == (6, 7, 8_000_000)
    assert (found.levy_ppm, found.levy_use) == (9, LevyUse.BURN)
    assert [terms.name for terms in found.models] == ["first", "second"]
    assert [price.name for price in found.hardware] == ["a", "b"]


def test_the_file_in_the_spec_is_read_and_says_the_defaults(tmp_path: Path) -> None:
    """specs/parameters.md §2 shows every key; what it does not list anew is as in §1."""
    from creditledger.ledger.keyring import save_public_key
    from ledger_pools import VALIDATOR

    save_public_key(tmp_path / "a.key.pub", VALIDATOR.public())
    page = (Path(__file__).parents[3] / "specs" / "parameters.md").read_text()
    text = page.split("```toml\n")[1].split("```")[0]
    defaults = default_parameters([validator_seat()], quorum=1)
    found = read_parameters(_read(tmp_path, text))
    changed = found.apply(defaults)
    assert found.members == defaults.committee
    assert changed.replace(models=(), hardware=defaults.hardware) == defaults
    assert [terms.name for terms in changed.models] == ["smollm2"]


def test_a_committee_has_a_majority_as_quorum_unless_it_says_otherwise(tmp_path: Path) -> None:
    from creditledger.ledger.keyring import save_public_key
    from ledger_pools import VALIDATOR

    save_public_key(tmp_path / "v.pub", VALIDATOR.public())
    found = read_parameters(_read(tmp_path, "[committee]\nmembers = ['v.pub']"))
    assert (found.members, found.quorum) == ((validator_seat(),), 1)
    assert read_parameters(_read(tmp_path, "[committee]\nmembers = ['v.pub']\nquorum = 2")).quorum == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("levy = 1", r"\[levy\] is not a table"),
        ("models = {}", "models is not an array"),
        ("models = [1]", "something else than tables"),
        ("profiles = 'a'", "profiles is not an array"),
        ("admission = 'royal'", "admission is not a known word"),
        ("transfers_allowed = 1", "not true or false"),
        ("[[models]]\ndigest = 'AB'", "lacks a key"),
        ("[rates]\nprobation = 1.5", "not an amount"),
        ("x" * 2_000_000, "too long"),
        ("a = " + "[" * 5_000, "not TOML"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MalformedRecordError, match=message):
        read_parameters(_read(tmp_path, text))


def test_a_negative_amount_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AmountError):
        read_parameters(_read(tmp_path, "[vesting]\nvalue = '-1'"))
    with pytest.raises(click.UsageError):
        read_parameters(tmp_path / "nowhere")


def test_an_output_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        with output_file(tmp_path / "out", mode=0o600) as write:
            write(content)
    assert (tmp_path / "out").read_bytes() == b"second"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_an_output_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


def _write_and_fail(path: Path) -> None:
    with output_file(path) as write:
        write(b"new")
        raise ZeroDivisionError


def test_an_output_is_refused_before_the_work_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = []
    for path in (tmp_path / "file" / "out", tmp_path / "nowhere" / "out"):
        with pytest.raises(StorageError), output_file(path):
            done.append(path)
    with pytest.raises(StorageError, match="exists"), output_file(tmp_path / "file", replaces=False):
        done.append(tmp_path)
    assert done == []


def test_a_secret_never_replaces_a_file_that_came_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        _write_too_late(tmp_path / "job")
    assert (tmp_path / "job").read_bytes() == b"theirs"


def _write_too_late(path: Path) -> None:
    with output_file(path, replaces=False) as write:
        write(b"mine")
        path.write_bytes(b"theirs")


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with (
        patch("os.write", side_effect=OSError(28, "No space left on device")),
        pytest.raises(StorageError, match="No space"),
        output_file(tmp_path / "out") as write,
    ):
        write(b"content")
    assert os.listdir(tmp_path) == []
