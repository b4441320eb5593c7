"""The pages and the code say the same. Source: specs/records.md, specs/errors.md."""

import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from creditledger import errors, quantities
from creditledger.quantities import octets, unsigned
from creditledger.records.entry import LOGGED
from creditledger.records.record import Fields, Record
from record_strategies import MODULES, RECORDS, hints_of

SPECS = Path(__file__).parents[3] / "specs"
RECORDS_PAGE = (SPECS / "records.md").read_text()
ROWS: dict[str, type[Fields]] = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Fields) and not issubclass(value, Record)
    if value is not Fields
}
LAYOUTS = dict(re.findall(r"^- ((?:row )?`\w+`(?: \(\d+\))?): (.*)$", RECORDS_PAGE, re.MULTILINE))


def hint_of(written: str) -> Any:
    """The type hint that the page's notation stands for."""
    if listed := re.fullmatch(r"\[(\w+)\]", written):
        return tuple[hint_of(listed[1]), ...]  # type: ignore[misc]
    if found := re.fullmatch(r"Bytes\((\d+)\.\.(\d+)\)", written):
        return Annotated[bytes, octets(int(found[1]), int(found[2]))]
    if found := re.fullmatch(r"Unsigned\((\d+)\)", written):
        return Annotated[int, unsigned(int(found[1]))]
    classes = ROWS | {record.__name__: record for record in RECORDS.values()}
    return classes[written] if written in classes else getattr(quantities, written)


def layout_of(heading: str) -> list[tuple[str, Any]]:
    """The fields that the page gives, with their types."""
    fields = (field.split(" ") for field in LAYOUTS[heading].split(", "))
    return [(name.strip("`"), hint_of(written)) for name, written in fields]


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_page_has_every_record_field_by_field(name: str) -> None:
    record = RECORDS[name]
    assert layout_of(f"`{name}` ({int(record.KIND)})") == list(hints_of(record).items())


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_page_has_every_row_field_by_field(name: str) -> None:
    assert layout_of(f"row `{name}`") == list(hints_of(ROWS[name]).items())


def test_the_page_has_no_other_records() -> None:
    assert len(LAYOUTS) == len(RECORDS) + len(ROWS)


def test_the_page_numbers_the_kinds() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \| (yes|no) \|$", RECORDS_PAGE, re.MULTILINE)
    assert [(int(number), name, logged == "yes") for number, name, logged in table] == sorted(
        (int(record.KIND), name, record.KIND in LOGGED) for name, record in RECORDS.items()
    )


def test_the_page_gives_every_quantity() -> None:
    section = RECORDS_PAGE.split("## §2")[1].split("## §3")[0]
    named = {name for name, value in vars(quantities).items() if get_origin(value) is Annotated}
    assert named <= set(re.findall(r"`(\w+)`", section))
    for name in ("NAME_PATTERN", "ORIGIN_PATTERN"):
        assert getattr(quantities, name).pattern.replace("(?!creditledger/)", "") in section


def test_quantities_carry_one_limit_each() -> None:
    for name, value in vars(quantities).items():
        if get_origin(value) is Annotated:
            assert len(get_args(value)) == 2, name


def test_sections_are_numbered_as_they_are_cited() -> None:
    sections = set(re.findall(r"^## (§\d+)", RECORDS_PAGE, re.MULTILINE))
    assert sections == {f"§{number}" for number in range(1, 15)}
    sources = (SPECS.parent / "creditledger").rglob("*.py")
    cited = {section for path in sources for section in re.findall(r"records\.md (§\d+)", path.read_text())}
    assert cited <= sections


def test_the_errors_page_is_the_error_tree() -> None:
    """Every error with its parent and exit code, and none besides."""
    table = re.findall(
        r"^\| `(\w+)` \| `?(\w+)`? \| (\d) \|", (SPECS / "errors.md").read_text(), re.MULTILINE
    )
    tree = {
        (name, "none" if value is errors.CreditLedgerError else value.__base__.__name__, str(value.exit_code))
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.CreditLedgerError)
    }
    assert set(table) == tree
    assert len(table) == len(tree)


def test_an_error_is_bounded() -> None:
    error = errors.RefusedError("m" * 10_000, expected="e" * 10_000, found="f" * 10_000)
    assert (len(str(error)), len(error.expected), len(error.found)) == (500, 200, 200)
