"""A log may ask so often a day, and is told when to come again."""

from creditledger.service.request_budget import DAY_MS, RequestBudget

START_MS = 1_750_000_000_000


def test_a_days_requests_then_one_at_a_time() -> None:
    budget = RequestBudget(4)
    assert [budget.take(START_MS) for _ in range(4)] == [0, 0, 0, 0]
    assert budget.take(START_MS) == DAY_MS // 4_000
    assert budget.take(START_MS + DAY_MS // 4 - 1) == 1
    assert budget.take(START_MS + DAY_MS // 4) == 0
    assert budget.take(START_MS + DAY_MS // 4) > 0


def test_what_is_saved_up_never_exceeds_a_day() -> None:
    budget = RequestBudget(2)
    assert [budget.take(START_MS + 30 * DAY_MS) for _ in range(3)] == [0, 0, DAY_MS // 2_000]


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = RequestBudget(1)
    assert budget.take(START_MS) == 0
    budget.give_back()
    budget.give_back()
    assert [budget.take(START_MS) for _ in range(2)] == [0, DAY_MS // 1_000]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    budget = RequestBudget(1)
    assert budget.take(START_MS) == 0
    assert budget.take(START_MS - DAY_MS) > 0
    assert budget.take(START_MS - 1) > 0
