"""What is installed has the whole page: templates, scripts, and the licences of what is not ours."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from cli_pools import ROOT

PAGE = ROOT / "creditledger" / "service" / "page"


def test_wheel_and_sdist_carry_every_file_of_the_page(tmp_path: Path) -> None:
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    from hatchling.builders.sdist import SdistBuilder

    needed = {
        str(path.relative_to(ROOT))
        for path in PAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in needed if name.endswith(".LICENSE")} == {
        f"creditledger/service/page/static/vendor/{name}.LICENSE" for name in ("htmx", "uPlot")
    }
    (wheel,) = builders.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert needed <= set(zipfile.ZipFile(wheel).namelist())
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert needed <= names
