"""The laws that every policy keeps, built-in or a user's own, as functions to put a policy through.

A `Subject` says how to make the policy, in which configuration. `pitd check-policy` runs every law over one, and the
tests of the built-in ones run the same. Needs hypothesis: `pip install "pitd[check]"`.
"""

from __future__ import annotations

import decimal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Union

import hypothesis
import msgspec
from hypothesis import strategies as st

from pit.types import Block, ExecutionReport, Instrument, Order, Reject, RejectCode

from .core.balances import Balances
from .core.currency import Currency, Rate
from .core.engine import exact_context
from .core.entry import Hold
from .core.instruments import Instruments, Listed
from .core.policy import Attempt, Look, Policy, Reported, Verdict, whole_quantity
from .core.positions import Position, Positions
from .core.prices import Quote
from .core.valuation import Valuation

AAPL, BTC = Instrument("AAPL", "USD"), Instrument("BTC", "USDT")


class Subject(NamedTuple):
    """A policy to be put through the laws: its name in test reports, and how one is made anew."""

    name: str
    make: Callable[[], Policy]


ACCOUNTS = ("alpha", "beta", "gamma")
GROUPS = {"alpha": "eq", "beta": "eq"}
CLIENTS = ("mm1", "mm2")
LISTED = {
    pair: Listed(symbol=str(pair), underlying=pair.underlying, settlement=pair.settlement) for pair in (AAPL, BTC)
}


_HELD = Positions()
"""What the accounts hold meanwhile: alpha is long, beta is short, gamma holds nothing."""
for _account, _units in (("alpha", 150), ("beta", -80)):
    _HELD.put(_account, str(AAPL), Position(Decimal(_units), Decimal(100 * _units)))

_WORTH = Valuation(_HELD, Instruments({}).named)
"""What that is worth: everything has a mark and a rate that stay fresh."""
_WORTH.ask(
    Currency(firm="USD", rates={"USDT": Rate(fixed=Decimal(1), haircut_percent=Decimal(3))}),
    frozenset({"account", "client", "pool"}),
    asks_for_rates=True,
    asks_for_unrealised=True,
)
with decimal.localcontext(exact_context()):
    _HELD.regroup(GROUPS)
    _WORTH.exposures.restart()
    _WORTH.marks.keep(Quote(str(pair), Decimal(100), None, None, 10**18) for pair in LISTED)


_FUNDS = Balances()
"""What they have meanwhile."""
_FUNDS.load(
    [("alpha", {"USD": Decimal(90_000), "AAPL": Decimal(200)}), ("beta", {"USDT": Decimal(5_000), "BTC": Decimal(9)})]
)


class Act(NamedTuple):
    """One thing that can come to a policy; `pick` chooses the hold that `give_back` and `shrink` are about."""

    what: str
    attempt: Attempt
    reported: Reported
    pick: int


def act(what: str, account: str = "alpha", *, client: str = "mm1", pick: int = 0, **fields: Any) -> Act:
    """An act about an order of that account, or about a report that brings it `pnl`."""
    now_ns = fields.pop("now_ms", 0) * 1_000_000
    pnl = fields.pop("pnl", 0)
    quote = fields.pop("quote", None)
    known: dict[str, Any] = {"instrument": AAPL, "side": "buy", "price": "100", "quantity": "10"}
    if fields.get("volume") is not None:
        known["quantity"] = None
    order = Order(**({"account": account, "id": "o1"} | known | fields))
    assert isinstance(order.instrument, Instrument)
    listed = LISTED[order.instrument]
    report = ExecutionReport(account=account, kind="accepted", report_id="r1", order_id="o1", pnl=pnl)
    group = GROUPS.get(account)
    if quote is not None:
        mark, bid, ask = quote
        quote = Quote(listed.symbol, mark, bid, ask, now_ns)
    attempt = Attempt(order, listed, client, group, now_ns, _HELD, quote, balances=_FUNDS, valuation=_WORTH)
    return Act(what, attempt, Reported(report, group, listed.settlement, 0), pick)


def _any_act(
    what: str,
    account: str,
    client: str,
    pair: Instrument,
    cents: tuple[int, int, int],
    form: str,
    side: str,
    quote: tuple[Decimal | None, Decimal | None, Decimal | None] | None,
    now_ms: int,
) -> Act:
    size, price, pnl = (Decimal(each).scaleb(-2) for each in cents)
    return act(
        what,
        account,
        client=client,
        pick=now_ms,
        now_ms=now_ms,
        pnl=pnl,
        instrument=pair,
        side=side,
        quote=quote,
        quantity=None if form == "volume" else size,
        volume=size if form == "volume" else None,
        price=None if form == "market" else price,
    )


_cents = st.integers(-5_000, 50_000) | st.sampled_from((10_000, 10_100, 20_000))
_quotes = st.sampled_from(
    (None, (Decimal(100), None, None), (None, Decimal(99), Decimal(102)), (None, None, Decimal(101)))
)
acts = st.builds(
    _any_act,
    st.sampled_from(("start", "main", "main", "report", "give_back", "shrink", "modify", "answer", "answer")),
    st.sampled_from(ACCOUNTS),
    st.sampled_from(CLIENTS),
    st.sampled_from(list(LISTED)),
    st.tuples(_cents, _cents, _cents),
    st.sampled_from(("priced", "priced", "market", "volume")),
    st.sampled_from(("buy", "sell")),
    _quotes,
    st.integers(0, 3_000),
)
"""Orders of any sense or nonsense that the door lets through."""

histories = st.lists(acts, max_size=20)


class Driven:
    """A policy and what it holds, as the engine would drive it; time never goes back. `twins` carry out the same."""

    def __init__(self, policy: Policy, *twins: Policy) -> None:
        self.policy = policy
        self._all = (policy, *twins)
        self.holds: list[tuple[Attempt, tuple[Any, ...]]] = []
        self.modifies: dict[int, tuple[Attempt, tuple[Any, ...], tuple[Any, ...]]] = {}
        """By the place of the hold that is to change: the attempt, and what it would hold by old and new terms."""
        self.effects: list[Any] = []
        self._now_ns = 0

    def at(self, attempt: Attempt) -> Attempt:
        """The same attempt, at its step after what was before."""
        moment_ns = self._now_ns + attempt.now_ns
        order, listed, client, group = attempt.order, attempt.listed, attempt.client, attempt.group
        return Attempt(order, listed, client, group, moment_ns, _HELD, attempt.quote, balances=_FUNDS, valuation=_WORTH)

    def act(self, act: Act) -> Verdict | None:
        match act.what:
            case "start":
                attempt = self.at(act.attempt)
                self._now_ns = attempt.now_ns
                return self._carry_out(decided(self.policy.start, attempt))
            case "report":
                return self._carry_out(decided(self.policy.report, act.reported))
            case "main":
                attempt = self.at(act.attempt)
                verdict = decided(self.policy.main, attempt)
                if not verdict.rejects and whole_quantity(attempt.order) > 0:
                    self._carry_out(verdict)
                    self.holds.append((attempt, own(verdict.effects)))
                return verdict
            case "give_back" if self.holds:
                place = act.pick % len(self.holds)
                self._answer(place, is_replaced=False)
                _, effects = self.holds.pop(place)
                self.modifies = {at - (at > place): each for at, each in self.modifies.items()}
                self.undo(effects)
            case "shrink" if self.holds:
                place = act.pick % len(self.holds)
                self._answer(place, is_replaced=act.pick % 2 == 0)
                attempt, effects = self.holds[place]
                smaller = shrunk(self.policy, attempt, effects)
                self.undo(effects)
                self.apply(smaller)
                self.holds[place] = (attempt, smaller)
            case "modify" if self.holds:
                return self._modify(act.pick % len(self.holds), act.attempt)
            case "answer" if self.modifies:
                places = sorted(self.modifies)
                self._answer(places[act.pick % len(places)], is_replaced=act.pick % 2 == 0)
        return None

    def _modify(self, place: int, wanted: Attempt) -> Verdict:
        """The order at that place is to have this size and price: judged as if it held nothing, which it does again."""
        self._answer(place, is_replaced=False)
        attempt, old = self.holds[place]
        changed = modified(self.at(wanted), attempt, own_holds(self.policy, old))
        self.undo(old)
        verdict = decided(self.policy.main, changed)
        self.apply(old)
        if not verdict.rejects and whole_quantity(changed.order) > 0:
            new = own(verdict.effects)
            worse = self.policy.worse(old, new)
            self.undo(old)
            self.apply(worse)
            self.holds[place] = (attempt, worse)
            self.modifies[place] = (changed, old, new)
        return verdict

    def _answer(self, place: int, *, is_replaced: bool) -> None:
        if place not in self.modifies:
            return
        changed, old, new = self.modifies.pop(place)
        attempt, worse = self.holds[place]
        self.undo(worse)
        self.apply(new if is_replaced else old)
        self.holds[place] = (changed, new) if is_replaced else (attempt, old)

    def apply(self, effects: tuple[Any, ...]) -> None:
        for effect in effects:
            self.effects.append(effect)
            for policy in self._all:
                policy.apply(effect)

    def undo(self, effects: tuple[Any, ...]) -> None:
        for effect in reversed(effects):
            for policy in self._all:
                policy.undo(effect)

    def _carry_out(self, verdict: Verdict) -> Verdict:
        self.apply(own(verdict.effects))
        return verdict


def own(effects: tuple[Any, ...]) -> tuple[Any, ...]:
    """The effects that are the policy's own; a block is the engine's to carry out."""
    return tuple(effect for effect in effects if not isinstance(effect, Block))


def decided(decide: Callable[[Any], Verdict], about: Any) -> Verdict:
    """What the policy wants; one that cannot decide wants nothing, as the engine takes it."""
    try:
        return decide(about)
    except Exception as trouble:
        code = RejectCode.SYSTEM_UNAVAILABLE
        return Verdict(rejects=(Reject(code=code, policy="", limit="", scope="", reason=repr(trouble)),))


def modified(wanted: Attempt, before: Attempt, holds: tuple[Hold, ...]) -> Attempt:
    """The order of an attempt, with the size and price of another."""
    order, terms = before.order, wanted.order
    size = whole_quantity(terms)
    told = {"quantity": size} if order.volume is None else {"volume": size}
    changed = msgspec.structs.replace(order, price=terms.price, **told)
    return Attempt(
        changed,
        before.listed,
        before.client,
        before.group,
        wanted.now_ns,
        _HELD,
        wanted.quote,
        balances=_FUNDS,
        valuation=_WORTH,
        open_quantity=whole_quantity(changed),
        before=holds,
    )


def own_holds(policy: Policy, effects: tuple[Any, ...]) -> tuple[Hold, ...]:
    return tuple(Hold(policy.id, effect) for effect in effects)


def shrunk(policy: Policy, attempt: Attempt, effects: tuple[Any, ...]) -> tuple[Any, ...]:
    half = whole_quantity(attempt.order) / 2
    return tuple(policy.shrink(effect, attempt.order, attempt.listed, half) for effect in effects)


def drive(history: list[Act], policy: Policy, *twins: Policy) -> Driven:
    driven = Driven(policy, *twins)
    for one in history:
        driven.act(one)
    return driven


@contextmanager
def exactly() -> Iterator[None]:
    """The decimal context that the engine runs a policy under."""
    with decimal.localcontext(exact_context()):
        yield


# ---------------------------------------------------------------------------------------------- the laws


def deciding_changes_nothing(subject: Subject, history: list[Act], last: Act) -> None:
    with exactly():
        driven = drive(history, subject.make())
        before, inside = driven.policy.save(), repr(vars(driven.policy))
        attempt = driven.at(last.attempt)
        decided(driven.policy.start, attempt)
        decided(driven.policy.main, attempt)
        decided(driven.policy.report, last.reported)
        for name in driven.policy.limit_names:
            driven.policy.rearm(name, f"account {attempt.order.account}", whole_quantity(attempt.order))
        for held, effects in driven.holds:
            shrunk(driven.policy, held, effects)
        assert driven.policy.save() == before
        assert repr(vars(driven.policy)) == inside, "something is remembered that save() does not tell"


def apply_then_rollback_is_identity(subject: Subject, history: list[Act], last: Act, later: list[Act]) -> None:
    """However others come and go in between."""
    with exactly():
        without, with_it = subject.make(), subject.make()
        driven = drive(history, without, with_it)
        attempt = driven.at(last.attempt)
        verdict = decided(without.main, attempt)
        effects = () if verdict.rejects or whole_quantity(attempt.order) <= 0 else own(verdict.effects)
        for effect in effects:
            with_it.apply(effect)
        for one in later:
            driven.act(one)
        for effect in reversed(effects):
            with_it.undo(effect)
        assert with_it.save() == without.save()


def holding_nothing_is_like_never_having_held(subject: Subject, history: list[Act]) -> None:
    with exactly():
        driven = drive([one for one in history if one.what not in ("start", "report")], subject.make())
        for place in list(driven.modifies):
            driven._answer(place, is_replaced=False)
        while driven.holds:
            _, effects = driven.holds.pop(0)
            driven.undo(effects)
        assert driven.policy.save() == subject.make().save()


def what_a_modify_holds_is_taken_back_to_the_last(
    subject: Subject, history: list[Act], last: Act, later: list[Act]
) -> None:
    """An order whose modify is refused by the venue is as if nobody had asked, and one that is replaced and then given
    back leaves nothing, however others come and go in between.
    """
    with exactly():
        without, with_it = subject.make(), subject.make()
        driven = drive(history, without, with_it)
        if not driven.holds:
            return
        place = last.pick % len(driven.holds)
        driven._answer(place, is_replaced=False)
        attempt, old = driven.holds[place]
        changed = modified(driven.at(last.attempt), attempt, own_holds(without, old))
        for policy in (without, with_it):
            before = policy.save()
            _undo(policy, old)
            verdict = decided(policy.main, changed)
            _apply(policy, old)
            assert policy.save() == before, "asking about a modify has changed something"
        new = own(verdict.effects)
        if verdict.rejects or whole_quantity(changed.order) <= 0:
            return
        worse = without.worse(old, new)
        assert without.worse(old, old) == old
        _undo(with_it, old)
        _apply(with_it, worse)
        driven.holds.pop(place)
        driven.modifies = {at - (at > place): each for at, each in driven.modifies.items()}
        for one in later:
            driven.act(one)
        _undo(with_it, worse)
        if last.pick % 2:
            _apply(with_it, old)
        else:
            _apply(with_it, new)
            _undo(with_it, new)
            _undo(without, old)
        assert with_it.save() == without.save()


def the_worse_of_both_is_never_less_than_either(subject: Subject, history: list[Act], last: Act) -> None:
    """On every counter of every limit."""
    with exactly():
        driven = drive(history, subject.make())
        if not driven.holds:
            return
        attempt, old = driven.holds[last.pick % len(driven.holds)]
        if whole_quantity(last.attempt.order) <= 0:
            return
        policy = driven.policy
        _undo(policy, old)
        verdict = decided(policy.main, modified(driven.at(last.attempt), attempt, own_holds(policy, old)))
        new = own(verdict.effects)
        worse = policy.worse(old, new)
        used = [_used(policy, effects, driven._now_ns) for effects in ((), old, new, worse)]
        for key in {*used[1], *used[2]}:
            either = [some.get(key, Decimal(0)) for some in used[1:3]]
            assert used[3].get(key, Decimal(0)) >= max(either)
            none = used[0].get(key, Decimal(0))
            assert used[3].get(key, Decimal(0)) - none <= sum(either, Decimal(0)) - 2 * none, "more than both of them"


def shrinking_goes_by_what_may_trade(subject: Subject, history: list[Act]) -> None:
    """A fill that is undone gives back what it took: what a hold comes to does not hang on what it was before."""
    with exactly():
        driven = drive(history, subject.make())
        for place in list(driven.modifies):
            driven._answer(place, is_replaced=False)
        for attempt, effects in driven.holds:
            half = shrunk(driven.policy, attempt, effects)
            whole = whole_quantity(attempt.order)
            back = tuple(driven.policy.shrink(each, attempt.order, attempt.listed, whole) for each in half)
            again = tuple(driven.policy.shrink(each, attempt.order, attempt.listed, whole) for each in effects)
            assert back == again


def _used(policy: Policy, effects: tuple[Any, ...], now_ns: int) -> dict[tuple[str, str, str], Decimal]:
    """What every counter stands at while these effects are held as well."""
    _apply(policy, effects)
    look = Look(now_ns, "", 1_000, GROUPS.get, _HELD)
    found = {
        (name, counter.scope, counter.what): counter.used
        for name in policy.limit_names
        for counter in policy.counters(name, look)
        if counter.used is not None
    }
    _undo(policy, effects)
    return found


def _apply(policy: Policy, effects: tuple[Any, ...]) -> None:
    for effect in effects:
        policy.apply(effect)


def _undo(policy: Policy, effects: tuple[Any, ...]) -> None:
    for effect in reversed(effects):
        policy.undo(effect)


def closing_and_reopening_is_identity(subject: Subject, history: list[Act]) -> None:
    """An order that was taken for closed and is there all the same holds what it held."""
    with exactly():
        driven = drive(history, subject.make())
        before = driven.policy.save()
        for _, effects in driven.holds:
            for effect in reversed(effects):
                driven.policy.close(effect)
            for effect in effects:
                driven.policy.reopen(effect)
        assert driven.policy.save() == before


def effects_survive_encoding(subject: Subject, history: list[Act]) -> None:
    with exactly():
        policy = subject.make()
        driven = drive(history, policy)
        replayed = subject.make()
        for effect in driven.effects:
            assert type(effect) in policy.effect_types
            plain = msgspec.msgpack.decode(msgspec.msgpack.encode(effect))
            back = msgspec.convert(plain, Union[policy.effect_types])  # noqa: UP007 - made of a tuple
            assert back == effect
            assert type(back) is type(effect)
            hash(effect)
            replayed.apply(back)


def same_inputs_same_verdict(subject: Subject, history: list[Act], last: Act) -> None:
    with exactly():
        verdicts = []
        for _ in range(2):
            driven = drive(history, subject.make())
            attempt = driven.at(last.attempt)
            for _ in range(2):
                verdicts.append(
                    (
                        decided(driven.policy.start, attempt),
                        decided(driven.policy.main, attempt),
                        decided(driven.policy.report, last.reported),
                    )
                )
        assert verdicts[0] == verdicts[1] == verdicts[2] == verdicts[3]


def saved_and_loaded_decides_alike(subject: Subject, history: list[Act], later: list[Act]) -> None:
    with exactly():
        driven = drive(history, subject.make())
        state = msgspec.json.decode(msgspec.json.encode(driven.policy.save()))
        loaded = Driven(subject.make())
        loaded.policy.load(state)
        loaded.holds, loaded._now_ns = list(driven.holds), driven._now_ns
        loaded.modifies = dict(driven.modifies)
        assert loaded.policy.save() == driven.policy.save()
        for one in later:
            assert loaded.act(one) == driven.act(one)
        assert loaded.policy.save() == driven.policy.save()


class Law(NamedTuple):
    """A law in words, the function that puts a policy through it, and what it is put through it with."""

    says: str
    put_through: Callable[..., None]
    wants: Mapping[str, st.SearchStrategy[Any]]


_HISTORY, _LAST, _LATER = {"history": histories}, {"last": acts}, {"later": histories}

LAWS = (
    Law("deciding changes nothing", deciding_changes_nothing, _HISTORY | _LAST),
    Law(
        "apply then undo is identity, however others come and go",
        apply_then_rollback_is_identity,
        _HISTORY | _LAST | _LATER,
    ),
    Law("holding nothing is like never having held", holding_nothing_is_like_never_having_held, _HISTORY),
    Law("an end that was none changes nothing", closing_and_reopening_is_identity, _HISTORY),
    Law("effects survive encoding", effects_survive_encoding, _HISTORY),
    Law("same inputs, same verdict", same_inputs_same_verdict, _HISTORY | _LAST),
    Law("state saved and loaded decides alike", saved_and_loaded_decides_alike, _HISTORY | _LATER),
    Law(
        "a modify that is over leaves nothing behind",
        what_a_modify_holds_is_taken_back_to_the_last,
        _HISTORY | _LAST | _LATER,
    ),
    Law(
        "a modify counts no less than its old and its new terms",
        the_worse_of_both_is_never_less_than_either,
        _HISTORY | _LAST,
    ),
    Law("what is held goes by what may trade", shrinking_goes_by_what_may_trade, _HISTORY),
)


class Broken(NamedTuple):
    """How a law was broken: the smallest example that was found, where in the policy or the law, and why."""

    law: Law
    example: Mapping[str, Any]
    trouble: BaseException

    def __str__(self) -> str:
        """For a person to read."""
        why = str(self.trouble).partition("\n")[0] or "what was expected did not hold"
        lines = [f"{self.law.says}: {type(self.trouble).__name__}: {why}"]
        for name, value in self.example.items():
            told = [f"  {name}: nothing"] if not value else []
            lines += told or [f"  {name}: {shown(each)}" for each in ([value] if isinstance(value, Act) else value)]
        for frame in traceback.extract_tb(self.trouble.__traceback__)[-3:]:
            if Path(frame.filename).parts[-2:-1] != ("hypothesis",):
                lines.append(f"  at {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}")
        return "\n".join(lines)


def shown(one: Act) -> str:
    """An act in words."""
    attempt = one.attempt
    match one.what:
        case "start" | "main":
            quote = "" if attempt.quote is None else f", quote {attempt.quote.mark or attempt.quote.bid}"
            after = f", {attempt.now_ns // 1_000_000} ms later" if attempt.now_ns else ""
            return f"{one.what} stage: {attempt.content} of {attempt.order.account} by {attempt.client}{after}{quote}"
        case "report":
            return f"report: {one.reported.report.account} made {one.reported.report.pnl} {one.reported.settlement}"
        case "give_back":
            return "an order is rolled back"
        case _:
            return "half of an order is filled"


def broken_by(law: Law, subject: Subject, *, examples: int, seed: int | None = None) -> Broken | None:
    """The smallest example by which a policy breaks a law, or None where so many examples find none."""
    last: dict[str, Any] = {}

    def put_through(**example: Any) -> None:
        last.clear()
        last.update(example)
        law.put_through(subject, **example)

    test = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(**law.wants)(put_through))
    try:
        (test if seed is None else hypothesis.seed(seed)(test))()
    except hypothesis.errors.HypothesisException:
        raise
    except Exception as trouble:
        return Broken(law, dict(last), trouble)
    return None
