"""One pool with vouchers, for all tests of this folder."""

import pytest

from unit.redemption.redeeming_pool import RedeemingPool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    return RedeemingPool.found(tmp_path_factory.mktemp("adapting"))
