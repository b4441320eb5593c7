"""Fixtures over `working_pool`, for the conftests that want them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.working_pool import WorkingModel, WorkingPool


@pytest.fixture(scope="session")
def working_model(tmp_path_factory: pytest.TempPathFactory) -> WorkingModel:
    """The tiny model and its profiles."""
    return WorkingModel(tmp_path_factory.mktemp("model") / "weights")


@pytest.fixture
def make_pool(tmp_path: Path, working_model: WorkingModel) -> Iterator[Callable[..., WorkingPool]]:
    """Makes pools that are closed after the test."""
    made: list[WorkingPool] = []

    def make(**changes: object) -> WorkingPool:
        folder = tmp_path / f"pool-{len(made)}"
        folder.mkdir()
        made.append(WorkingPool(folder, working_model, **changes))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def pool(make_pool: Callable[..., WorkingPool]) -> WorkingPool:
    """Two nodes, two validators, everything checked."""
    return make_pool()
