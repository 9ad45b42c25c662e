"""What the operator has configured: TOML read once into frozen structs, with errors that name file, key and mend."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from pit import keys
from pit.errors import InvalidInput
from pit.places import default_endpoint
from pit.types import Kind, TradingState, check_name, exact

from . import config_currency, config_files, hours, own_policies, zones
from .calendar import DayRule
from .config_files import Places, Written
from .core.accounts import FIRM, OPERATOR, POISONED
from .core.currency import Currency
from .core.engine import Bounds
from .core.failing import PREFIX as FAILED
from .core.instruments import Listed
from .core.limits import DIMENSIONS, Dimension, Group, Limit, Selection
from .core.pnl import Sources
from .core.policy import Policy
from .errors import ConfigError
from .own_policies import OwnLimit, OwnPolicy
from .policies.concentration_limit import Concentration
from .policies.duplicate_order import Duplicates
from .policies.exposure_limit import ExposureBound
from .policies.instrument_rules import Hours, Rules
from .policies.message_rate import Messages
from .policies.open_order_limit import OpenOrders
from .policies.open_order_notional import OpenNotional
from .policies.order_size_limit import OrderSize
from .policies.pnl_kill_switch import MAX_AGE_NS, PnlBound
from .policies.position_limit import PositionBound
from .policies.price_collar import Collar
from .policies.rate_limit import Rate
from .policies.repeated_execution import Repeats
from .policies.self_trade import SelfTrades
from .policies.spot_funds import SpotFunds
from .policies.turnover_limit import Turnover

AnyLimit = (
    PnlBound
    | Rate
    | OrderSize
    | OpenNotional
    | Collar
    | Duplicates
    | Repeats
    | SelfTrades
    | Rules
    | PositionBound
    | OpenOrders
    | Turnover
    | ExposureBound
    | Concentration
    | SpotFunds
    | OwnLimit
    | Messages
)

Role = Literal["trade", "gateway", "cancel", "report", "quote", "operate", "observe", "adjust"]

ROLES: tuple[Role, ...] = ("trade", "gateway", "cancel", "report", "quote", "operate", "observe", "adjust")

ANYONE = "*"
"""Stands in [clients] for every name that is not listed there."""

LONGEST_NS = 3_650 * 86_400_000_000_000
"""Ten years: moments that far away still fit the 64 bits that they travel in."""

_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

CONTROLS = (
    "pnl_kill_switch",
    "rate_limit",
    "order_size_limit",
    "open_order_notional",
    "price_collar",
    "duplicate_order",
    "repeated_execution",
    "self_trade",
    "instrument_rules",
    "position_limit",
    "open_order_limit",
    "turnover_limit",
    "exposure_limit",
    "concentration_limit",
    "spot_funds",
    "message_rate",
)

_TAKEN = ("order_validation", "engine", "trading_state", OPERATOR, POISONED)
"""What else stands for a policy, or for a limit, in rejects and blocks."""

REACTED_TO = ("overfill", "after_close", "after_rollback", "unknown_order", "reopened")
"""The flags of fills that ought not to be: [reports] says what is done about each."""

_REACTIONS = {"flag": None, "reduce": TradingState.REDUCING, "halt": TradingState.HALTED}

_COUNTS_BY: dict[str, tuple[Dimension, ...]] = {
    "price_collar": ("instrument",),
    "instrument_rules": ("instrument",),
    "duplicate_order": ("account", "client"),
    "repeated_execution": ("client",),
    "spot_funds": ("account",),
}
"""What a limit counts by where that is left out."""


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon is reached, and how much it takes at once."""

    endpoint: str
    max_sessions: int = 1_000
    batch: int = 256
    """How many messages are read before they are answered together."""
    key_file: str = ""
    """Where the daemon's own CURVE key is: a file, or the name of a systemd credential. Empty: no encryption."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """Where history is kept, and how surely."""

    directory: str
    durability: Literal["none", "process", "power"] = "process"
    """What an acknowledged command survives: nothing; the death of the process; a power cut."""
    segment_rows: int = 250_000
    snapshot_rows: int = 15_000
    keep_ns: int = 30 * 86_400_000_000_000
    reserve_bytes: int = 16 << 20
    """Set aside for what must go on when the disk is full."""

    @property
    def is_kept(self) -> bool:
        return self.durability != "none"


PnlSource = Literal["reported", "computed"]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    uncovered: Literal["reject", "allow"] = "reject"
    unknown_accounts: Literal["reject", "allow"] = "reject"
    """What becomes of orders of accounts that are not declared, once any is."""
    bounds: Bounds = Bounds()
    pnl: PnlSource = "reported"
    """Where P&L comes from, for an account that does not say."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may do, and what proves that it is the one."""

    roles: frozenset[Role] = frozenset({"trade", "report"})
    accounts: frozenset[str] | None = None
    """The accounts it may touch; None for every one."""
    users: frozenset[int] = frozenset()
    """Over ipc: the users whose processes may take the name."""
    keys: frozenset[str] = frozenset()
    """Over tcp: the public keys that may, in Z85."""

    @property
    def sees_all(self) -> bool:
        return "observe" in self.roles or "operate" in self.roles

    @property
    def is_proven(self) -> bool:
        """Whether anything has to be shown for the name."""
        return bool(self.users or self.keys)

    def may_touch(self, account: str) -> bool:
        return self.accounts is None or account in self.accounts


_ANY_CLIENT = Client()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What is declared of an account."""

    group: str | None = None
    currency: str | None = None
    """The asset that it is kept in: P&L limits with currency = "account" convert into it, and people are told in it."""
    day: DayRule | None = None
    """When its day begins and ends, where that is not when the firm's does."""
    requires_positions: bool = False
    """Whether it must not trade before its positions have been imported for the day."""
    pnl: PnlSource | None = None
    """Where its P&L comes from: what reports say, or its fills and fees. None: as the gate's do."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would run. `source` is where it was read, for messages."""

    source: str
    daemon: Daemon
    journal: Journal
    gate: Gate = Gate()
    instruments: dict[str, Listed] = {}
    groups: dict[str, str] = {}
    """Account to group."""
    clients: dict[str, Client] = {}
    limits: tuple[AnyLimit, ...] = ()
    policies: dict[str, OwnPolicy] = {}
    """Those that are not pitd's own, by id."""
    accounts: dict[str, Account] = {}
    """Those that are declared."""
    calendar: DayRule | None = None
    """When the firm's day begins and ends, and that of every account without a rule of its own."""
    currency: Currency | None = None
    """The firm's currency, and what others are worth in it."""
    reactions: dict[str, TradingState] = {}
    """By a fill's flag: the trading state that its account gets."""
    reports_from: dict[str, frozenset[str]] = {}
    """Account to the clients whose reports it believes; an account that is missing believes everyone's."""

    def client(self, name: str) -> Client | None:
        """What the configuration says of that name; None when it may not connect. Without [clients] any name may."""
        found = self.clients.get(name)
        if found is not None:
            return found
        return self.clients.get(ANYONE) if self.clients else _ANY_CLIENT

    def how_to_grant(self, name: str, role: str) -> str:
        """What to write so that a client has that role, and the others what they have."""
        mend = f'[clients.{name}] roles = [..., "{role}"]'
        return mend if self.clients else f'{mend}, and [clients."*"], or no other name may connect any more'

    def named_clients(self) -> frozenset[str] | None:
        """The only clients that may connect; None for whatever name turns up."""
        return frozenset(self.clients) if self.clients and ANYONE not in self.clients else None

    def declared(self) -> frozenset[str] | None:
        """The only accounts that may trade; None for whatever account turns up."""
        is_open = self.gate.unknown_accounts == "allow" or not self.accounts
        return None if is_open else frozenset(self.accounts)

    def day_rules(self) -> dict[str, DayRule]:
        """By the accounts whose day is not the firm's."""
        return {name: each.day for name, each in self.accounts.items() if each.day is not None}

    def pnl_sources(self) -> Sources:
        """Whose P&L is computed."""
        otherwise = {name for name, each in self.accounts.items() if each.pnl not in (None, self.gate.pnl)}
        return Sources(is_computed=self.gate.pnl == "computed", otherwise=frozenset(otherwise))

    def trading_hours(self) -> dict[str, Hours]:
        """By the limits that name them."""
        rules = (limit for limit in self.limits if isinstance(limit, Rules))
        return {rule.name: rule.hours for rule in rules if rule.hours is not None}

    def roles_of(self, client: str) -> frozenset[Role]:
        found = self.client(client)
        return frozenset() if found is None else found.roles


def default_journal() -> str:
    """Where the journal is kept when nobody says: systemd's state directory, else the usual place of root or a user."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return str(Path(given.split(":")[0], "journal"))
    if os.getuid() == 0:
        return "/var/lib/pitd/journal"
    return str(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "pitd", "journal"))


def load(path: str | Path, *, is_serving: bool = False, running: Config | None = None) -> Config:
    """Reads a configuration file and its drop-ins. Raises ConfigError naming file, line, key and mend.

    Who `is_serving` waits for no pipe. Where a configuration is `running`, the code of its policies is what counts.
    """
    return from_written(config_files.read(path, is_serving=is_serving), Path(path).parent, running)


def parse(text: str, source: str = "<configuration>") -> Config:
    """Reads configuration text. Raises ConfigError naming source, line, key and mend."""
    return from_written(config_files.read_text(text, source))


def from_written(written: Written, directory: Path = Path(), running: Config | None = None) -> Config:
    """What was written, read; files it names are looked for from that directory. Raises ConfigError naming file, line,
    key and mend.
    """
    return _Reader(written.source, written.places, directory, running).config(written.tables)


def from_settings(settings: str) -> Config:
    """The configuration that an entry of the journal recorded (`bootstrap.settings_text`)."""
    return msgspec.json.decode(settings, type=Config)


def from_tables(tables: Mapping[str, Any], source: str = "<configuration>") -> Config:
    """The same from tables that are already read. Raises ConfigError."""
    return _Reader(source, Places(source)).config(tables)


class _Reader:
    """Reads one configuration. Knows where each key was written, so that every error can begin with that."""

    def __init__(self, source: str, places: Places, directory: Path = Path(), running: Config | None = None) -> None:
        self._source = source
        self._places = places
        self._currency: Currency | None = None
        self._account_currencies: dict[str, str | None] = {}
        self._calendar_rule: DayRule | None = None
        self._directory = directory
        self._running = running
        self._controls: dict[str, type[Policy]] = {}
        """The policies that are not pitd's own."""
        self._quote_ns = Bounds().quote_ns

    def config(self, tables: Mapping[str, Any]) -> Config:
        self._only_keys(
            "",
            tables,
            (
                *("daemon", "journal", "gate", "calendar", "currency", "instruments", "accounts", "clients"),
                *("policies", "limits", "reports"),
            ),
        )
        policies = self._policies(self._table(tables, "policies"))
        instruments = self._instruments(self._table(tables, "instruments"))
        calendar = self._calendar_rule = self._calendar(self._table(tables, "calendar"))
        accounts = self._accounts(self._table(tables, "accounts"), calendar)
        groups = {name: account.group for name, account in accounts.items() if account.group is not None}
        self._account_currencies = {name: account.currency for name, account in accounts.items()}
        clients = self._clients(self._table(tables, "clients"))
        self._quote_ns = self._gate(self._table(tables, "gate")).bounds.quote_ns
        self._currency = config_currency.currency(self, self._table(tables, "currency"), instruments)
        limits = self._limits(self._table(tables, "limits"), groups, instruments)
        self._try_out(policies, limits)
        if calendar is None:
            self._need_no_day(limits)
        return Config(
            source=self._source,
            daemon=self._daemon(self._table(tables, "daemon")),
            journal=self._journal(self._table(tables, "journal")),
            gate=self._gate(self._table(tables, "gate")),
            reactions=self._reactions(self._table(tables, "reports")),
            instruments=instruments,
            groups=groups,
            accounts=accounts,
            calendar=calendar,
            currency=self._currency,
            clients=clients,
            limits=limits,
            policies=policies,
            reports_from=self._reports_from(self._table(tables, "accounts"), clients),
        )

    # ------------------------------------------------------------------------------------------ the sections

    def _daemon(self, table: Mapping[str, Any]) -> Daemon:
        self._only_keys("daemon", table, ("endpoint", "max_sessions", "batch", "key_file"))
        endpoint = self._text("daemon", table, "endpoint", default_endpoint())
        if not re.match(r"^(ipc://.+|tcp://[^/]+:(\d+|\*))$", endpoint):
            self._fail(
                "daemon.endpoint", f'"ipc:///path/to.sock" or "tcp://127.0.0.1:7421" is wanted, not {endpoint!r}'
            )
        port = endpoint.rpartition(":")[2]
        if port.isdigit() and int(port) > 65_535:
            self._fail("daemon.endpoint", f"a port is a number up to 65535, not {port}")
        if endpoint.startswith("ipc://"):
            room = 107 - len(os.fsencode(endpoint[6:]))
            if room < 0:
                self._fail("daemon.endpoint", f"the socket's path is {-room} bytes too long (107 at most)")
        key_file = self._text("daemon", table, "key_file", "")
        if "/" in key_file and not Path(key_file).is_absolute():
            self._fail("daemon.key_file", f"an absolute path is wanted, or a credential's name, not {key_file!r}")
        if endpoint.startswith("tcp://") and not key_file and not _is_loopback(endpoint):
            self._fail(
                "daemon.endpoint",
                f"{endpoint} is reached from other machines, and plain tcp proves nobody and hides nothing: make keys "
                '(pitd keygen) and name the daemon\'s in key_file = "...", or listen at 127.0.0.1',
            )
        return Daemon(
            endpoint=endpoint,
            max_sessions=self._count("daemon", table, "max_sessions", 1_000, least=1),
            batch=self._count("daemon", table, "batch", 256, least=1),
            key_file=key_file,
        )

    def _journal(self, table: Mapping[str, Any]) -> Journal:
        self._only_keys(
            "journal", table, ("directory", "durability", "segment_rows", "snapshot_rows", "keep", "reserve")
        )
        durability = self._text("journal", table, "durability", "process")
        known = ("none", "process", "power")
        if durability not in known:
            self._fail("journal.durability", f"{_or(known)} is wanted, not {durability!r}{_meant(durability, known)}")
        plain = Journal(directory=self._text("journal", table, "directory", default_journal()))
        return msgspec.structs.replace(
            plain,
            durability=msgspec.convert(durability, Literal["none", "process", "power"]),
            segment_rows=self._count("journal", table, "segment_rows", plain.segment_rows, least=100),
            snapshot_rows=self._count("journal", table, "snapshot_rows", plain.snapshot_rows, least=100),
            keep_ns=self._duration("journal", table, "keep", plain.keep_ns),
            reserve_bytes=self._size("journal", table, "reserve", plain.reserve_bytes),
        )

    def _gate(self, table: Mapping[str, Any]) -> Gate:
        self._only_keys(
            "gate",
            table,
            (
                "uncovered",
                "unknown_accounts",
                "lease",
                "min_lease",
                "max_lease",
                "max_unsettled",
                "max_open",
                "keep_closed",
                "keep_closed_for",
                "max_quote_age",
                "pnl",
                "cancel_within",
                "on_trip",
                "on_bust",
            ),
        )
        uncovered = self._choice("gate", table, "uncovered", ("reject", "allow"))
        unknown = self._choice("gate", table, "unknown_accounts", ("reject", "allow"))
        plain = Bounds()
        bounds = Bounds(
            lease_ns=self._duration("gate", table, "lease", plain.lease_ns),
            lease_least_ns=self._duration("gate", table, "min_lease", plain.lease_least_ns),
            lease_most_ns=self._duration("gate", table, "max_lease", plain.lease_most_ns),
            unsettled_per_session=self._count("gate", table, "max_unsettled", plain.unsettled_per_session, least=1),
            open_per_client=self._count("gate", table, "max_open", plain.open_per_client, least=1),
            closed_kept=self._count("gate", table, "keep_closed", plain.closed_kept, least=1),
            closed_kept_ns=self._duration("gate", table, "keep_closed_for", plain.closed_kept_ns),
            quote_ns=self._duration("gate", table, "max_quote_age", plain.quote_ns),
            cancel_ns=self._duration("gate", table, "cancel_within", plain.cancel_ns),
            trips_cancel=self._choice("gate", table, "on_trip", ("cancel", "keep")) == "cancel",
            busts_reopen=self._choice("gate", table, "on_bust", ("reopen", "close")) == "reopen",
        )
        if not bounds.lease_least_ns <= bounds.lease_ns <= bounds.lease_most_ns:
            self._fail("gate.lease", "min_lease ≤ lease ≤ max_lease is wanted; these contradict one another")
        return Gate(
            uncovered="allow" if uncovered == "allow" else "reject",
            unknown_accounts="allow" if unknown == "allow" else "reject",
            bounds=bounds,
            pnl=self._pnl_source("gate", table),
        )

    def _reactions(self, table: Mapping[str, Any]) -> dict[str, TradingState]:
        """What is done about fills that ought not to be, by their flag; what is only flagged is left out."""
        self._only_keys("reports", table, REACTED_TO)
        found = {}
        for flag in table:
            wanted = self._text("reports", table, flag, None)
            if wanted not in _REACTIONS:
                self._fail(f"reports.{flag}", f"{_or(tuple(_REACTIONS))} is wanted, not {wanted!r}")
            state = _REACTIONS[wanted]
            if state is not None:
                found[flag] = state
        return found

    def _instruments(self, table: Mapping[str, Any]) -> dict[str, Listed]:
        listed = {}
        for symbol in table:
            key = f"instruments.{symbol}"
            self._name(key, symbol)
            one = self._table(table, symbol, "instruments")
            self._only_keys(key, one, ("underlying", "settlement", "kind", "multiplier", "tick", "lot", "signed_price"))
            kind = self._text(key, one, "kind", "spot")
            if kind not in list(Kind):
                self._fail(f"{key}.kind", f"{_or(list(Kind))} is wanted, not {kind!r}{_meant(kind, list(Kind))}")
            signed = one.get("signed_price", False)
            if not isinstance(signed, bool):
                self._fail(f"{key}.signed_price", f"true or false is wanted, not {signed!r}")
            if signed and kind == "inverse":
                self._fail(f"{key}.signed_price", "an inverse instrument is divided by its price; leave it out")
            settlement = self._text(key, one, "settlement", None)
            self._name(f"{key}.settlement", settlement)
            underlying = self._text(key, one, "underlying", symbol.removesuffix(f"/{settlement}"))
            if "/" in symbol and symbol != f"{underlying}/{settlement}":
                pair = f'pit.Instrument("{underlying}", "{settlement}")'
                self._fail(key, f'it reads as a pair, and declares another: {pair} is "{underlying}/{settlement}"')
            listed[symbol] = Listed(
                symbol=symbol,
                underlying=underlying,
                settlement=settlement,
                kind=Kind(kind),
                multiplier=self._amount(key, one, "multiplier") or Decimal(1),
                tick=self._amount(key, one, "tick"),
                lot=self._amount(key, one, "lot"),
                signed_price=signed,
            )
        return listed

    def _calendar(self, table: Mapping[str, Any]) -> DayRule | None:
        self._only_keys("calendar", table, ("zone", "start_of_day", "end_of_day"))
        return self._day_rule("calendar", table, "UTC") if table else None

    def _accounts(self, table: Mapping[str, Any], calendar: DayRule | None) -> dict[str, Account]:
        accounts = {}
        for name in table:
            key = f"accounts.{name}"
            self._name(key, name)
            one = self._table(table, name, "accounts")
            self._only_keys(
                key,
                one,
                (
                    *("group", "currency", "zone", "start_of_day", "end_of_day", "reports_from", "requires_positions"),
                    "pnl",
                ),
            )
            for word in ("group", "currency"):
                if word in one:
                    self._name(f"{key}.{word}", self._text(key, one, word, None))
            has_day = any(word in one for word in ("zone", "start_of_day", "end_of_day"))
            accounts[name] = Account(
                group=one.get("group"),
                currency=one.get("currency"),
                day=self._day_rule(key, one, "UTC" if calendar is None else calendar.zone) if has_day else None,
                requires_positions=self._yes_or_no(key, one, "requires_positions"),
                pnl=self._pnl_source(key, one) if "pnl" in one else None,
            )
        return accounts

    def _pnl_source(self, key: str, table: Mapping[str, Any]) -> PnlSource:
        return "computed" if self._choice(key, table, "pnl", ("reported", "computed")) == "computed" else "reported"

    def _day_rule(self, key: str, table: Mapping[str, Any], zone: str) -> DayRule:
        zone = self._zone(key, table, zone)
        start = self._time_of_day(key, table, "start_of_day")
        end = self._time_of_day(key, table, "end_of_day") if "end_of_day" in table else ""
        if end == start:
            self._fail(f"{key}.end_of_day", "a day that is to end when the next one begins needs none; leave it out")
        return DayRule(start_of_day=start, zone=zone, end_of_day=end)

    def _zone(self, key: str, table: Mapping[str, Any], default: str) -> str:
        zone = self._text(key, table, "zone", default)
        if not zones.is_known(zone):
            self._fail(
                f"{key}.zone",
                f'an IANA zone is wanted, such as "America/New_York", not {zone!r}{_meant(zone, zones.all_names())}',
            )
        return zone

    def _time_of_day(self, key: str, table: Mapping[str, Any], name: str) -> str:
        written = self._text(key, table, name, None)
        try:
            return zones.time_of_day(written).isoformat("seconds" if written.count(":") == 2 else "minutes")
        except ValueError:
            return self._fail(f"{key}.{name}", f'a time of day is wanted, such as "17:00", not {written!r}')

    def _reports_from(self, table: Mapping[str, Any], clients: Mapping[str, Client]) -> dict[str, frozenset[str]]:
        believed = {}
        for account in table:
            key = f"accounts.{account}"
            names = self._names(key, self._table(table, account, "accounts"), "reports_from")
            for name in sorted(names or ()):
                client = clients.get(name, clients.get(ANYONE)) if clients else _ANY_CLIENT
                if client is None:
                    self._fail(f"{key}.reports_from", f"no client is named {name!r}{_meant(name, clients)}")
                if "report" not in client.roles or not client.may_touch(account):
                    self._fail(
                        f"{key}.reports_from",
                        f'client {name} may not report for {account}: it needs the role "report" and that account',
                    )
            if names is not None:
                believed[account] = names
        return believed

    def _clients(self, table: Mapping[str, Any]) -> dict[str, Client]:
        clients = {}
        for name in table:
            key = f"clients.{name}"
            self._client(key, name)
            one = self._table(table, name, "clients")
            self._only_keys(key, one, ("roles", "accounts", "user", "key", "key_file"))
            roles = self._names(key, one, "roles") or frozenset({"trade", "report"})
            for role in sorted(roles):
                if role not in ROLES:
                    self._fail(f"{key}.roles", f"{_or(ROLES)} is wanted, not {role!r}{_meant(role, ROLES)}")
            clients[name] = Client(
                roles=msgspec.convert(sorted(roles), frozenset[Role]),
                accounts=self._names(key, one, "accounts"),
                users=frozenset(self._users(f"{key}.user", one.get("user", []))),
                keys=frozenset(self._keys(key, one)),
            )
        return clients

    def _users(self, key: str, value: Any) -> Iterator[int]:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**32:
                yield each
            elif not isinstance(each, str) or not each:
                self._fail(key, f"a user's name or number is wanted, or a list of them, not {each!r}")
            else:
                try:
                    yield pwd.getpwnam(each).pw_uid
                except KeyError:
                    self._fail(key, f"there is no user {each!r} on this machine; a number needs none")

    def _keys(self, key: str, table: Mapping[str, Any]) -> Iterator[str]:
        given = table.get("key", [])
        for each in given if isinstance(given, list) else [given]:
            if not isinstance(each, str) or not keys.is_key(each):
                self._fail(
                    f"{key}.key", f"a public key of 40 characters (Z85) is wanted, or a list of them, not {each!r}"
                )
            yield each
        if "key_file" in table:
            path = self._text(key, table, "key_file", None)
            if not Path(path).is_absolute():
                self._fail(f"{key}.key_file", f"an absolute path is wanted, not {path!r}")
            try:
                yield keys.read_public(path)
            except keys.BadKey as trouble:
                self._fail(f"{key}.key_file", str(trouble))

    # ------------------------------------------------------------------------------------------ own policies

    def _policies(self, table: Mapping[str, Any]) -> dict[str, OwnPolicy]:
        found = {}
        for name in table:
            key = f"policies.{name}"
            one = self._table(table, name, "policies")
            self._only_keys(key, one, ("file", "settings"))
            if name in (*CONTROLS, *_TAKEN):
                self._fail(key, f"{name!r} is a name of pitd's own; give the policy another id")
            file = self._text(key, one, "file", "")
            if file:
                file = os.path.abspath(self._directory / file)  # noqa: PTH100 - the name stays, wherever a link leads
            settings = dict(self._table(one, "settings", key))
            before = None if self._running is None else self._running.policies.get(name)
            try:
                policy, code = own_policies.load(name, file)
            except own_policies.Unusable as trouble:
                self._fail(f"{key}.{trouble.key}".rstrip("."), str(trouble))
            if before is not None and before.file == file:
                policy = own_policies.known(before) or policy  # other code waits for the next start
            self._controls[name] = policy
            found[name] = OwnPolicy(name=name, file=file, code=code, settings=settings)
        return found

    def _own_limit(self, key: str, table: Mapping[str, Any], common: dict[str, Any], control: str) -> OwnLimit:
        policy = self._controls[control]
        assert policy.limit_type is not None
        own = {name: table[name] for name in own_policies.keys_of(policy.limit_type, Limit) if name in table}
        numbers = own_policies.numbers_of(policy.limit_type, own)
        limit = OwnLimit(**common, policy=control, own=own, numbers=numbers)
        try:
            own_policies.limit_of(policy.limit_type, limit)
        except own_policies.Unusable as trouble:
            self._fail(f"{key}.{trouble.key}".rstrip("."), str(trouble))
        return limit

    def _try_out(self, policies: Mapping[str, OwnPolicy], limits: Sequence[AnyLimit]) -> None:
        """Makes each of them once, as the engine will."""
        own_limits = [limit for limit in limits if isinstance(limit, OwnLimit)]
        for name, own in policies.items():
            try:
                own_policies.make(own, self._controls[name], own_limits, cover=True)
            except own_policies.Unusable as trouble:
                self._fail(f"policies.{name}.{trouble.key}".rstrip("."), str(trouble))

    # ------------------------------------------------------------------------------------------ the limits

    def _limits(
        self, table: Mapping[str, Any], groups: Mapping[str, str], instruments: Mapping[str, Listed]
    ) -> tuple[AnyLimit, ...]:
        limits = tuple(
            self._limit(name, self._table(table, name, "limits"), place, groups, instruments)
            for place, name in enumerate(table)
        )
        brings = [limit for limit in limits if isinstance(limit, PnlBound) and limit.initial_pnl is not None]
        for at, one in enumerate(brings):
            for other in brings[:at]:
                if one.initial_pnl != other.initial_pnl and _may_overlap(one.only, other.only):
                    self._fail(
                        f"limits.{one.name}.initial_pnl",
                        f"{one.initial_pnl} contradicts {other.initial_pnl} of limits.{other.name} "
                        "for the same accounts",
                    )
        return limits

    def _need_no_day(self, limits: Sequence[AnyLimit]) -> None:
        for limit in limits:
            if isinstance(limit, PnlBound) and limit.per is not None:
                mend = 'nobody says when a day begins: add [calendar] start_of_day = "17:00", zone = "America/New_York"'
                self._fail(f"limits.{limit.name}.per", mend)

    def _limit(
        self,
        name: str,
        table: Mapping[str, Any],
        position: int,
        groups: Mapping[str, str],
        instruments: Mapping[str, Listed],
    ) -> AnyLimit:
        key = f"limits.{name}"
        self._name(key, name)
        if name in (OPERATOR, POISONED) or name.startswith(
            FAILED
        ):  # a trip of that name would pass for a person's block, which anyone lifts
            self._fail(key, f"{name!r} stands for another kind of block; give the limit another name")
        control = self._text(key, table, "control", None)
        own_controls = {each: policy.limit_type for each, policy in self._controls.items() if policy.limit_type}
        if control not in (*CONTROLS, *own_controls):
            known = (*CONTROLS, *own_controls)
            self._fail(f"{key}.control", f"{_or(known)} is wanted, not {control!r}{_meant(control, known)}")
        own = {
            **{each: tuple(own_policies.keys_of(type_, Limit)) for each, type_ in own_controls.items()},
            "pnl_kill_switch": (
                *("max_loss", "max_profit", "max_drawdown", "per", "then", "on", "max_age"),
                *("currency", "initial_pnl"),
            ),
            "rate_limit": ("max_orders", "window"),
            "order_size_limit": ("max_quantity", "max_notional", "currency"),
            "open_order_notional": ("max_notional", "currency"),
            "price_collar": ("max_ticks", "max_percent", "max_absolute", "side", "market"),
            "duplicate_order": ("max_repeats", "window"),
            "repeated_execution": ("max_executions", "window"),
            "self_trade": (),
            "instrument_rules": (
                *("allow", "deny", "min_quantity", "max_quantity", "min_price", "max_price"),
                *("short_sale", "reducing", "hours", "zone", "holidays", "shortened"),
            ),
            "position_limit": ("max_quantity", "max_long", "max_short"),
            "open_order_limit": ("max_orders",),
            "exposure_limit": ("max_gross", "max_net", "currency", "max_age"),
            "concentration_limit": ("max_percent", "min_gross", "by", "currency", "max_age"),
            "spot_funds": ("mode", "slippage_percent", "fee_percent"),
            "turnover_limit": ("max_notional", "max_quantity", "window", "per", "currency"),
            "message_rate": ("max_messages", "window", "orders", "cancels"),
        }[control]
        self._only_keys(
            key,
            table,
            (
                *("control", "each", "over", "accounts", "clients", "groups", "instruments", "settlement", "except"),
                *("shadow", *own),
            ),
        )
        each, over = self._each(key, table), self._over(key, table, groups)
        if not each and over is None:
            each = _COUNTS_BY.get(control, ())
        if bool(each) == (over is not None):
            self._fail(key, 'say what it counts by: each = "account" for one counter each, or over = "firm" for one')
        excepted = self._table(table, "except", key) if "except" in table else None
        without = None if excepted is None else self._selection(f"{key}.except", excepted, groups, instruments)
        if excepted is not None:
            self._only_keys(f"{key}.except", excepted, ("accounts", "clients", "groups", "instruments", "settlement"))
            if not excepted:
                self._fail(f"{key}.except", "it takes out nothing; name accounts, clients, groups or instruments")
        common: dict[str, Any] = {
            "name": name,
            "position": position,
            "each": each,
            "over": over,
            "only": self._selection(key, table, groups, instruments),
            "without": without,
            "shadow": self._flag(key, table, "shadow"),
        }
        if _leaves_nobody(common, groups, instruments):
            self._fail(f"{key}.except", "it takes out all that the limit is for: nothing would be left under it")
        if control in own_controls:
            return self._own_limit(key, table, common, control)
        match control:
            case "pnl_kill_switch":
                return self._pnl_bound(key, table, common)
            case "rate_limit":
                return Rate(
                    **common,
                    max_orders=self._count(key, table, "max_orders", None, least=0),
                    window_ns=self._duration(key, table, "window", None),
                )
            case "order_size_limit":
                self._one_of(key, table, "max_quantity", "max_notional")
                return OrderSize(
                    **common,
                    currency=self._in_currency(key, table),
                    max_quantity=self._amount(key, table, "max_quantity"),
                    max_notional=self._amount(key, table, "max_notional"),
                )
            case "price_collar":
                return self._collar(key, table, common, instruments)
            case "duplicate_order":
                return Duplicates(
                    **common,
                    max_repeats=self._count(key, table, "max_repeats", None, least=0),
                    window_ns=self._duration(key, table, "window", None),
                )
            case "repeated_execution":
                if common["each"] not in ((), ("client",), ("account",)):
                    self._fail(f"{key}.each", 'it blocks what it counts by: "client" or "account", or over = "firm"')
                return Repeats(
                    **common,
                    max_executions=self._count(key, table, "max_executions", None, least=1),
                    window_ns=self._duration(key, table, "window", None),
                )
            case "self_trade":
                return SelfTrades(**common)
            case "instrument_rules":
                return self._rules(key, table, common, instruments)
            case "position_limit":
                return self._position_bound(key, table, common)
            case "open_order_limit":
                return OpenOrders(**common, max_orders=self._count(key, table, "max_orders", None, least=0))
            case "spot_funds":
                return self._spot_funds(key, table, common)
            case "message_rate":
                orders = table.get("orders", False)
                if not isinstance(orders, bool):
                    self._fail(f"{key}.orders", f"true or false is wanted, not {orders!r}")
                cancels = self._text(key, table, "cancels", "refuse")
                if cancels not in ("refuse", "count"):
                    self._fail(f"{key}.cancels", f'"refuse" or "count" is wanted, not {cancels!r}')
                return Messages(
                    **common,
                    max_orders=self._count(key, table, "max_messages", None, least=0),
                    window_ns=self._duration(key, table, "window", None),
                    orders=orders,
                    refuses_cancels=cancels == "refuse",
                )
            case "exposure_limit":
                self._one_of(key, table, "max_gross", "max_net")
                return ExposureBound(
                    **common,
                    **self._book(key, table, common),
                    max_gross=self._amount(key, table, "max_gross"),
                    max_net=self._amount(key, table, "max_net"),
                )
            case "concentration_limit":
                return self._concentration(key, table, common)
            case "turnover_limit":
                self._one_of(key, table, "max_notional", "max_quantity")
                if "max_notional" in table and "instrument" not in common["each"]:
                    self._one_asset(key, table, common)
                if "max_quantity" in table:
                    self._one_instrument(key, common)
                return Turnover(
                    **common,
                    currency=self._in_currency(key, table),
                    max_notional=self._amount(key, table, "max_notional"),
                    max_quantity=self._amount(key, table, "max_quantity"),
                    window_ns=0 if self._is_daily(key, table) else self._duration(key, table, "window", None),
                )
            case _:
                self._one_of(key, table, "max_notional")
                self._one_asset(key, table, common)
                most = self._amount(key, table, "max_notional")
                assert most is not None
                return OpenNotional(**common, max_notional=most, currency=self._in_currency(key, table))

    def _is_daily(self, key: str, table: Mapping[str, Any]) -> bool:
        """Whether a limit counts by days of the calendar, and not in a window."""
        if "per" not in table:
            return False
        self._choice(key, table, "per", ("day",))
        if "window" in table:
            self._fail(f"{key}.per", 'it counts in a window, or per = "day"; leave one of them out')
        if self._calendar_rule is None:
            self._fail(f"{key}.per", 'nobody knows when a day begins; say so: [calendar] start_of_day = "17:00"')
        return True

    def _pnl_on(self, key: str, table: Mapping[str, Any]) -> Literal["realised", "unrealised", "both"]:
        word = self._choice(key, table, "on", ("realised", "unrealised", "both"))
        if word == "realised" and "max_age" in table:
            self._fail(f"{key}.max_age", 'marks are not looked at: leave it out, or say on = "both" or "unrealised"')
        if word == "unrealised" and "initial_pnl" in table:
            self._fail(f"{key}.initial_pnl", 'it is realised P&L, which on = "unrealised" does not count')
        return "unrealised" if word == "unrealised" else "both" if word == "both" else "realised"

    def _pnl_currency(
        self, key: str, table: Mapping[str, Any], common: dict[str, Any]
    ) -> Literal["account", "firm"] | None:
        """Whose currency a P&L limit converts into."""
        if "currency" not in table:
            return None
        whose = table["currency"]
        if whose not in ("account", "firm"):
            self._fail(f"{key}.currency", f'"account" or "firm" is wanted, not {whose!r}; settlement names one asset')
        only: Selection = common["only"]
        if only.settlement is not None or (common["without"] is not None and common["without"].settlement is not None):
            self._fail(
                f"{key}.settlement", "with a currency, what is made of every asset counts; leave one of them out"
            )
        if "initial_pnl" in table:
            mend = "an account brings it along in some asset; say it in a limit with that settlement"
            self._fail(f"{key}.initial_pnl", mend)
        if whose == "firm":
            if self._currency is None:
                self._fail(f"{key}.currency", "nobody says which that is; add [currency] firm = …")
            return "firm"
        if common["over"] is not None:
            self._fail(f"{key}.currency", 'several accounts have no one currency; "firm" converts into the firm\'s')
        missing = [
            name
            for name, currency in self._account_currencies.items()
            if currency is None and (only.accounts is None or name in only.accounts)
        ]
        if missing and only.groups is None and common["without"] is None:
            self._fail(
                f"{key}.currency", f"nobody says which account {missing[0]} has: add it to [accounts.{missing[0]}]"
            )
        known = [name for name, currency in self._account_currencies.items() if currency is not None]
        if not known:
            self._fail(f"{key}.currency", 'no account has one; declare them: [accounts.NAME] currency = "EUR"')
        return "account"

    def _book(self, key: str, table: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
        """Whose exposure a limit looks at, and in which money: it is kept by account, client, group and firm."""
        self._one_asset(key, table, common)
        if common["each"] not in ((), ("account",), ("client",)):
            self._fail(f"{key}.each", 'a book is that of "account" or "client", or over = "firm" or { group = … }')
        fits = {"account": ("accounts", "groups"), "client": ("clients",), "": ()}
        can = fits["".join(common["each"])]
        for where, selection in ((key, common["only"]), (f"{key}.except", common["without"] or Selection())):
            for name in ("accounts", "clients", "groups", "instruments"):
                if getattr(selection, name) is not None and name not in can:
                    whose = "/".join(can) or "no one: over says whose it is"
                    self._fail(f"{where}.{name}", f"a book is looked at whole; it can be selected by {whose}")
        if common["without"] is not None and common["without"].settlement is not None:
            self._fail(f"{key}.except.settlement", "a book is looked at whole; name the settlement that is meant")
        return {
            "currency": self._in_currency(key, table),
            "max_age_ns": self._duration(key, table, "max_age", self._quote_ns),
        }

    def _concentration(self, key: str, table: Mapping[str, Any], common: dict[str, Any]) -> Concentration:
        most, floor = self._amount(key, table, "max_percent"), self._amount(key, table, "min_gross")
        if most is None or most > 100:
            self._fail(f"{key}.max_percent", "a number above zero and up to 100 is wanted")
        if floor is None:
            self._fail(
                f"{key}.min_gross", "is missing: up to it the limit does not apply, as a first order is all of it"
            )
        by = self._choice(key, table, "by", ("instrument", "underlying"))
        return Concentration(
            **common,
            **self._book(key, table, common),
            max_percent=most,
            min_gross=floor,
            by="underlying" if by == "underlying" else "instrument",
        )

    def _pnl_bound(self, key: str, table: Mapping[str, Any], common: dict[str, Any]) -> PnlBound:
        self._one_of(key, table, "max_loss", "max_profit", "max_drawdown")
        only: Selection = common["only"]
        currency = self._pnl_currency(key, table, common)
        if only.settlement is None and currency is None:
            self._fail(
                key,
                'P&L is kept by asset; add settlement = "USD" (or the asset that is meant), or currency = "account" or '
                '"firm" to have all of it converted',
            )
        if common["each"] not in ((), ("account",)):
            self._fail(f"{key}.each", 'P&L is kept by account: each = "account", or over = "firm" or { group = … }')
        for where, selection in ((key, only), (f"{key}.except", common["without"] or Selection())):
            if selection.clients is not None or selection.instruments is not None:
                self._fail(where, "P&L is kept by account and asset; clients and instruments cannot select it")
        if common["over"] is not None and "initial_pnl" in table:
            self._fail(f"{key}.initial_pnl", 'an account brings it along; it needs each = "account"')
        initial = table.get("initial_pnl")
        return PnlBound(
            **common,
            max_loss=self._amount(key, table, "max_loss"),
            max_profit=self._amount(key, table, "max_profit"),
            max_drawdown=self._amount(key, table, "max_drawdown"),
            per="day" if "per" in table and self._choice(key, table, "per", ("day",)) else None,
            then="reduce" if self._choice(key, table, "then", ("halt", "reduce")) == "reduce" else "halt",
            on=self._pnl_on(key, table),
            currency=currency,
            max_age_ns=self._duration(key, table, "max_age", MAX_AGE_NS),
            initial_pnl=None if initial is None else self._number(f"{key}.initial_pnl", initial),
        )

    def _collar(
        self, key: str, table: Mapping[str, Any], common: dict[str, Any], instruments: Mapping[str, Listed]
    ) -> Collar:
        self._one_of(key, table, "max_ticks", "max_percent", "max_absolute")
        max_ticks = None
        if "max_ticks" in table:
            max_ticks = self._count(key, table, "max_ticks", None, least=1)
            for symbol in sorted(common["only"].instruments or ()):
                if symbol not in instruments or instruments[symbol].tick is None:
                    self._fail(f"{key}.max_ticks", f'{symbol} declares no tick: [instruments."{symbol}"] tick = …')
        return Collar(
            **common,
            max_ticks=max_ticks,
            max_percent=self._amount(key, table, "max_percent"),
            max_absolute=self._amount(key, table, "max_absolute"),
            side="both" if self._choice(key, table, "side", ("aggressive", "both")) == "both" else "aggressive",
            market="reject" if self._choice(key, table, "market", ("pass", "reject")) == "reject" else "pass",
        )

    def _rules(
        self, key: str, table: Mapping[str, Any], common: dict[str, Any], instruments: Mapping[str, Listed]
    ) -> Rules:
        self._one_of(
            key, table, "allow", "deny", "min_quantity", "max_quantity", "min_price", "max_price", "short_sale", "hours"
        )
        allow, deny = self._symbols(key, table, "allow", instruments), self._symbols(key, table, "deny", instruments)
        both = sorted((allow or frozenset()) & (deny or frozenset()))
        if both:
            self._fail(f"{key}.deny", f"{both[0]} is allowed and denied; take it out of one of the lists")
        rules = Rules(
            **common,
            allow=allow,
            deny=deny,
            min_quantity=self._amount(key, table, "min_quantity"),
            max_quantity=self._amount(key, table, "max_quantity"),
            min_price=self._price(key, table, "min_price"),
            max_price=self._price(key, table, "max_price"),
            short_sale="reject" if self._choice(key, table, "short_sale", ("allow", "reject")) == "reject" else "allow",
            reducing="reject" if self._choice(key, table, "reducing", ("pass", "reject")) == "reject" else "pass",
            hours=self._hours(key, table),
        )
        for least, most, what in (
            (rules.min_quantity, rules.max_quantity, "quantity"),
            (rules.min_price, rules.max_price, "price"),
        ):
            if least is not None and most is not None and least > most:
                self._fail(f"{key}.min_{what}", f"it is above max_{what}: no order would pass")
        return rules

    def _spot_funds(self, key: str, table: Mapping[str, Any], common: dict[str, Any]) -> SpotFunds:
        if common["each"] != ("account",):
            self._fail(key, 'what is there is an account\'s: it counts by each = "account", which may be left out')
        for where, selection in ((key, common["only"]), (f"{key}.except", common["without"] or Selection())):
            if selection.clients is not None:
                self._fail(where, "what is there is an account's, whoever asks; clients cannot select it")
        slippage, fee = self._percent(key, table, "slippage_percent"), self._percent(key, table, "fee_percent")
        mode = self._choice(key, table, "mode", ("enforce", "track"))
        return SpotFunds(
            **common, mode="track" if mode == "track" else "enforce", slippage_percent=slippage, fee_percent=fee
        )

    def _percent(self, key: str, table: Mapping[str, Any], name: str) -> Decimal:
        """From 0 (where it is left out) to 100, with up to four decimals."""
        percent = self._amount(key, table, name) or Decimal(0)
        exponent = percent.normalize().as_tuple().exponent
        if percent > 100 or (isinstance(exponent, int) and exponent < -4):
            self._fail(f"{key}.{name}", f"0 to 100 with up to four decimals is wanted, not {percent}")
        return percent

    def _flag(self, key: str, table: Mapping[str, Any], name: str) -> bool:
        value = table.get(name, False)
        if not isinstance(value, bool):
            self._fail(f"{key}.{name}", f"true or false is wanted, not {value!r}")
        return value

    def _hours(self, key: str, table: Mapping[str, Any]) -> Hours | None:
        if "hours" not in table:
            for name in ("zone", "holidays", "shortened"):
                if name in table:
                    self._fail(f"{key}.{name}", 'it belongs to hours = ["mon-fri 09:30-16:00"]; add them')
            return None
        default = "UTC" if self._calendar_rule is None else self._calendar_rule.zone
        holidays = self._read_each(key, table, "holidays", hours.holiday, "2026-12-25")
        shortened = self._read_each(key, table, "shortened", hours.shortened, "2026-11-27 09:30-13:00")
        both = sorted({hours.shortened(each).day.isoformat() for each in shortened} & set(holidays))
        if both:
            self._fail(f"{key}.shortened", f"{both[0]} is a holiday as well; take it out of one of the lists")
        return Hours(
            sessions=self._read_each(key, table, "hours", hours.session, "mon-fri 09:30-16:00"),
            zone=self._zone(key, table, default),
            holidays=holidays,
            shortened=shortened,
        )

    def _read_each(
        self, key: str, table: Mapping[str, Any], name: str, read: Callable[[str], Any], example: str
    ) -> tuple[str, ...]:
        """What is written, each of which can be read."""
        values = table.get(name, [])
        if not isinstance(values, list) or (not values and name in table):
            self._fail(f"{key}.{name}", f'a list is wanted, such as ["{example}"], not {values!r}')
        for each in values:
            try:
                read(each)
            except (ValueError, AttributeError):
                self._fail(f"{key}.{name}", f'"{example}" is how it is written, not {each!r}')
        return tuple(values)

    def _choice(self, key: str, table: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
        """One of these words; the first where it is left out."""
        word = self._text(key, table, name, known[0])
        if word not in known:
            self._fail(f"{key}.{name}", f"{_or(known)} is wanted, not {word!r}{_meant(word, known)}")
        return word

    def _position_bound(self, key: str, table: Mapping[str, Any], common: dict[str, Any]) -> PositionBound:
        self._one_of(key, table, "max_quantity", "max_long", "max_short")
        self._one_instrument(key, common)
        if not set(common["each"]) <= {"account", "instrument"}:
            self._fail(
                f"{key}.each",
                'positions are kept by account and instrument: each = "account+instrument", or "instrument" for the '
                "net of the firm",
            )
        for where, selection in ((key, common["only"]), (f"{key}.except", common["without"] or Selection())):
            if selection.clients is not None:
                self._fail(where, "positions are kept by account and instrument; clients cannot select them")
            if "account" not in common["each"] and (selection.accounts is not None or selection.groups is not None):
                self._fail(
                    where,
                    "a net is that of all accounts together; for some of them say over = { group = … }, or each = "
                    '"account+instrument"',
                )
        return PositionBound(
            **common,
            max_quantity=self._amount(key, table, "max_quantity"),
            max_long=self._amount(key, table, "max_long"),
            max_short=self._amount(key, table, "max_short"),
        )

    def _each(self, key: str, table: Mapping[str, Any]) -> tuple[Dimension, ...]:
        if "each" not in table:
            return ()
        words = tuple(self._text(key, table, "each", None).split("+"))
        for word in words:
            if word not in DIMENSIONS:
                self._fail(f"{key}.each", f"{_or(DIMENSIONS)} is wanted, not {word!r}{_meant(word, DIMENSIONS)}")
        if len(words) > 2 or len(set(words)) != len(words):
            self._fail(f"{key}.each", 'one dimension, or a pair such as "account+instrument", is wanted')
        return msgspec.convert(words, tuple[Dimension, ...])

    def _over(self, key: str, table: Mapping[str, Any], groups: Mapping[str, str]) -> Any:
        over = table.get("over")
        if over is None or over == FIRM:
            return over
        if isinstance(over, dict) and set(over) == {"group"} and isinstance(over["group"], str):
            self._known_groups(f"{key}.over", (over["group"],), groups)
            return Group(over["group"])
        return self._fail(f"{key}.over", f'"firm" or {{ group = "NAME" }} is wanted, not {over!r}')

    def _selection(
        self, key: str, table: Mapping[str, Any], groups: Mapping[str, str], instruments: Mapping[str, Listed]
    ) -> Selection:
        chosen = self._names(key, table, "groups")
        self._known_groups(f"{key}.groups", sorted(chosen or ()), groups)
        symbols = self._symbols(key, table, "instruments", instruments)
        clients = self._names(key, table, "clients")
        for client in sorted(clients or ()):
            self._client(f"{key}.clients", client)
        settlement = self._text(key, table, "settlement", "") or None
        if settlement is not None:
            self._name(f"{key}.settlement", settlement)
        return Selection(
            accounts=self._names(key, table, "accounts"),
            clients=clients,
            groups=chosen,
            instruments=symbols,
            settlement=settlement,
        )

    def _symbols(
        self, key: str, table: Mapping[str, Any], name: str, instruments: Mapping[str, Listed]
    ) -> frozenset[str] | None:
        symbols = self._names(key, table, name)
        for symbol in sorted(symbols or ()):
            underlying, _, asset = symbol.rpartition("/")
            if symbol not in instruments and not (underlying and asset):
                self._fail(
                    f"{key}.{name}",
                    f'{symbol!r} is not declared{_meant(symbol, instruments)}; declare it, or name a pair: "AAPL/USD"',
                )
        return symbols

    def _known_groups(self, key: str, names: Sequence[str], groups: Mapping[str, str]) -> None:
        known = set(groups.values())
        for name in names:
            if name not in known:
                self._fail(
                    key, f"no account is in group {name!r}{_meant(name, known)}; put one in: [accounts.NAME] group = …"
                )

    def _one_asset(self, key: str, table: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        """Money of different assets cannot be added up, unless it is converted."""
        if self._in_currency(key, table) is not None:
            return
        if common["only"].settlement is None and "settlement" not in common["each"]:
            self._fail(
                key,
                'amounts of different assets cannot be added up; add settlement = "USD" (or another asset), or '
                'currency = "firm" to have them converted',
            )

    def _in_currency(self, key: str, table: Mapping[str, Any]) -> Literal["firm"] | None:
        """Whether a limit counts in the firm's currency."""
        if "currency" not in table:
            return None
        if table["currency"] != "firm":
            self._fail(f"{key}.currency", f'"firm" is wanted, not {table["currency"]!r}; settlement names one asset')
        if self._currency is None:
            self._fail(f"{key}.currency", "nobody says which that is; add [currency] firm = …")
        if not any(name in table for name in ("max_notional", "max_gross", "max_net", "max_percent")):
            self._fail(f"{key}.currency", "it limits no money; add max_notional, or leave it out")
        return "firm"

    def _one_instrument(self, key: str, common: Mapping[str, Any]) -> None:
        """Units of different instruments cannot be added up."""
        if "instrument" not in common["each"] and len(common["only"].instruments or ()) != 1:
            self._fail(
                key,
                'units of different instruments cannot be added up; count by each = "account+instrument" (or another '
                'pair with instrument), or name one: instruments = ["ESZ6"]',
            )

    # ------------------------------------------------------------------------------------------ the values

    def _table(self, tables: Mapping[str, Any], name: str, within: str = "") -> Mapping[str, Any]:
        table = tables.get(name, {})
        if not isinstance(table, dict):
            key = f"{within}.{name}" if within else name
            self._fail(key, f"a table is wanted, such as [{key}] or {key.rpartition('.')[2]} = {{ … }}, not {table!r}")
        return table

    def _only_keys(self, key: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
        for name in table:
            if name not in known:
                at = f"{key}.{name}" if key else name
                self._fail(at, f"there is no such key{_meant(name, known)}; known here: {', '.join(known)}")

    def _yes_or_no(self, key: str, table: Mapping[str, Any], name: str) -> bool:
        value = table.get(name, False)
        if not isinstance(value, bool):
            self._fail(f"{key}.{name}", f"true or false is wanted, not {value!r}")
        return value

    def _text(self, key: str, table: Mapping[str, Any], name: str, default: str | None) -> str:
        value = table.get(name, default)
        if value is None:
            self._fail(f"{key}.{name}", "is missing")
        if not isinstance(value, str) or (not value and name in table):
            self._fail(f"{key}.{name}", f"text is wanted, not {value!r}")
        return value

    def _names(self, key: str, table: Mapping[str, Any], name: str) -> frozenset[str] | None:
        if name not in table:
            return None
        value = table[name]
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self._fail(f"{key}.{name}", f'a list of names is wanted, such as ["alpha", "beta"], not {value!r}')
        for each in value:
            self._name(f"{key}.{name}", each)
        return frozenset(value)

    def _count(self, key: str, table: Mapping[str, Any], name: str, default: int | None, *, least: int) -> int:
        value = table.get(name, default)
        if value is None:
            self._fail(f"{key}.{name}", "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < least or value > 10**9:
            self._fail(f"{key}.{name}", f"a whole number from {least} to 1000000000 is wanted, not {value!r}")
        return value

    def _duration(self, key: str, table: Mapping[str, Any], name: str, default_ns: int | None) -> int:
        if name not in table and default_ns is not None:
            return default_ns
        value = table.get(name)
        found = re.fullmatch(r"(\d{1,9})(\.\d{1,9})?(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if found is None:
            self._fail(
                f"{key}.{name}", f'a duration with its unit is wanted, such as "250ms", "1s" or "5m", not {value!r}'
            )
        unit_ns = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}[found[3]]
        length_ns = int(Decimal(found[1] + (found[2] or "")) * unit_ns)
        if length_ns <= 0:
            self._fail(f"{key}.{name}", "a duration above zero is wanted")
        if length_ns > LONGEST_NS:
            self._fail(f"{key}.{name}", f'"3650d" is the longest that can be meant, not {value!r}')
        return length_ns

    def _size(self, key: str, table: Mapping[str, Any], name: str, default: int) -> int:
        value = table.get(name)
        if value is None:
            return default
        found = re.fullmatch(r"(\d{1,9})(KiB|MiB|GiB)", value) if isinstance(value, str) else None
        if found is None or not int(found[1]):
            self._fail(f"{key}.{name}", f'a size with its unit is wanted, such as "16MiB", not {value!r}')
        return int(found[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}[found[2]]

    def _one_of(self, key: str, table: Mapping[str, Any], *names: str) -> None:
        if not any(name in table for name in names):
            self._fail(key, f"it limits nothing; add {' or '.join(names)}")

    def _amount(self, key: str, table: Mapping[str, Any], name: str) -> Decimal | None:
        """A positive number, exactly as written."""
        if name not in table:
            return None
        number = self._number(f"{key}.{name}", table[name])
        if number < 0:
            self._fail(f"{key}.{name}", f'write it as a positive number: {name} = "{-number}"')
        if number == 0 and name not in _MAY_BE_ZERO:
            self._fail(f"{key}.{name}", "a number above zero is wanted")
        return number

    def _price(self, key: str, table: Mapping[str, Any], name: str) -> Decimal | None:
        """A number of either sign, exactly as written."""
        return self._number(f"{key}.{name}", table[name]) if name in table else None

    def _number(self, key: str, value: Any) -> Decimal:
        if isinstance(value, float):
            self._fail(key, f'a float is not exact; write it as text: "{value}"')
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            self._fail(key, f"a number is wanted, as text or a whole number, not {value!r}")
        try:
            return exact(value, key)
        except InvalidInput as trouble:
            return self._fail(key, str(trouble).removeprefix(f"{key}: "))

    def _name(self, key: str, value: str) -> None:
        try:
            check_name(value, key)
        except InvalidInput as trouble:
            self._fail(key, str(trouble).removeprefix(f"{key}: "))

    def _client(self, key: str, name: str) -> None:
        self._name(key, name)
        problem = bad_client(name)
        if problem and name != ANYONE:
            self._fail(key, problem)

    def _fail(self, key: str, mend: str) -> NoReturn:
        raise ConfigError(f"{self._places.of(key)}: {key}: {mend}")


def number_of(key: str, name: str, written: str) -> Decimal | int:
    """One number of a limit, by the name of its key, from text: a window in nanoseconds. Raises ConfigError."""
    reader = _Reader(key, Places(key))
    table: dict[str, str | int] = {name: written}
    if name == "window":
        return reader._duration(key, table, name, None)
    if name in _LEAST_COUNT:
        table[name] = int(written) if re.fullmatch(r"[0-9]{1,18}", written) else written
        return reader._count(key, table, name, None, least=_LEAST_COUNT[name])
    if name in _PERCENTS:
        return reader._percent(key, table, name)
    amount = reader._price(key, table, name) if name in _PRICES else reader._amount(key, table, name)
    assert amount is not None
    return amount


_LEAST_COUNT = {"max_orders": 0, "max_repeats": 0, "max_ticks": 1, "max_executions": 1, "max_messages": 0}
"""The numbers of limits that are whole, and how small each may be."""

_PRICES = ("min_price", "max_price")
_PERCENTS = ("slippage_percent", "fee_percent")
_MAY_BE_ZERO = ("max_notional", "max_gross", "max_net", "max_quantity", "max_long", "max_short", *_PERCENTS)


def control_of(limit: Limit) -> str:
    """The control that a limit is of."""
    return limit.policy if isinstance(limit, OwnLimit) else str(type(limit).__struct_config__.tag)


def bad_client(name: str) -> str:
    """Why no client can be called so, or nothing."""
    if _CLIENT.fullmatch(name):
        return ""
    return f"a client name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, not {name[:80]!r}"


def _leaves_nobody(limit: Mapping[str, Any], groups: Mapping[str, str], instruments: Mapping[str, Listed]) -> bool:
    """Whether what a limit leaves out is all that it is for."""
    only: Selection = limit["only"]
    without: Selection | None = limit["without"]
    if without is None:
        return False
    over_group = frozenset({limit["over"].group}) if isinstance(limit["over"], Group) else None
    for_groups = only.groups if over_group is None else over_group
    if for_groups is None and only.accounts is not None and all(each in groups for each in only.accounts):
        for_groups = frozenset(groups[each] for each in only.accounts)
    settlements = None if only.settlement is None else {only.settlement}
    if settlements is None and only.instruments is not None:
        settlements = {_settlement_of(each, instruments) for each in only.instruments}
    return (
        _is_all_of(without.accounts, only.accounts)
        and _is_all_of(without.clients, only.clients)
        and _is_all_of(without.groups, for_groups)
        and _is_all_of(without.instruments, only.instruments)
        and (without.settlement is None or settlements == {without.settlement})
    )


def _is_all_of(left_out: frozenset[str] | None, chosen: frozenset[str] | None) -> bool:
    return left_out is None or (chosen is not None and chosen <= left_out)


def _settlement_of(symbol: str, instruments: Mapping[str, Listed]) -> str:
    return instruments[symbol].settlement if symbol in instruments else symbol.rpartition("/")[2]


def _is_loopback(endpoint: str) -> bool:
    """Whether a tcp endpoint is for this machine alone."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _may_overlap(one: Selection, other: Selection) -> bool:
    if one.settlement != other.settlement:
        return False
    return one.accounts is None or other.accounts is None or bool(one.accounts & other.accounts)


def _meant(word: str, known: Any) -> str:
    import difflib  # for who has mistyped something

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _or(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
