"""The configuration: what is read, what is assumed, and how a mistake is told: file, key and mend."""

from __future__ import annotations

import re
from decimal import Decimal
from importlib import resources

import msgspec
import pytest
from builders import Core, order
from cases import table

from pitd import bootstrap, config
from pitd.calendar import DayRule
from pitd.core import entry as e
from pitd.core.limits import Group
from pitd.errors import EXIT_CONFIG, ConfigError
from pitd.policies.open_order_notional import OpenNotional
from pitd.policies.order_size_limit import OrderSize
from pitd.policies.pnl_kill_switch import PnlBound
from pitd.policies.rate_limit import Rate

SECOND = 1_000_000_000
SIZE = 'control = "order_size_limit", each = "account"'
RATE = 'control = "rate_limit", max_orders = 1, window = "1s"'
PNL = 'control = "pnl_kill_switch", each = "account", settlement = "USD"'
POSITION = 'control = "position_limit", each = "account+instrument"'
CASH = 'control = "spot_funds"'
FLOW = 'control = "turnover_limit", window = "1m"'
NET = 'control = "position_limit", max_quantity = 5'
OPEN = 'control = "open_order_notional", max_notional = "1000"'
COLLAR = 'control = "price_collar"'
AGAIN = 'control = "duplicate_order", window = "1s"'
LOOP = 'control = "repeated_execution", window = "1s"'
RULES = 'control = "instrument_rules"'


def limit(inside: str, before: str = "") -> str:
    return f"{before}\n[limits]\nx = {{ {inside} }}"


def refused(text: str) -> str:
    """What is said of a configuration that cannot be meant."""
    with pytest.raises(ConfigError) as no:
        config.parse(text, "desk.toml")
    assert no.value.exit_code == EXIT_CONFIG == 78
    return str(no.value)


# ---------------------------------------------------------------------------------------------- mistakes


@table(
    ("text", "key", "mend"),
    [
        # a key or a table that is not known
        ("[gait]", "gait", "did you mean gate?"),
        ("[gate]\nleese = '5s'", "gate.leese", "did you mean lease?"),
        ("[daemon]\nport = 7421", "daemon.port", "known here: endpoint"),
        (
            "[instruments.ES]\nsettlement = 'USD'\nmultiplyer = 50",
            "instruments.ES.multiplyer",
            "did you mean multiplier?",
        ),
        ("[accounts.alpha]\ngrup = 'eq'", "accounts.alpha.grup", "did you mean group?"),
        ("[calendar]\nzone = 'UTC'", "calendar.start_of_day", "is missing"),
        ("[calendar]\nstart_of_day = '5pm'", "calendar.start_of_day", 'such as "17:00"'),
        ("[calendar]\nstart_of_day = '24:00'", "calendar.start_of_day", 'such as "17:00"'),
        ("[calendar]\nstart_of_day = '17:00'\nend_of_day = '17:00'", "calendar.end_of_day", "leave it out"),
        ("[calendar]\nzone = 'America/NewYork'\nstart_of_day = '17:00'", "calendar.zone", "America/New_York?"),
        ("[calendar]\nzone = 'America'\nstart_of_day = '17:00'", "calendar.zone", "an IANA zone is wanted"),
        ("[accounts.alpha]\nend_of_day = '17:00'", "accounts.alpha.start_of_day", "is missing"),
        (
            limit(f'{FLOW}, over = "firm", settlement = "USD", max_notional = 5, per = "day"'),
            "limits.x.per",
            "leave one",
        ),
        (
            limit('control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 5, per = "day"'),
            "limits.x.per",
            "[calendar] start_of_day",
        ),
        (
            limit('control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 5, per = "week"'),
            "limits.x.per",
            '"day" is wanted, not',
        ),
        ("[clients.mm1]\nrole = ['trade']", "clients.mm1.role", "did you mean roles?"),
        (limit(f'{SIZE}, max_qty = "5"'), "limits.x.max_qty", "did you mean max_quantity?"),
        (limit(f'{RATE}, each = "account", max_notional = "5"'), "limits.x.max_notional", "no such key"),
        (limit(f'{SIZE}, max_quantity = 5, except = {{ acounts = ["b"] }}'), "limits.x.except.acounts", "accounts?"),
        # a name that nobody can have, or that stands for something else
        (limit(f'{SIZE}, max_quantity = 5, accounts = [""]'), "limits.x.accounts", "printable characters"),
        (f"[limits]\noperator = {{ {PNL}, max_loss = 5 }}", "limits.operator", "another name"),
        (f"[limits]\npoisoned = {{ {PNL}, max_loss = 5 }}", "limits.poisoned", "another name"),
        ("[instruments.'AAPL/USD']\nsettlement = 'EUR'", "instruments.AAPL/USD", "declares another"),
        # a wrong type
        ("gate = 5", "gate", "a table is wanted"),
        ("[limits]\nx = 5", "limits.x", "a table is wanted"),
        ("limits = ['x']", "limits", "a table is wanted"),
        ("[daemon]\nendpoint = 7421", "daemon.endpoint", "text is wanted"),
        ("[daemon]\nbatch = '256'", "daemon.batch", "a whole number"),
        ("[daemon]\nbatch = true", "daemon.batch", "a whole number"),
        ("[gate]\nlease = 5", "gate.lease", "a duration with its unit"),
        ("[gate]\nmax_lease = '999999999d'", "gate.max_lease", "3650d"),
        ("[clients.mm1]\nroles = 'trade'", "clients.mm1.roles", "a list of names"),
        ("[clients.mm1]\nroles = []", "clients.mm1.roles", "a list of names"),
        ("[instruments.ES]\nsettlement = 'USD'\nsigned_price = 'no'", "instruments.ES.signed_price", "true or false"),
        (limit(f'{SIZE}, max_quantity = 5, accounts = "alpha"'), "limits.x.accounts", '["alpha", "beta"]'),
        (
            limit('control = "rate_limit", each = "account", max_orders = "20", window = "1s"'),
            "limits.x.max_orders",
            "whole",
        ),
        (limit('control = "rate_limit", each = "account", max_orders = 2, window = 1'), "limits.x.window", '"250ms"'),
        # a value that cannot be meant
        ("[daemon]\nendpoint = 'http://x'", "daemon.endpoint", "tcp://127.0.0.1:7421"),
        ("[daemon]\nendpoint = 'tcp://localhost'", "daemon.endpoint", "is wanted"),
        (f"[daemon]\nendpoint = 'ipc:///{'x' * 107}'", "daemon.endpoint", "1 bytes too long"),
        ("[daemon]\nmax_sessions = 0", "daemon.max_sessions", "from 1"),
        ("[gate]\nuncovered = 'yes'", "gate.uncovered", '"reject" or "allow"'),
        ("[gate]\nlease = '5 seconds'", "gate.lease", '"1s"'),
        ("[gate]\nlease = '0s'", "gate.lease", "above zero"),
        ("[clients.mm1]\nroles = ['trader']", "clients.mm1.roles", "did you mean trade?"),
        ("[clients.' ']\nroles = ['trade']", "clients. ", "printable"),
        ("[instruments.ES]", "instruments.ES.settlement", "is missing"),
        ("[instruments.ES]\nsettlement = ''", "instruments.ES.settlement", "text is wanted"),
        ("[instruments.ES]\nsettlement = 'USD'\nkind = 'linar'", "instruments.ES.kind", "did you mean linear?"),
        ("[instruments.ES]\nsettlement = 'USD'\ntick = '-0.25'", "instruments.ES.tick", 'tick = "0.25"'),
        ("[instruments.ES]\nsettlement = 'USD'\ntick = 0", "instruments.ES.tick", "above zero"),
        (limit('control = "rate_limits", max_orders = 1'), "limits.x.control", "did you mean rate_limit?"),
        (limit('each = "account"'), "limits.x.control", "is missing"),
        (limit(f'{RATE}, each = "acount"'), "limits.x.each", "did you mean account?"),
        (limit(f'{RATE}, each = "account+account"'), "limits.x.each", "account+instrument"),
        (limit(f'{RATE}, each = "account+client+instrument"'), "limits.x.each", "a pair"),
        (limit(f'{RATE}, over = "desk"'), "limits.x.over", '"firm" or'),
        (limit(f'{RATE}, over = {{ groups = "eq" }}'), "limits.x.over", "group = "),
        (limit(f'{RATE}, over = {{ group = "eq" }}'), "limits.x.over", "no account is in group 'eq'"),
        (
            limit(f'{RATE}, each = "account", groups = ["eqs"]', "[accounts.a]\ngroup = 'eq'"),
            "limits.x.groups",
            "mean eq?",
        ),
        (limit(f'{SIZE}, max_quantity = 5, instruments = ["ES"]'), "limits.x.instruments", "AAPL/USD"),
        (
            limit('control = "rate_limit", each = "account", max_orders = -1, window = "1s"'),
            "limits.x.max_orders",
            "from 0",
        ),
        (limit('control = "rate_limit", each = "account", max_orders = 2'), "limits.x.window", "duration"),
        (limit('control = "rate_limit", each = "account", window = "1s"'), "limits.x.max_orders", "is missing"),
        # a number that is not exact, or not one
        (limit(f"{PNL}, max_loss = 1000.5"), "limits.x.max_loss", 'write it as text: "1000.5"'),
        (limit(f"{SIZE}, max_quantity = 0.1"), "limits.x.max_quantity", 'write it as text: "0.1"'),
        (limit(f"{PNL}, max_loss = 10, initial_pnl = 1.5"), "limits.x.initial_pnl", '"1.5"'),
        ("[instruments.ES]\nsettlement = 'USD'\nmultiplier = 50.0", "instruments.ES.multiplier", '"50.0"'),
        (limit(f'{PNL}, max_loss = "1k"'), "limits.x.max_loss", "not a number: '1k'"),
        (limit(f'{PNL}, max_loss = "NaN"'), "limits.x.max_loss", "finite"),
        (limit(f'{PNL}, max_loss = "Infinity"'), "limits.x.max_loss", "finite"),
        (limit(f'{PNL}, max_loss = "1234567890123456789"'), "limits.x.max_loss", "18 digits"),
        (limit(f"{PNL}, max_loss = true"), "limits.x.max_loss", "a number is wanted"),
        # a loss is a positive number
        (limit(f'{PNL}, max_loss = "-1000"'), "limits.x.max_loss", 'write it as a positive number: max_loss = "1000"'),
        (limit(f"{PNL}, max_profit = -5"), "limits.x.max_profit", 'max_profit = "5"'),
        (limit(f"{PNL}, max_loss = 0"), "limits.x.max_loss", "above zero"),
        (limit(f'{SIZE}, max_notional = "-1"'), "limits.x.max_notional", 'max_notional = "1"'),
        # positions and counts
        (limit(f"{POSITION}"), "limits.x", "add max_quantity or max_long or max_short"),
        (limit(f'{POSITION}, max_short = "-5"'), "limits.x.max_short", 'max_short = "5"'),
        (limit(f"{POSITION}, max_longs = 5"), "limits.x.max_longs", "did you mean max_long?"),
        (limit(f'{POSITION}, max_long = 5, clients = ["a"]'), "limits.x", "clients cannot select them"),
        (limit(f'{POSITION}, max_long = 5, except = {{ clients = ["a"] }}'), "limits.x.except", "clients cannot"),
        (limit(f'{NET}, each = "account"'), "limits.x", "units of different instruments cannot be added up"),
        (limit(f'{NET}, over = "firm"'), "limits.x", 'instruments = ["ESZ6"]'),
        (limit(f'{NET}, over = "firm", instruments = ["A/USD", "B/USD"]'), "limits.x", "cannot be added up"),
        (limit(f'{NET}, each = "client+instrument"'), "limits.x.each", '"account+instrument"'),
        (limit(f'{NET}, each = "instrument", accounts = ["a"]'), "limits.x", "over = { group"),
        (limit(f'{NET}, each = "instrument", except = {{ accounts = ["a"] }}'), "limits.x.except", "over = { group"),
        (limit('control = "open_order_limit", each = "account"'), "limits.x.max_orders", "is missing"),
        (limit('control = "open_order_limit", each = "account", max_orders = -1'), "limits.x.max_orders", "from 0"),
        (limit('control = "open_order_limit", each = "account", max_orders = "5"'), "limits.x.max_orders", "whole"),
        (limit(f'{FLOW}, each = "account"'), "limits.x", "add max_notional or max_quantity"),
        (limit(f'{FLOW}, each = "account", max_notional = 5'), "limits.x", 'add settlement = "USD"'),
        (limit(f'{FLOW}, each = "settlement", max_quantity = 5'), "limits.x", "units of different instruments"),
        (limit('control = "turnover_limit", each = "instrument", max_quantity = 5'), "limits.x.window", "is wanted"),
        (limit(f'{CASH}, each = "instrument"'), "limits.x", 'each = "account"'),
        (limit(f'{CASH}, over = "firm"'), "limits.x", 'each = "account"'),
        (limit(f'{CASH}, clients = ["mm1"]'), "limits.x", "whoever asks"),
        (limit(f'{CASH}, mode = "tracks"'), "limits.x.mode", "did you mean track?"),
        (limit(f'{CASH}, slippage_percent = "100.5"'), "limits.x.slippage_percent", "0 to 100"),
        (limit(f'{CASH}, fee_percent = "0.00001"'), "limits.x.fee_percent", "up to four decimals"),
        ('[accounts.a]\nrequires_positions = "yes"', "accounts.a.requires_positions", "true or false"),
        # a limit that limits nothing, or does not say whom
        (limit(SIZE), "limits.x", "add max_quantity or max_notional"),
        (limit(PNL), "limits.x", "add max_loss or max_profit"),
        (
            limit('control = "open_order_notional", each = "account", settlement = "USD"'),
            "limits.x",
            "add max_notional",
        ),
        (limit(RATE), "limits.x", "say what it counts by"),
        (limit('control = "self_trade"'), "limits.x", "say what it counts by"),
        (limit('control = "price_collar"'), "limits.x", "add max_ticks or max_percent or max_absolute"),
        (limit('control = "instrument_rules"'), "limits.x", "add allow or deny"),
        (limit('control = "duplicate_order", window = "1s"'), "limits.x.max_repeats", "is missing"),
        (limit('control = "duplicate_order", max_repeats = 1'), "limits.x.window", "duration"),
        (limit('control = "repeated_execution", window = "1s"'), "limits.x.max_executions", "is missing"),
        (limit(f"{SIZE}, max_quantity = 5, except = {{ }}"), "limits.x.except", "takes out nothing"),
        (limit(f"{SIZE}, max_quantity = 5, accounts = []"), "limits.x.accounts", "a list of names"),
        ("[clients.'bad name!']\nroles = ['trade']", "clients.bad name!", "begins with a letter or digit"),
        (limit(f'{SIZE}, max_quantity = 5, clients = ["bad name!"]'), "limits.x.clients", "a client name is"),
        ("[daemon]\nendpoint = 'tcp://127.0.0.1:99999'", "daemon.endpoint", "up to 65535"),
        (limit(f'{SIZE}, max_quantity = 5, instruments = ["/"]'), "limits.x.instruments", "AAPL/USD"),
        (limit(f'{SIZE}, max_quantity = 5, instruments = ["AAPL/"]'), "limits.x.instruments", "AAPL/USD"),
        # what the controls of the start stage ask for
        (limit(f"{COLLAR}, max_percent = 2.5"), "limits.x.max_percent", 'write it as text: "2.5"'),
        (limit(f"{COLLAR}, max_percent = 0"), "limits.x.max_percent", "above zero"),
        (limit(f'{COLLAR}, max_percent = "-5"'), "limits.x.max_percent", 'max_percent = "5"'),
        (limit(f"{COLLAR}, max_ticks = 0"), "limits.x.max_ticks", "from 1"),
        (limit(f'{COLLAR}, max_ticks = "4"'), "limits.x.max_ticks", "a whole number"),
        (limit(f'{COLLAR}, max_ticks = 4, instruments = ["A/USD"]'), "limits.x.max_ticks", "declares no tick"),
        (limit(f'{COLLAR}, max_percent = 5, side = "agressive"'), "limits.x.side", "did you mean aggressive?"),
        (limit(f'{COLLAR}, max_percent = 5, market = "rejected"'), "limits.x.market", "did you mean reject?"),
        (limit(f"{COLLAR}, percent = 5"), "limits.x.percent", "did you mean max_percent?"),
        (limit(f"{AGAIN}, max_repeats = -1"), "limits.x.max_repeats", "from 0"),
        (limit(f"{LOOP}, max_executions = 0"), "limits.x.max_executions", "from 1"),
        (limit(f'{LOOP}, max_executions = 5, each = "instrument"'), "limits.x.each", '"client" or "account"'),
        (limit(f'{LOOP}, max_executions = 5, each = "account+client"'), "limits.x.each", '"client" or "account"'),
        (limit('control = "self_trade", over = "firm", max_orders = 1'), "limits.x.max_orders", "no such key"),
        (limit(f"{RULES}, deny = []"), "limits.x.deny", "a list of names"),
        (limit(f'{RULES}, allow = ["ES"]'), "limits.x.allow", "is not declared"),
        (limit(f'{RULES}, allow = ["A/USD"], deny = ["A/USD"]'), "limits.x.deny", "allowed and denied"),
        (limit(f"{RULES}, min_quantity = 5, max_quantity = 4"), "limits.x.min_quantity", "no order would pass"),
        (limit(f"{RULES}, min_price = 5, max_price = 4"), "limits.x.min_price", "no order would pass"),
        (limit(f"{RULES}, max_price = 4.5"), "limits.x.max_price", '"4.5"'),
        (limit(f'{RULES}, short_sale = "deny"'), "limits.x.short_sale", '"allow" or "reject"'),
        (limit(f'{RULES}, deny = ["A/USD"], reducing = "allow"'), "limits.x.reducing", '"pass" or "reject"'),
        # contradictions
        (
            limit(f'{SIZE}, max_quantity = 5, accounts = ["a"], except = {{ accounts = ["a", "b"] }}'),
            "limits.x.except",
            "nothing would be left",
        ),
        (
            limit(f'{SIZE}, max_quantity = 5, settlement = "USD", except = {{ settlement = "USD" }}'),
            "limits.x.except",
            "nothing would be left",
        ),
        (
            limit(f'{SIZE}, max_quantity = 5, instruments = ["A/USD"], except = {{ settlement = "USD" }}'),
            "limits.x.except",
            "nothing would be left",
        ),
        (
            limit(
                f'{SIZE}, max_quantity = 5, accounts = ["a"], except = {{ groups = ["eq"] }}',
                "[accounts.a]\ngroup = 'eq'",
            ),
            "limits.x.except",
            "nothing would be left",
        ),
        (
            limit(
                f'{RATE}, over = {{ group = "eq" }}, except = {{ groups = ["eq"] }}',
                "[accounts.a]\ngroup = 'eq'",
            ),
            "limits.x.except",
            "nothing would be left",
        ),
        (limit(f'{RATE}, each = "account", over = "firm"'), "limits.x", "say what it counts by"),
        ("[gate]\nlease = '90s'", "gate.lease", "contradict"),
        ("[gate]\nmin_lease = '10s'", "gate.lease", "contradict"),
        ("[gate]\nmin_lease = '2m'\nmax_lease = '1m'\nlease = '90s'", "gate.lease", "min_lease ≤ lease ≤ max_lease"),
        (limit(f'{OPEN}, each = "account"'), "limits.x", 'add settlement = "USD"'),
        (limit('control = "pnl_kill_switch", each = "account", max_loss = 5'), "limits.x", 'add settlement = "USD"'),
        (
            limit('control = "pnl_kill_switch", each = "client", settlement = "USD", max_loss = 5'),
            "limits.x.each",
            "account",
        ),
        (limit(f'{PNL}, max_loss = 5, clients = ["mm1"]'), "limits.x", "clients and instruments cannot select it"),
        (limit(f'{PNL}, max_loss = 5, except = {{ clients = ["a"] }}'), "limits.x.except", "cannot select"),
        (
            limit('control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = 5, initial_pnl = 1'),
            "limits.x.initial_pnl",
            'each = "account"',
        ),
        (
            f"[limits]\na = {{ {PNL}, max_loss = 5, initial_pnl = 1 }}\nb = {{ {PNL}, max_loss = 9, initial_pnl = 2 }}",
            "limits.b.initial_pnl",
            "contradicts 1 of limits.a",
        ),
        (
            "[instruments.X]\nsettlement = 'BTC'\nkind = 'inverse'\nsigned_price = true",
            "instruments.X.signed_price",
            "divided by its price",
        ),
    ],
)
def test_a_mistake_names_file_key_and_mend(text, key, mend):
    said = refused(text)
    place, _, told = said.partition(f": {key}: ")
    assert re.fullmatch(r"desk\.toml:\d+", place), said
    assert mend in told


def test_text_that_is_no_toml_says_where():
    said = refused("[limits\nx = 1")
    assert said.startswith("desk.toml:1: is not TOML: ")
    assert said.endswith(": [limits")


def test_a_key_that_stands_twice_is_no_toml():
    said = refused("[gate]\nlease = '5s'\nlease = '6s'")
    assert said.startswith("desk.toml:3: is not TOML: ") and said.endswith("lease = '6s'")


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        config.load(path)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"desk\.toml: is not UTF-8 text"):
        config.load(path)


def test_a_file_may_begin_with_a_mark_of_its_encoding_and_end_lines_in_two_characters(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_bytes(b"\xef\xbb\xbf" + limit(f'{SIZE}, max_quantity = "5"').replace("\n", "\r\n").encode())
    assert [each.name for each in config.load(path).limits] == ["x"]


def test_a_file_is_read_as_text_is(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text("[gate]\nlease = '7s'", encoding="utf-8")
    read = config.load(path)
    assert (read.gate.bounds.lease_ns, read.source) == (7 * SECOND, str(path))


# ---------------------------------------------------------------------------------------------- what is read


def test_the_sample_is_a_configuration():
    text = resources.files("pitd").joinpath("sample.toml").read_text(encoding="utf-8")
    read = config.parse(text, "sample.toml")
    assert [limit.name for limit in read.limits] == ["fat_finger", "msg_rate", "venue_rate", "day_loss", "open_usd"]


def test_the_sample_with_every_example_switched_on_is_one_too():
    """What stands behind a # must be right as well."""
    text = resources.files("pitd").joinpath("sample.toml").read_text(encoding="utf-8")
    lines = [line.removeprefix("# ") if _is_example(line) else line for line in text.splitlines()]
    read = config.parse("\n".join(line for line in lines if not line.startswith('endpoint = "ipc')), "sample.toml")
    assert read.instruments["ESZ6"].multiplier == 50
    assert read.groups == {"alpha": "equities"}
    assert {limit.__struct_config__.tag for limit in read.limits} == set(config.CONTROLS)
    assert read.roles_of("ops") == {"operate"}
    assert read.daemon.endpoint == "tcp://127.0.0.1:7421"


def test_the_sample_shows_the_defaults_as_they_are():
    text = resources.files("pitd").joinpath("sample.toml").read_text(encoding="utf-8")
    section = text[text.index("[daemon]") : text.index("# Pairs such as")]
    shown = "\n".join(line.removeprefix("# ") if _is_example(line) else line for line in section.splitlines())
    shown = "\n".join(line for line in shown.splitlines() if not line.startswith("endpoint"))
    read, plain = config.parse(shown), config.parse("")
    assert (read.gate, read.daemon) == (plain.gate, plain.daemon)


def _is_example(line: str) -> bool:
    """Whether a comment is a line that could be switched on: a table, or a key and its value."""
    return re.match(r'# (\[|(?!each)[a-z_]+ += ["\[\dtf{])', line) is not None


def test_nothing_configured_is_a_configuration_with_its_defaults():
    read = config.parse("")
    assert (read.limits, read.instruments, read.groups) == ((), {}, {})
    assert read.gate.uncovered == "reject"
    assert (read.gate.bounds.lease_ns, read.gate.bounds.lease_least_ns) == (5 * SECOND, SECOND // 5)
    assert read.roles_of("anyone") == {"trade", "report"}


def test_an_account_goes_by_the_calendars_zone_unless_it_says_otherwise():
    read = config.parse(
        """
        [calendar]
        zone = "America/New_York"
        start_of_day = "17:00"
        end_of_day = "16:15:30"
        [accounts.alpha]
        group = "eq"
        currency = "USD"
        [accounts.beta]
        start_of_day = "08:00"
        [accounts.gamma]
        zone = "Asia/Tokyo"
        start_of_day = "08:00"
        """
    )
    assert read.calendar == DayRule(start_of_day="17:00", zone="America/New_York", end_of_day="16:15:30")
    assert read.accounts["alpha"] == config.Account(group="eq", currency="USD") and read.groups == {"alpha": "eq"}
    assert read.day_rules() == {
        "beta": DayRule(start_of_day="08:00", zone="America/New_York"),
        "gamma": DayRule(start_of_day="08:00", zone="Asia/Tokyo"),
    }


def test_a_limit_is_read_into_its_own_kind():
    read = config.parse(
        f"""
        [accounts.alpha]
        group = "eq"
        [limits]
        size = {{ {SIZE}, settlement = "USD", max_quantity = "500", max_notional = 100000 }}
        rate = {{ {RATE}, over = {{ group = "eq" }} }}
        loss = {{ {PNL}, max_loss = "1000", initial_pnl = "-1.5" }}
        open = {{ {OPEN}, each = "account+settlement", except = {{ accounts = ["beta"] }} }}
        """
    )
    size, rate, loss, open_ = read.limits
    assert isinstance(size, OrderSize) and (size.max_quantity, size.max_notional) == (500, 100000)
    assert isinstance(rate, Rate) and (rate.over, rate.max_orders, rate.window_ns) == (Group("eq"), 1, SECOND)
    assert isinstance(loss, PnlBound) and (loss.max_loss, loss.initial_pnl) == (1000, Decimal("-1.5"))
    assert isinstance(open_, OpenNotional) and open_.each == ("account", "settlement")
    assert open_.without is not None and open_.without.accounts == {"beta"}
    assert [limit.position for limit in read.limits] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("written", "ns"),
    [
        ("250ms", SECOND // 4),
        ("1s", SECOND),
        ("1.5s", 3 * SECOND // 2),
        ("0.000000001s", 1),
        ("5m", 300 * SECOND),
        ("2h", 7200 * SECOND),
        ("1d", 86400 * SECOND),
    ],
)
def test_a_duration_is_read_with_its_unit(written, ns):
    [rate] = config.parse(
        limit(f'control = "rate_limit", each = "account", max_orders = 1, window = "{written}"')
    ).limits
    assert rate.window_ns == ns


@pytest.mark.parametrize("written", ['"1000.50"', '"1_000"', '" 7 "'])
def test_a_number_is_exactly_what_is_written_or_refused(written):
    text = limit(f"{PNL}, max_loss = {written}")
    try:
        [read] = config.parse(text).limits
    except ConfigError as no:
        assert "limits.x.max_loss" in str(no)
    else:
        assert read.max_loss == Decimal(written.strip('"'))


def test_a_limit_of_zero_quantity_stops_all():
    [read] = config.parse(limit(f"{SIZE}, max_quantity = 0")).limits
    assert read.max_quantity == 0


def test_the_same_initial_pnl_may_stand_twice():
    config.parse(
        f"[limits]\na = {{ {PNL}, max_loss = 5, initial_pnl = 1 }}\nb = {{ {PNL}, max_profit = 5, initial_pnl = 1 }}"
    )


def test_different_initial_pnl_for_different_accounts_is_no_contradiction():
    config.parse(
        f"""
        [limits]
        a = {{ {PNL}, accounts = ["a"], max_loss = 5, initial_pnl = 1 }}
        b = {{ {PNL}, accounts = ["b"], max_loss = 5, initial_pnl = 2 }}
        """
    )


def test_everything_read_is_frozen():
    read = config.parse(limit(f"{SIZE}, max_quantity = 5"))
    for frozen, name in ((read, "limits"), (read.gate, "uncovered"), (read.limits[0], "max_quantity")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)


def test_the_effective_configuration_reads_the_same_for_the_same_settings():
    text = limit(f'{SIZE}, max_quantity = 5, accounts = ["c", "a", "b"]')
    other = limit(f'{SIZE}, max_quantity = 5, accounts = ["b", "c", "a"]')
    assert bootstrap.settings_text(config.parse(text)) == bootstrap.settings_text(config.parse(other))
    assert msgspec.json.decode(bootstrap.settings_text(config.parse(text)))["limits"][0]["name"] == "x"


def test_a_control_without_a_limit_refuses_nobody_and_validation_stands_first():
    policies = bootstrap.build_policies(config.parse(""))
    assert policies[0].id == "order_validation"
    assert isinstance(Core("").check(order(quantity="1000000", price=None)), e.Accepted)


def test_unknown_accounts_are_rejected_once_one_is_declared_unless_the_gate_lets_them_in():
    declared = "[accounts.alpha]\ngroup = 'eq'\n"
    assert config.parse("").declared() is None
    assert config.parse(declared).declared() == {"alpha"}
    assert config.parse(declared + "[gate]\nunknown_accounts = 'allow'").declared() is None
    assert "gate.unknown_accounts" in refused("[gate]\nunknown_accounts = 'alow'")
