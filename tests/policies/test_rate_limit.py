"""rate_limit: the table of CONTROLS.md, and each sentence of its rule."""

from __future__ import annotations

import pytest
from builders import BTC, INSTRUMENTS, Core, order

from pitd.core import entry as e

TWO_A_SECOND = '[limits]\nmsg_rate = { control = "rate_limit", each = "account", max_orders = 2, window = "1s" }'


def rate(limit: str, more: str = "") -> Core:
    return Core(f'{more}\n[limits]\nmsg_rate = {{ control = "rate_limit", {limit} }}')


def attempt_at(core: Core, now_s: float, client: str = "mm1", **fields: object) -> e.Reply:
    core.now_ns = 1_000_000_000_000 + round(now_s * 1e9)
    return core.check(order(**fields), client=client)


def passes_at(core: Core, now_s: float, client: str = "mm1", **fields: object) -> bool:
    return isinstance(attempt_at(core, now_s, client, **fields), e.Accepted)


def scopes(core: Core, limit: str = "msg_rate") -> list[str]:
    """The counters that are kept."""
    return [scope for scope, _ in core.engine.policies["rate_limit"].save()[limit]]


@pytest.mark.parametrize(
    ("at", "passes"),
    [
        ((0.0, 0.1, 0.2), (True, True, False)),
        ((0.0, 0.1, 0.2, 1.0), (True, True, False, False)),
        ((0.0, 0.1, 0.2, 1.0, 1.2), (True, True, False, False, True)),
        ((0.0, 0.5, 1.0, 1.5, 2.0), (True, True, True, True, True)),
        ((0.0, 0.0, 0.999999999), (True, True, False)),
        ((0.0, 0.0, 1.0), (True, True, True)),
    ],
)
def test_the_table(at, passes):
    core = Core(TWO_A_SECOND)
    assert tuple(passes_at(core, now_s) for now_s in at) == passes


def test_the_reject_carries_its_numbers():
    core = Core(TWO_A_SECOND)
    attempt_at(core, 0.0)
    attempt_at(core, 0.1)
    no = attempt_at(core, 0.2).rejected
    assert (no.code, no.policy, no.limit, no.scope) == (
        "RateLimitExceeded",
        "rate_limit",
        "msg_rate",
        "account alpha",
    )
    assert (no.bound, no.used, no.requested) == (2, 2, 1)


@pytest.mark.parametrize(
    "at", [(0.0, 0.1, 0.2), (0.0, 0.1, 0.2, 1.0), (0.0, 0.9, 0.9), (0.0, 0.3, 0.3, 0.4, 0.7), (0.0, 0.0, 0.0)]
)
def test_retry_after_s_is_when_the_next_one_passes_and_not_a_moment_earlier(at):
    for shift_ns, passes in ((-1, False), (0, True)):
        core = Core(TWO_A_SECOND)
        replies = [attempt_at(core, now_s) for now_s in at]
        core.now_ns += round(replies[-1].rejected.retry_after_s * 1e9) + shift_ns
        assert isinstance(core.check(order()), e.Accepted) is passes


def test_a_flood_does_not_recover_until_it_slows_down():
    core = Core(TWO_A_SECOND)
    passed = [passes_at(core, n / 10) for n in range(100)]
    assert passed == [True, True] + [False] * 98
    assert passes_at(core, 9.9 + 0.95)


def test_a_limit_of_zero_keeps_nothing_of_those_it_refuses():
    core = rate('each = "account", max_orders = 0, window = "1s"')
    for n in range(50):
        attempt_at(core, n / 100, account=f"a{n}")
    assert scopes(core) == []


def test_zero_rejects_all_and_names_no_time_to_come_back():
    core = rate('each = "account", max_orders = 0, window = "1s"')
    no = attempt_at(core, 0).rejected
    assert no.retry_after_s is None
    assert not passes_at(core, 1000)


@pytest.mark.parametrize(
    "refused_for",
    [{"quantity": "0"}, {"instrument": "NOPE"}, {"quantity": "999"}],
    ids=["validation", "an unknown symbol", "size"],
)
def test_an_attempt_that_another_control_refuses_counts_too(refused_for):
    core = Core(f'{TWO_A_SECOND}\nsize = {{ control = "order_size_limit", each = "account", max_quantity = "100" }}')
    assert not passes_at(core, 0.0, **refused_for)
    assert passes_at(core, 0.1)
    assert "RateLimitExceeded" in attempt_at(core, 0.2).rejected.codes


def test_an_attempt_of_a_blocked_account_counts_too():
    core = Core(TWO_A_SECOND)
    core.block("account alpha")
    attempt_at(core, 0.0)
    attempt_at(core, 0.1)
    assert attempt_at(core, 0.2).rejected.codes == ("AccountBlocked", "RateLimitExceeded")


def test_the_start_stage_counts_and_the_main_stage_does_not_count_again():
    core = Core(TWO_A_SECOND)
    core.now_ns = 10**12
    request = core.start(order())
    core.execute(request.request_id)
    assert isinstance(core.check(order()), e.Accepted)


def test_the_same_order_again_is_the_same_answer_and_no_new_attempt():
    core = Core(TWO_A_SECOND)
    same = order(id="o1")
    for _ in range(5):
        assert isinstance(attempt_at(core, 0.0, id="o1", quantity=same.quantity), e.Accepted)
    assert passes_at(core, 0.1)


def test_each_account_has_a_counter_of_its_own():
    core = Core(TWO_A_SECOND)
    assert [passes_at(core, 0.0, account=account) for account in ("alpha", "beta", "alpha", "beta")] == [True] * 4
    assert not passes_at(core, 0.1)


@pytest.mark.parametrize(
    ("each", "other", "scope"),
    [
        ("client", {"client": "mm2"}, "client mm1"),
        ("instrument", {"instrument": BTC}, "instrument AAPL/USD"),
        ("settlement", {"instrument": BTC}, "settlement USD"),
        ("account+instrument", {"instrument": BTC}, "account alpha, instrument AAPL/USD"),
        ("account+client", {"account": "beta"}, "account alpha, client mm1"),
    ],
)
def test_it_counts_by_what_each_says(each, other, scope):
    core = rate(f'each = "{each}", max_orders = 1, window = "1s"')
    assert passes_at(core, 0.0)
    assert attempt_at(core, 0.0).rejected.scope == scope
    assert passes_at(core, 0.0, **other)


def test_over_the_firm_one_counter_is_shared():
    core = rate('over = "firm", max_orders = 2, window = "1s"')
    assert passes_at(core, 0.0, account="alpha")
    assert passes_at(core, 0.0, client="mm2", account="beta")
    assert attempt_at(core, 0.0, account="gamma").rejected.scope == "firm"


def test_over_a_group_its_accounts_share_one_and_others_are_free():
    groups = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"'
    core = rate('over = { group = "eq" }, max_orders = 1, window = "1s"', groups)
    assert passes_at(core, 0.0, account="alpha")
    assert attempt_at(core, 0.0, account="beta").rejected.scope == "group eq"
    assert passes_at(core, 0.0, account="outsider")


NARROW_AND_WIDE = """
[accounts.runaway]
group = "eq"
[limits]
wide = { control = "rate_limit", over = "firm", max_orders = 5, window = "1s" }
narrow = { control = "rate_limit", each = "account", max_orders = 2, window = "1s" }
"""


def test_what_a_narrower_limit_refuses_does_not_count_on_a_wider_shared_one():
    core = Core(NARROW_AND_WIDE)
    for _ in range(50):
        attempt_at(core, 0.0, account="runaway")
    assert [passes_at(core, 0.0, account=account) for account in ("a", "b", "c")] == [True] * 3
    assert attempt_at(core, 0.0, account="d").rejected.limit == "wide"


def test_what_the_wider_one_refuses_counts_on_it_and_on_the_narrower_one():
    core = Core(NARROW_AND_WIDE)
    for account in ("a", "b", "c", "d", "e"):
        assert passes_at(core, 0.0, account=account)
    assert attempt_at(core, 0.1, account="f").rejected.codes == ("RateLimitExceeded",)
    attempt_at(core, 0.1, account="f")
    assert [reject.limit for reject in attempt_at(core, 0.2, account="f").rejected.rejects] == ["wide", "narrow"]


def test_a_group_stands_between_the_account_and_the_firm():
    core = Core(
        """
        [accounts.a]
        group = "eq"
        [accounts.b]
        group = "eq"
        [limits]
        firm = { control = "rate_limit", over = "firm", max_orders = 3, window = "1s" }
        eq = { control = "rate_limit", over = { group = "eq" }, max_orders = 2, window = "1s" }
        """
    )
    for _ in range(20):
        attempt_at(core, 0.0, account="a")
    assert attempt_at(core, 0.0, account="b").rejected.limit == "eq"
    assert passes_at(core, 0.0, account="outsider")


def test_two_counters_that_are_not_shared_both_count_what_one_refuses():
    core = Core(
        """
        [limits]
        by_account = { control = "rate_limit", each = "account", max_orders = 1, window = "1s" }
        by_client = { control = "rate_limit", each = "client", max_orders = 3, window = "1s" }
        """
    )
    for _ in range(3):
        attempt_at(core, 0.0)
    assert attempt_at(core, 0.0, account="beta").rejected.limit == "by_client"


def test_what_a_pair_refuses_still_counts_on_the_account_alone():
    core = Core(
        """
        [limits]
        by_pair = { control = "rate_limit", each = "account+instrument", max_orders = 1, window = "1s" }
        by_account = { control = "rate_limit", each = "account", max_orders = 3, window = "1s" }
        """
    )
    for _ in range(3):
        attempt_at(core, 0.0)
    assert attempt_at(core, 0.0, instrument=BTC).rejected.limit == "by_account"


def test_of_two_limits_over_the_firm_both_count_what_one_refuses():
    core = Core(
        """
        [limits]
        burst = { control = "rate_limit", over = "firm", max_orders = 1, window = "1s" }
        steady = { control = "rate_limit", over = "firm", max_orders = 3, window = "60s" }
        """
    )
    for _ in range(3):
        attempt_at(core, 0.0)
    assert attempt_at(core, 5.0).rejected.limit == "steady"


def test_rates_need_cover_nobody():
    core = rate('each = "account", accounts = ["alpha"], max_orders = 1, window = "1s"')
    assert [passes_at(core, 0.0, account="beta") for _ in range(3)] == [True] * 3


def test_except_takes_an_account_out():
    core = rate('each = "account", max_orders = 1, window = "1s", except = { accounts = ["fast"] }')
    assert [passes_at(core, 0.0, account="fast") for _ in range(3)] == [True] * 3
    assert [passes_at(core, 0.0, account="slow") for _ in range(2)] == [True, False]


def test_an_unknown_symbol_is_counted_by_account():
    core = rate('each = "account", max_orders = 2, window = "1s"', INSTRUMENTS)
    attempt_at(core, 0.0, instrument="ESZ7")
    attempt_at(core, 0.0, instrument="ESZ6")
    assert attempt_at(core, 0.0, instrument="ESZ6").rejected.code == "RateLimitExceeded"


def test_a_key_whose_newest_attempt_has_left_the_window_is_dropped():
    core = Core(TWO_A_SECOND)
    for n in range(100):
        attempt_at(core, n / 1000, account=f"a{n}")
    for n in range(100):
        attempt_at(core, 5 + n / 10_000, account="alpha")
    assert scopes(core) == ["account alpha"]


def test_a_key_that_is_still_inside_the_window_is_kept():
    core = Core(TWO_A_SECOND)
    attempt_at(core, 0.0, account="beta")
    for n in range(9):
        attempt_at(core, n / 10, account="alpha")
    attempt_at(core, 0.95, account="beta")
    assert attempt_at(core, 0.96, account="beta").rejected.scope == "account beta"


def test_memory_of_one_key_is_bounded_by_max_orders():
    core = Core(TWO_A_SECOND)
    for n in range(500):
        attempt_at(core, n / 1000)
    [[_, times]] = core.engine.policies["rate_limit"].save()["msg_rate"]
    assert len(times) <= 2


def test_names_with_commas_make_no_two_pairs_one():
    core = Core('[limits]\nx = { control = "rate_limit", each = "account+client", max_orders = 1, window = "1s" }')
    limit = core.engine.policies["rate_limit"]._limits.by_name["x"]
    pairs = [("a", "b, client c"), ("a, client b", "c"), ("a,", "c"), ("a", ",c"), ("a, b", "c"), ("a", "b, c")]
    assert len({limit.scope(account, client, "", "") for account, client in pairs}) == len(pairs)
