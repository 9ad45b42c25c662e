"""What [currency] says: the firm's currency, and where the rates of other assets come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn, Protocol

from pit.types import Kind

from .core.currency import Currency, Rate
from .core.instruments import Listed

KEYS = ("firm", "max_age", "haircut_percent", "rates")
RATE_KEYS = ("rate", "quote", "max_age", "haircut_percent", "as_of")


class Reading(Protocol):
    """What is asked of who reads the configuration: each value by its key, checked, or a ConfigError with its place."""

    def _table(self, tables: Mapping[str, Any], name: str, within: str = "") -> Mapping[str, Any]: ...
    def _only_keys(self, key: str, table: Mapping[str, Any], known: Sequence[str]) -> None: ...
    def _name(self, key: str, value: str) -> None: ...
    def _text(self, key: str, table: Mapping[str, Any], name: str, default: str | None) -> str: ...
    def _price(self, key: str, table: Mapping[str, Any], name: str) -> Decimal | None: ...
    def _duration(self, key: str, table: Mapping[str, Any], name: str, default_ns: int | None) -> int: ...
    def _fail(self, key: str, mend: str) -> NoReturn: ...


def currency(read: Reading, table: Mapping[str, Any], instruments: Mapping[str, Listed]) -> Currency | None:
    """The firm's currency; None where the section is left out."""
    if not table:
        return None
    read._only_keys("currency", table, KEYS)
    firm = read._text("currency", table, "firm", None)
    read._name("currency.firm", firm)
    max_age_ns = read._duration("currency", table, "max_age", 60 * 10**9)
    haircut = _haircut(read, "currency", table, Decimal(0))
    rates = {}
    for asset, written in read._table(table, "rates", "currency").items():
        key = f"currency.rates.{asset}"
        read._name(key, asset)
        if asset == firm:
            read._fail(key, "it is the firm's currency itself; leave it out")
        one = written if isinstance(written, dict) else {"rate": written}
        read._only_keys(key, one, RATE_KEYS)
        if ("rate" in one) == ("quote" in one):
            read._fail(key, f'give rate = "…" in {firm}, or quote = "{asset}/{firm}" for the rate that is pushed')
        own = _haircut(read, key, one, haircut)
        if "rate" in one:
            rates[asset] = _fixed(read, key, one, own)
        else:
            rates[asset] = _quoted(read, key, one, own, asset, firm, max_age_ns, instruments)
    return Currency(firm=firm, rates=rates)


def _fixed(read: Reading, key: str, one: Mapping[str, Any], haircut: Decimal) -> Rate:
    """A rate that is written down: for ever, or for `max_age` after it was true."""
    rate = read._price(key, one, "rate")
    if rate is None or rate <= 0:
        read._fail(f"{key}.rate", "a rate above zero is wanted")
    if ("as_of" in one) != ("max_age" in one):
        read._fail(key, "as_of says when the rate was true, and max_age how long it may be used; give both or neither")
    until_wall_ns = None
    if "as_of" in one:
        as_of = one["as_of"]
        if not isinstance(as_of, datetime) or as_of.tzinfo is None:
            why = f"a moment with its offset is wanted, such as 2026-11-20T17:00:00Z, not {as_of!s}"
            read._fail(f"{key}.as_of", why)
        until_wall_ns = int(as_of.timestamp()) * 10**9 + read._duration(key, one, "max_age", None)
    return Rate(fixed=rate, until_wall_ns=until_wall_ns, haircut_percent=haircut)


def _quoted(
    read: Reading,
    key: str,
    one: Mapping[str, Any],
    haircut: Decimal,
    asset: str,
    firm: str,
    max_age_ns: int,
    instruments: Mapping[str, Listed],
) -> Rate:
    """A rate that is read from the quotes of a pair, either way round."""
    if "as_of" in one:
        read._fail(f"{key}.as_of", "a quote says by itself how old it is; leave it out")
    symbol = read._text(key, one, "quote", None)
    listed = instruments.get(symbol)
    underlying, _, settlement = symbol.rpartition("/")
    if listed is not None:
        underlying, settlement = listed.underlying, listed.settlement
    if (underlying, settlement) not in ((asset, firm), (firm, asset)):
        read._fail(f"{key}.quote", f'"{asset}/{firm}" or "{firm}/{asset}" is wanted, or an instrument of that pair')
    if listed is not None and (listed.kind is not Kind.SPOT or listed.multiplier != 1 or listed.signed_price):
        read._fail(f"{key}.quote", f"{symbol} is no plain spot pair, so its price is no rate")
    return Rate(
        symbol=symbol,
        is_inverted=underlying == firm,
        max_age_ns=read._duration(key, one, "max_age", max_age_ns),
        haircut_percent=haircut,
    )


def _haircut(read: Reading, key: str, table: Mapping[str, Any], default: Decimal) -> Decimal:
    percent = read._price(key, table, "haircut_percent")
    if percent is None:
        return default
    if not 0 <= percent < 100:
        read._fail(f"{key}.haircut_percent", "0 or more and less than 100 is wanted")
    return percent
