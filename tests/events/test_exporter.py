"""The exporter: what Prometheus reads of a daemon, and alerts that name what is there."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import AAPL, Local, fill, money, order
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

import pit
from pit import wire
from pit.types import OrderState
from pitd.exporter import DaemonCollector

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"

LIMITS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "50000" }
"""


class Scraped:
    """One scrape, as Prometheus reads it."""

    def __init__(self, collector: DaemonCollector) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        text = generate_latest(registry).decode()
        self.families: dict[str, Metric] = {each.name: each for each in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, tuple(sorted(labels.items()))]


@pytest.fixture
def local() -> Local:
    return Local(LIMITS)


@pytest.fixture
def collector(local: Local) -> DaemonCollector:
    return DaemonCollector(lambda: local.house.connect("exporter", read_only=True))


def test_a_scrape_tells_what_was_counted_and_how_the_daemon_is(local: Local, collector: DaemonCollector) -> None:
    held = local.engine.execute_pre_trade(order(), sent=True)
    assert isinstance(held, pit.Reservation)
    held.quarantine()
    assert not local.engine.execute_pre_trade(order(quantity="501"))
    scraped = Scraped(collector)
    assert scraped("pitd_up") == scraped("pitd_ready") == 1
    assert scraped("pitd_orders", state="quarantined") == 1 and scraped("pitd_orders", state="working") == 0
    assert scraped("pitd_rejects_total", control="order_size_limit", code="OrderQtyExceedsLimit") == 1
    assert scraped("pitd_commands_total", command="CheckOrder") == 2
    assert scraped("pitd_limit_use_ratio", limit="open_usd", control="open_order_notional") == 0.02


def test_a_tripped_switch_is_told_by_its_limit_alone(local: Local, collector: DaemonCollector) -> None:
    for account in ("alpha", "beta"):
        local.engine.apply_execution_report(money("x", "-101", account=account))
    scraped = Scraped(collector)
    assert scraped("pitd_limit_tripped", limit="day_loss", control="pnl_kill_switch") == 2


def test_what_accounts_made_and_hold_is_told_of_those_that_are_declared_and_of_all_others_together() -> None:
    local = Local(
        """
[currency]
firm = "USD"
[currency.rates]
EUR = { quote = "EUR/USD" }
[accounts.alpha]
currency = "EUR"
[gate]
unknown_accounts = "allow"
[limits]
own = { control = "pnl_kill_switch", each = "account", accounts = ["alpha"], currency = "account", max_loss = "100" }
fall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_drawdown = "500", on = "both" }
open = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }
"""
    )
    collector = DaemonCollector(lambda: local.house.connect("exporter", read_only=True))
    for account, pnl in (("alpha", "-25"), ("beta", "5"), ("gamma", "-30")):
        local.engine.apply_execution_report(money("x", pnl, account=account))
    local.engine.apply_execution_report(fill("g", 2, price=100, side="buy", instrument=AAPL, account="alpha"))
    unknown = Scraped(collector)
    assert unknown("pitd_account_realised", account="alpha", asset="USD") == -25
    assert unknown("pitd_account_realised", account="(others)", asset="USD") == -25
    assert unknown("pitd_pnl_limit_unknown", limit="own") == unknown("pitd_pnl_limit_unknown", limit="fall") == 1
    assert unknown("pitd_pnl_limit_unknown", limit="open") == 0
    assert not unknown.families["pitd_account_own_realised"].samples
    local.engine.push_quote(AAPL, mark=95)
    local.engine.push_quote(pit.Instrument("EUR", "USD"), mark="1.25")
    local.advance(0.2)
    assert local.engine.execute_pre_trade(order(account="beta"))
    known = Scraped(collector)
    assert known("pitd_account_unrealised", account="alpha", asset="USD") == -10
    assert known("pitd_account_own_realised", account="alpha", currency="EUR") == -20
    assert known("pitd_account_own_unrealised", account="alpha", currency="EUR") == -8
    assert known("pitd_pnl_limit_used", limit="own", side="loss", asset="EUR") == 20
    assert known("pitd_pnl_limit_bound", limit="own", side="loss", asset="EUR") == 100
    assert known("pitd_pnl_limit_used", limit="open", side="loss", asset="USD") == 30
    assert known("pitd_pnl_limit_unknown", limit="own") == known("pitd_pnl_limit_unknown", limit="fall") == 0
    drawdown = known("pitd_pnl_limit_used", limit="fall", side="drawdown", asset="USD")
    assert drawdown == 60, "from the peak at its first sight, 0"


def test_labels_do_not_grow_with_accounts_clients_and_orders(local: Local, collector: DaemonCollector) -> None:
    def series() -> int:
        return len(Scraped(collector).samples)

    def trade(account: str) -> None:
        held = local.engine.execute_pre_trade(order(account=account))
        assert isinstance(held, pit.Reservation)
        held.commit()
        local.engine.apply_execution_report(money(f"of {account}", "1", account=account))

    trade("a0")
    before = series()
    for at in range(1, 30):
        trade(f"a{at}")
        local.connect(f"client{at}").close()
    assert series() <= before + 1  # the first client that says goodbye


def test_a_scrape_reads_so_many_pages_and_the_next_ones_the_rest() -> None:
    local = Local(LIMITS)
    for n in range(700):
        local.engine.apply_execution_report(money(f"m{n}", "-1", account=f"a{n:03}"))
    engine = local.house.connect("exporter", read_only=True)
    asked: list[str] = []
    ask, now_s = engine.ask, [0.0]

    def counted(query: wire.Query) -> wire.Reply:
        asked.append(type(query).__name__)
        return ask(query)

    engine.ask = counted  # type: ignore[method-assign]
    collector = DaemonCollector(lambda: engine, pages_most=4, now_s=lambda: now_s[0])
    first = Scraped(collector)
    assert first("pitd_up") == 1 and "pitd_account_realised" not in first.families and len(asked) == 1 + 4
    now_s[0] = 15.0
    second = Scraped(collector)
    assert second("pitd_account_realised", account="(others)", asset="USD") == -700
    assert second("pitd_limits_age_seconds") == 15
    local.engine.apply_execution_report(money("more", "-1", account="a000"))
    for at_s, age_s, realised in ((30.0, 30, -700), (45.0, 15, -701)):
        now_s[0] = at_s
        again = Scraped(collector)
        assert again("pitd_account_realised", account="(others)", asset="USD") == realised
        assert again("pitd_limits_age_seconds") == age_s
    assert max(len(list(group)) for is_page, group in groupby(asked, lambda each: each != "AskMetrics") if is_page) == 4


def test_where_there_are_few_accounts_every_scrape_is_fresh(local: Local, collector: DaemonCollector) -> None:
    for lost in (1, 2):
        local.engine.apply_execution_report(money(f"m{lost}", "-1"))
        scraped = Scraped(collector)
        assert scraped("pitd_account_realised", account="(others)", asset="USD") == -lost
        assert scraped("pitd_limits_age_seconds") < 60


def test_the_metrics_keep_prometheus_customs(collector: DaemonCollector) -> None:
    for name, family in Scraped(collector).families.items():
        assert re.fullmatch(r"pitd_[a-z_]+", name) and family.documentation.endswith(".")
        assert not name.endswith(("_ms", "_us", "_ns", "_total", "_count"))
        if family.type == "histogram":
            assert name.endswith("_seconds")


def test_a_daemon_that_is_away_is_told_as_down_and_heard_again_when_it_is_back(
    local: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    away = True

    def connect() -> pit.Engine:
        if away:
            raise pit.Unavailable("nobody listens")
        return local.house.connect("exporter", read_only=True)

    collector = DaemonCollector(connect)
    for _ in range(3):
        assert Scraped(collector).samples == {("pitd_up", ()): 0.0}
    away = False
    assert Scraped(collector)("pitd_up") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "nobody listens" in said[0] and "again" in said[1]


def test_an_exporter_that_may_not_ask_says_so_and_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    def connect() -> Any:
        raise pit.NotAuthorized("client exporter has the roles report, trade")

    assert Scraped(DaemonCollector(connect)).samples == {("pitd_up", ()): 0.0}
    assert "has the roles" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- the alerts


def rules() -> list[dict[str, Any]]:
    told = yaml.safe_load((DEPLOY / "pitd-alerts.yml").read_text(encoding="utf-8"))
    (group,) = told["groups"]
    assert set(group) == {"name", "rules"}
    return list(group["rules"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_what_prometheus_wants_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Pitd[A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "mend"}
    for open_, close in ("()", "{}", "[]"):
        assert rule["expr"].count(open_) == rule["expr"].count(close)


def test_the_alerts_name_metrics_labels_and_values_that_are_there(local: Local, collector: DaemonCollector) -> None:
    assert not local.engine.execute_pre_trade(order(quantity="501"))
    families = Scraped(collector).families
    named = set()
    for rule in rules():
        for name, labels in re.findall(r"(pitd_[a-z_]+)(?:\{([^}]*)\})?", rule["expr"]):
            base = re.sub(r"_(total|bucket)$", "", name)
            assert base in families, f"{rule['alert']}: {name}"
            named.add(base)
            for label in re.findall(r"(\w+)[!=]", labels):
                assert label in KNOWN_LABELS[base], f"{rule['alert']}: {name} has no label {label}"
        for state in re.findall(r'state="(\w+)"', rule["expr"]):
            assert state in set(OrderState)
    assert {"pitd_up", "pitd_orders", "pitd_journal_low", "pitd_limit_tripped", "pitd_limit_use_ratio"} <= named


KNOWN_LABELS = {
    "pitd_orders": {"state"},
    "pitd_logged": {"level", "event"},
    "pitd_limit_use_ratio": {"limit", "control"},
    "pitd_lease_ends": {"reason"},
}


def test_the_log_events_that_an_alert_is_about_are_said_somewhere() -> None:
    sources = "".join(path.read_text() for path in (DEPLOY.parent / "pitd").rglob("*.py"))
    (rule,) = [each for each in rules() if each["alert"] == "PitdJournalTrouble"]
    prefixes = re.findall(r"(\w+)\\\\?\.", rule["expr"])
    assert prefixes == ["snapshot", "journal", "archive", "past"]
    for prefix in prefixes:
        assert re.search(rf'log\.(warning|error)\("{prefix}\.', sources), prefix
