"""Every policy keeps the laws, and two of them agree with models that are too simple to be wrong."""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest
from builders import AAPL, Core, effect_from, fill, order, report
from cases import amounts, table
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import pit
from pit.types import Reject, RejectCode
from pitd import bootstrap, config, laws
from pitd.core import entry as e
from pitd.core.policy import PASS, Attempt, Policy, Verdict

SETTINGS = """
[calendar]
start_of_day = "17:00"
[currency]
firm = "USD"
rates = { USDT = { rate = "1", haircut_percent = "3" } }
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[limits]
own = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100", initial_pnl = "-10" }
won = { control = "pnl_kill_switch", each = "account", settlement = "USDT", max_profit = "300" }
eq = { control = "pnl_kill_switch", over = { group = "eq" }, settlement = "USD", max_loss = "150", max_profit = "400" }
all = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "200" }
fall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_drawdown = "180", then = "reduce" }
fast = { control = "rate_limit", each = "account", max_orders = 3, window = "5s" }
pair = { control = "rate_limit", each = "client+instrument", max_orders = 2, window = "2s" }
group = { control = "rate_limit", over = { group = "eq" }, max_orders = 4, window = "7s" }
firm = { control = "rate_limit", over = "firm", max_orders = 6, window = "10s" }
never = { control = "rate_limit", each = "client", max_orders = 0, window = "1s", clients = ["mm2"] }
big = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = 300, max_notional = 90000 }
coin = { control = "order_size_limit", each = "account", settlement = "USDT", max_notional = "50000" }
mine = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "100000" }
both = { control = "open_order_notional", each = "settlement", max_notional = "150000" }
near = { control = "price_collar", max_percent = "50", max_absolute = "90", side = "both" }
fair = { control = "price_collar", max_percent = "20", market = "reject", clients = ["mm2"] }
again = { control = "duplicate_order", max_repeats = 1, window = "3s" }
desk = { control = "duplicate_order", over = "firm", max_repeats = 0, window = "1s" }
loop = { control = "repeated_execution", max_executions = 2, window = "5s" }
flood = { control = "repeated_execution", over = { group = "eq" }, max_executions = 4, window = "9s" }
house = { control = "self_trade", over = "firm" }
wash = { control = "self_trade", each = "account" }
rule = { control = "instrument_rules", deny = ["BTC/USDT"], max_quantity = 400, min_price = 1, short_sale = "reject" }
net = { control = "position_limit", each = "instrument", max_quantity = "300" }
long = { control = "position_limit", each = "account+instrument", max_long = "200", max_short = 0 }
few = { control = "open_order_limit", each = "account", max_orders = 3 }
less = { control = "open_order_limit", over = { group = "eq" }, max_orders = 4 }
msgs = { control = "message_rate", each = "account", max_messages = 3, window = "5s", orders = true }
usd = { control = "open_order_notional", over = "firm", currency = "firm", max_notional = "200000" }
worth = { control = "exposure_limit", each = "account", settlement = "USD", max_gross = "40000", max_net = "20000" }
desk2 = { control = "exposure_limit", each = "client", currency = "firm", max_gross = "60000" }
whole = { control = "exposure_limit", over = "firm", currency = "firm", max_net = "30000" }
share = { control = "concentration_limit", over = "firm", currency = "firm", max_percent = 80, min_gross = 9000 }
flow = { control = "turnover_limit", each = "settlement", max_notional = "90000", window = "2s" }
funds = { control = "spot_funds", slippage_percent = "2.5", fee_percent = "0.1", accounts = ["alpha", "gamma"] }
watch = { control = "spot_funds", mode = "track", accounts = ["beta"] }
units = { control = "turnover_limit", each = "account+instrument", max_quantity = "300", window = "1s" }
daily = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = "95000", per = "day" }
"""


class Slots(msgspec.Struct, frozen=True, array_like=True, tag=True):
    account: str
    count: int


class OpenOrderCount(Policy):
    """A user's own policy: at most three open orders an account."""

    id: ClassVar[str] = "open_order_count"
    effect_types = (Slots,)

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def main(self, attempt: Attempt) -> Verdict:
        account = attempt.order.account
        used = self._open.get(account, 0)
        if used < 3:
            return Verdict((Slots(account, 1),))
        no = Reject(
            code=RejectCode.OTHER, policy=self.id, limit=self.id, scope=f"account {account}", reason=f"{used} are open"
        )
        return Verdict(rejects=(no,))

    def apply(self, effect: Any) -> None:
        self._open[effect.account] = self._open.get(effect.account, 0) + effect.count

    def undo(self, effect: Any) -> None:
        left = self._open.pop(effect.account) - effect.count
        if left:
            self._open[effect.account] = left

    def save(self) -> Any:
        return dict(sorted(self._open.items()))

    def load(self, saved: Any) -> None:
        self._open = dict(saved)


CONFIGURED = config.parse(SETTINGS)
"""Read once: an example makes its policy several times."""


def built_in(id: str) -> Policy:
    [policy] = [policy for policy in bootstrap.build_policies(CONFIGURED) if policy.id == id]
    return policy


SUBJECTS = [
    *(laws.Subject(policy.id, lambda id=policy.id: built_in(id)) for policy in bootstrap.build_policies(CONFIGURED)),
    laws.Subject("a user's own", OpenOrderCount),
]


@table("subject", SUBJECTS)
@pytest.mark.parametrize("law", laws.LAWS, ids=[law.says for law in laws.LAWS])
@pytest.mark.parametrize("count", amounts(100, quick=15))
def test_every_policy_keeps_the_law(count, law, subject):
    for example in examples_of(law.says, count):
        try:
            law.put_through(subject, **example)
        except Exception as trouble:
            pytest.fail(str(laws.broken_by(law, subject, examples=200) or laws.Broken(law, example, trouble)))


@functools.cache
def examples_of(says: str, count: int) -> list[dict[str, Any]]:
    """Other ones in each run. To draw them costs most, so every policy is put through the same."""
    [law] = [law for law in laws.LAWS if law.says == says]
    drawn: list[dict[str, Any]] = []

    @settings(max_examples=count, phases=[Phase.generate])
    @given(**law.wants)
    def draw(**example: Any) -> None:
        drawn.append(example)

    draw()
    return drawn


def test_each_law_has_many_examples():
    assert all(len(examples_of(law.says, 15)) >= 15 for law in laws.LAWS)


def test_every_built_in_control_is_put_through_the_laws():
    assert {subject.name for subject in SUBJECTS} >= {"order_validation", *bootstrap.CONTROLS}


# ---------------------------------------------------------------------------------------------- the laws can fail


class Forgetful(OpenOrderCount):
    """Breaks the laws one by one, so that we know they bite."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how
        self._asked = 0

    def main(self, attempt: Attempt) -> Verdict:
        if self._how == "counts while deciding":
            self._open[attempt.order.account] = self._open.get(attempt.order.account, 0) + 1
        if self._how == "reads into existence":
            self._open.setdefault(attempt.order.account, 0)
        if self._how == "counts its askings":
            self._asked += 1
            if self._asked % 2:
                return PASS
        return super().main(attempt)

    def undo(self, effect: Any) -> None:
        if self._how == "gives back to zero":
            self._open.pop(effect.account, None)
        elif self._how == "keeps zeros":
            self._open[effect.account] -= effect.count
        else:
            super().undo(effect)

    def load(self, saved: Any) -> None:
        if self._how != "loads nothing":
            super().load(saved)


@pytest.mark.parametrize(
    ("how", "law"),
    [
        ("counts while deciding", laws.deciding_changes_nothing),
        ("reads into existence", laws.deciding_changes_nothing),
        ("counts its askings", laws.same_inputs_same_verdict),
    ],
)
def test_a_policy_that_breaks_a_law_of_deciding_is_found(how, law):
    with pytest.raises(AssertionError):
        law(laws.Subject(how, lambda: Forgetful(how)), [], laws.act("main"))


@pytest.mark.parametrize("how", ["gives back to zero", "keeps zeros"])
def test_a_policy_that_gives_back_wrongly_is_found(how):
    subject = laws.Subject(how, lambda: Forgetful(how))
    with pytest.raises(AssertionError):
        laws.apply_then_rollback_is_identity(subject, [], laws.act("main"), [laws.act("main")])
        laws.apply_then_rollback_is_identity(subject, [], laws.act("main"), [])


def test_a_policy_that_loads_nothing_is_found():
    subject = laws.Subject("loads nothing", lambda: Forgetful("loads nothing"))
    with pytest.raises(AssertionError):
        laws.saved_and_loaded_decides_alike(subject, [laws.act("main")], [])


def test_a_policy_whose_effect_is_not_declared_is_found():
    class Undeclared(OpenOrderCount):
        effect_types = (type("Other", (msgspec.Struct,), {}, frozen=True, array_like=True, tag=True),)

    with pytest.raises((AssertionError, msgspec.ValidationError)):
        laws.effects_survive_encoding(laws.Subject("undeclared", Undeclared), [laws.act("main")])


# ---------------------------------------------------------------------------------------------- slow naive models


class NaiveRates:
    """rate_limit as it reads: a list of every attempt that counted, looked through each time."""

    LIMITS = (
        # name, breadth, who shares a counter, max_orders, window in ms
        ("pair", 0, lambda account, client: (client, "AAPL"), 2, 2_000),
        ("fast", 1, lambda account, client: account, 3, 5_000),
        ("never", 1, lambda account, client: client if client == "mm2" else None, 0, 1_000),
        ("group", 2, lambda account, client: "eq" if account in laws.GROUPS else None, 4, 7_000),
        ("firm", 3, lambda account, client: "firm", 6, 10_000),
    )

    def __init__(self) -> None:
        self._attempts: list[tuple[str, Any, int]] = []

    def refused_by(self, account: str, client: str, now_ms: int) -> set[str]:
        refused: dict[str, int] = {}
        counted = []
        for name, breadth, key_of, most, window_ms in self.LIMITS:
            key = key_of(account, client)
            if key is None:
                continue
            is_shared = breadth >= 2
            if not (is_shared and any(narrower < breadth for narrower in refused.values())):
                counted.append((name, key, now_ms))
            inside = [at for of, who, at in self._attempts if (of, who) == (name, key) and now_ms - at < window_ms]
            if len(inside) + 1 > most:
                refused[name] = breadth
        self._attempts += counted
        return set(refused)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, 0, 1, 250, 500, 999, 1_000, 1_001, 2_000, 5_000)),
            st.sampled_from(("alpha", "alpha", *laws.ACCOUNTS)),
            st.sampled_from(("mm1", "mm1", *laws.CLIENTS)),
        ),
        min_size=10,
        max_size=60,
    )
)
def test_rate_limit_agrees_with_a_list_of_all_attempts(history):
    policy, model = built_in("rate_limit"), NaiveRates()
    now_ms = 0
    for step_ms, account, client in history:
        now_ms += step_ms
        wanted = order(account=account, quantity="1", id="o1")
        attempt = Attempt(wanted, laws.LISTED[AAPL], client, laws.GROUPS.get(account), now_ms * 1_000_000)
        verdict = policy.start(attempt)
        for effect in verdict.effects:
            policy.apply(effect)
        assert {reject.limit for reject in verdict.rejects} == model.refused_by(account, client, now_ms)


class NaiveRepeats:
    """duplicate_order and repeated_execution as they read: a list of all attempts, looked through each time."""

    def __init__(self) -> None:
        self._attempts: list[tuple[str, str, str, int]] = []
        self._stopped: dict[tuple[str, str], int] = {}

    def refused_by(self, account: str, client: str, price: str, now_ms: int) -> set[str]:
        refused = set()
        for name, who, most, window_ms in (
            ("again", f"{account} {client}", 2, 3_000),
            ("desk", "firm", 1, 1_000),
            ("loop", client, 2, 5_000),
            ("flood", "eq" if account in laws.GROUPS else "", 4, 9_000),
        ):
            if not who or (name, who) in self._stopped:
                continue
            content = (name, who, price)
            inside = [at for *what, at in self._attempts if tuple(what) == content and now_ms - at < window_ms]
            self._attempts.append((*content, now_ms))
            if len(inside) + 1 > most:
                refused.add(name)
                if name in ("loop", "flood"):
                    self._stopped[name, who] = now_ms
        return refused

    def let_go(self, limit: str, who: str) -> None:
        if self._stopped.pop((limit, who), None) is not None:
            self._attempts = [each for each in self._attempts if each[:2] != (limit, who)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, 0, 1, 250, 999, 1_000, 1_001, 3_000, 9_000)),
            st.sampled_from(("alpha", "alpha", *laws.ACCOUNTS)),
            st.sampled_from(("mm1", "mm1", *laws.CLIENTS)),
            st.sampled_from(("100", "100", "101")),
            st.sampled_from(("", "", "", "loop", "flood")),
        ),
        min_size=10,
        max_size=60,
    )
)
def test_repeats_agree_with_a_list_of_all_attempts(history):
    policies, model, now_ms = [built_in("duplicate_order"), built_in("repeated_execution")], NaiveRepeats(), 0
    for step_ms, account, client, price, lifted in history:
        now_ms += step_ms
        wanted = order(account=account, quantity="1", id="o1", price=price)
        attempt = Attempt(wanted, laws.LISTED[AAPL], client, laws.GROUPS.get(account), now_ms * 1_000_000)
        refused = set()
        for policy in policies:
            verdict = policy.start(attempt)
            for effect in laws.own(verdict.effects):
                policy.apply(effect)
            refused |= {reject.limit for reject in verdict.rejects}
        assert refused == model.refused_by(account, client, price, now_ms)
        if lifted:
            who = client if lifted == "loop" else "eq"
            for effect in policies[1].lift(lifted, f"client {who}" if lifted == "loop" else "group eq").effects:
                policies[1].apply(effect)
            model.let_go(lifted, who)


class NaiveOpen:
    """open_order_notional as it reads: what every order not yet ended is worth, added up each time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._orders: dict[str, tuple[str, Decimal, Decimal]] = {}

    def total(self, account: str) -> Decimal:
        return sum((left * price for who, left, price in self._orders.values() if who == account), Decimal(0))

    def accepts(self, wanted: pit.Order) -> bool:
        assert wanted.quantity is not None and wanted.price is not None
        if self.total(wanted.account) + wanted.quantity * wanted.price > self._most:
            return False
        self._orders[wanted.id] = (wanted.account, wanted.quantity, wanted.price)
        return True

    def fill(self, id: str, quantity: Decimal) -> None:
        who, left, price = self._orders[id]
        self._orders[id] = (who, max(left - quantity, Decimal(0)), price)

    def end(self, id: str) -> None:
        del self._orders[id]

    def open_ids(self) -> list[str]:
        return [id for id, (_, left, _) in self._orders.items() if left]


prices = st.decimals(min_value="0.01", max_value="99.99", places=2)
sizes = st.decimals(min_value="0.001", max_value="50", places=3)
moves = st.tuples(
    st.sampled_from(("check", "check", "check", "fill", "fill", "cancel", "rollback", "mark_sent", "commit", "time")),
    st.sampled_from(laws.ACCOUNTS),
    prices,
    sizes,
    st.integers(0, 1_000),
)


@given(st.lists(moves, max_size=40))
def test_open_order_notional_agrees_with_a_sum_over_open_orders(history):
    core = Core(
        '[limits]\nopen_usd = { control = "open_order_notional", each = "account", settlement = "USD",'
        ' max_notional = "5000" }'
    )
    model = NaiveOpen(5000)
    ids: dict[str, int] = {}
    for n, (what, account, price, size, pick) in enumerate(history):
        known = model.open_ids()
        chosen = known[pick % len(known)] if known else None
        match what:
            case "check":
                wanted = order(account=account, id=f"o{n}", quantity=size, price=price)
                reply = core.check(wanted)
                assert isinstance(reply, e.Accepted) == model.accepts(wanted)
                if isinstance(reply, e.Accepted):
                    ids[wanted.id] = reply.reservation_id
            case "time":
                core.advance(6)
                core.end_leases()
                for id in known:
                    if core.state(ids[id]) == "rolled_back":
                        model.end(id)
            case "fill" if chosen:
                core.report(fill(chosen, size, price, account=core.engine.orders.find(ids[chosen]).account))
                model.fill(chosen, size)
            case "cancel" if chosen:
                account = core.engine.orders.find(ids[chosen]).account
                core.report(report("cancelled", order_id=chosen, account=account))
                model.end(chosen)
            case "rollback" if chosen:
                if isinstance(core.rollback(ids[chosen]), e.Stands):
                    model.end(chosen)
            case "mark_sent" if chosen:
                core.mark_sent(ids[chosen])
            case "commit" if chosen:
                core.commit(ids[chosen])
        for who in laws.ACCOUNTS:
            assert core.held(f"account {who}") == model.total(who)


def test_an_effect_of_every_kind_is_seen_by_the_law_of_encoding():
    seen: set[type] = set()
    for subject in SUBJECTS:
        policy = subject.make()
        with laws.exactly():
            for act in (laws.act("start"), laws.act("main")):
                later = laws.act("start", now_ms=60_000)
                seen |= {type(effect) for effect in laws.drive([act, later], policy).effects}
            loss = laws.Reported(report("accepted", order_id="x", pnl="-500"), "eq", "USD", 0)
            seen |= {type(effect) for effect in laws.own(policy.report(loss).effects)}
    types = {each for subject in SUBJECTS for each in subject.make().effect_types}
    assert {each.__name__ for each in types - seen} <= {
        *("Rearmed", "Lifted", "Begun", "Forgotten", "Turned", "Stopped", "LetGo", "DayTurned"),
    }


def test_a_rearm_and_a_latch_taken_off_survive_encoding():
    policy = built_in("pnl_kill_switch")
    with laws.exactly():
        for effect in policy.report(
            laws.Reported(report("accepted", order_id="x", pnl="-500"), None, "USD", 0)
        ).effects:
            if type(effect) in policy.effect_types:
                policy.apply(effect)
        wanted = [
            *policy.rearm("own", "account alpha", Decimal(50)).effects,
            *policy.lift("own", "account alpha").effects,
        ]
    assert [type(effect).__name__ for effect in wanted] == ["Rearmed", "Lifted"]
    for effect in wanted:
        assert effect_from(policy, msgspec.msgpack.decode(msgspec.msgpack.encode(effect))) == effect
