"""A pool that works, for every test here."""

from fakes.working_fixtures import make_pool, pool, working_model

__all__ = ["make_pool", "pool", "working_model"]
