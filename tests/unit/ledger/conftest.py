"""A pool that works, for the tests of what is kept of its work."""

from fakes.working_fixtures import make_pool, pool, working_model

__all__ = ["make_pool", "pool", "working_model"]
