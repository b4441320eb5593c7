"""One pool for all tests of this folder: each test holds its own credits in it."""

import pytest

from unit.redemption.redeeming_pool import RedeemingPool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    return RedeemingPool.found(tmp_path_factory.mktemp("redeeming"))
