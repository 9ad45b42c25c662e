"""Compares what accounts hold and have with what a file says, and puts the file's word in its place."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import RenderableType

import pit
from pit.types import AccountBalance, AccountPosition, Adjustment, exact_sum

from .screen import add_row, table_of
from .typed import Part

KINDS = ("positions", "balances")

_MOST_BYTES = 16 << 20


class Line(NamedTuple):
    """One entry of a file: where it stands, and its fields as text."""

    place: str
    fields: Mapping[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where the file says something else. `what` is the instrument or the asset; `held` is what the daemon knows and
    `told` what the file says, None for an entry that is on one side alone. A cost or price is None where nobody says.
    """

    account: str
    what: str
    held: Decimal | None
    told: Decimal | None
    held_cost: Decimal | None = None
    told_cost: Decimal | None = None
    told_price: Decimal | None = None
    place: str = ""

    @property
    def by(self) -> Decimal:
        return (self.told or Decimal(0)) - (self.held or Decimal(0))


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a file and a daemon say of the same accounts."""

    kind: str
    accounts: tuple[str, ...]
    entries: int
    differences: tuple[Difference, ...]

    def adjustments(self) -> list[Adjustment]:
        """What makes the daemon say what the file says; refused there if anything of it has moved meanwhile. Raises
        InvalidInput where the file does not say enough.
        """
        return [self._adjustment(each) for each in self.differences]

    def _adjustment(self, each: Difference) -> Adjustment:
        told, held = each.told or Decimal(0), each.held or Decimal(0)
        if self.kind == "balances":
            return pit.BalanceAdjustment(account=each.account, asset=each.what, set_to=told, expected=held)
        if told and each.told_cost is None and each.told_price is None:
            raise pit.InvalidInput(
                f"{each.place}: {each.what} of account {each.account} is to be {told:f}, and nothing says what it "
                "cost: add cost or average_price"
            )
        return pit.PositionAdjustment(
            account=each.account,
            instrument=instrument_of(each.what),
            set_to=told,
            cost=each.told_cost if told else None,
            price=each.told_price if told else None,
            expected=held,
        )


def compare(
    engine: pit.Engine, kind: str, path: str, *, accounts: Sequence[str] = (), is_partial: bool = False
) -> Comparison:
    """How the file differs from what the daemon knows of the file's accounts, and of these. What the file does not name
    is nothing, unless it is partial. Raises InvalidInput naming file and line.
    """
    lines = list(read(path, kind))
    wanted = "instrument" if kind == "positions" else "asset"
    told: dict[tuple[str, str], Line] = {}
    for line in lines:
        key = (_field(line, "account"), _field(line, wanted))
        if key in told:
            raise pit.InvalidInput(f"{line.place}: {key[1]} of account {key[0]} stands at {told[key].place} already")
        told[key] = line
    meant = sorted({account for account, _ in told} | set(accounts))
    if not meant:
        raise pit.InvalidInput(f"{path}: it names no account; of one that holds nothing say --account NAME")
    found: list[Difference] = []
    for account in meant:
        mine = {what: line for (of, what), line in told.items() if of == account}
        held: dict[str, Any] = (
            {each.instrument: each for each in engine.positions(account)}
            if kind == "positions"
            else {each.asset: each for each in engine.balances(account)}
        )
        for what in sorted(mine.keys() | held.keys()):
            if what in mine or not is_partial:
                found += _difference(kind, account, what, held.get(what), mine.get(what))
    return Comparison(kind=kind, accounts=tuple(meant), entries=len(lines), differences=tuple(found))


def adjustment_of(part: Part, account: str) -> Adjustment:
    """What one thing as typed comes to. Raises InvalidInput."""
    how: dict[str, Any] = {"account": account, "move_by" if part.is_move else "set_to": part.number}
    if part.kind == "position":
        return pit.PositionAdjustment(instrument=instrument_of(part.name), price=part.price, **how)
    if part.kind == "pnl":
        return pit.PnlAdjustment(settlement=part.name, **how)
    return pit.BalanceAdjustment(asset=part.name, **how)


def table(compared: Comparison) -> RenderableType:
    """The differences, for people."""
    if compared.kind == "balances":
        shown = table_of("account", "asset", ">there", ">file", ">difference", "at")
        for each in compared.differences:
            add_row(shown, each.account, each.what, each.held, each.told, each.by, each.place)
        return shown
    shown = table_of("account", "instrument", ">held", ">file", ">difference", ">cost", ">file's", ">price", "at")
    for each in compared.differences:
        costs = (each.held_cost, each.told_cost, each.told_price)
        add_row(shown, each.account, each.what, each.held, each.told, each.by, *costs, each.place)
    return shown


def summary(compared: Comparison) -> str:
    """In a sentence."""
    many, accounts = len(compared.differences), ", ".join(compared.accounts)
    if not many:
        if compared.entries == 1:
            return f"the file's one {compared.kind.removesuffix('s')} of {accounts} is what the daemon knows"
        return f"the file's {compared.entries} {compared.kind} of {accounts} are what the daemon knows"
    return f"{many} of the {compared.kind} of {accounts} differ{'s' if many == 1 else ''} from the file"


def instrument_of(symbol: str) -> pit.Instrument | str:
    """AAPL/USD is a pair, ESZ6 a symbol."""
    underlying, _, settlement = symbol.rpartition("/")
    return pit.Instrument(underlying, settlement) if underlying and settlement else symbol


# ---------------------------------------------------------------------------------------------- a file


def read(path: str, kind: str) -> Iterator[Line]:
    """The entries of a file: CSV with a header, or JSON: a list of objects, or what `pitctl --json` has printed. Raises
    InvalidInput naming file and line.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as trouble:
        raise pit.InvalidInput(f"{path}: {trouble.strerror or trouble}") from trouble
    except UnicodeDecodeError as trouble:
        raise pit.InvalidInput(f"{path}: it is no text in UTF-8: {trouble.reason} at byte {trouble.start}") from trouble
    if len(data) > _MOST_BYTES:
        raise pit.InvalidInput(f"{path}: more than {_MOST_BYTES >> 20} MiB: that is no list of {kind}")
    return _json_lines(path, text, kind) if text.lstrip()[:1] in ("[", "{") else _csv_lines(path, text, kind)


_COLUMNS = {
    "positions": ("account", "instrument", "quantity"),
    "balances": ("account", "asset", "total"),
}
_OPTIONAL = {"positions": ("cost", "average_price"), "balances": ()}
_PASSED_OVER = {
    "positions": (
        *("settlement", "realised", "fees", "other_fees", "mark", "unrealised", "mark_age_s"),
        *("currency", "made", "unrealised_in_currency"),
    ),
    "balances": ("held", "incoming", "available", "currency", "worth"),
}
"""What `pitctl --json` tells beside: it is not taken up."""


def _csv_lines(path: str, text: str, kind: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            place = f"{path}:{reader.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if header is None:
                header = [cell.lower() for cell in cells]
                _check_names(place, header, kind)
                continue
            if len(cells) != len(header):
                raise pit.InvalidInput(f"{place}: {len(cells)} fields, and the header names {len(header)}")
            yield Line(place, {name: cell for name, cell in zip(header, cells, strict=True) if cell})
    except csv.Error as trouble:
        raise pit.InvalidInput(f"{path}:{reader.line_num}: {trouble}") from trouble
    if header is None:
        raise pit.InvalidInput(f"{path}: it is empty; a header is wanted: {','.join(_COLUMNS[kind])}")


def _json_lines(path: str, text: str, kind: str) -> Iterator[Line]:
    try:
        whole = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (json.JSONDecodeError, RecursionError) as trouble:
        line = f":{trouble.lineno}" if isinstance(trouble, json.JSONDecodeError) else ""
        raise pit.InvalidInput(f"{path}{line}: it is no JSON: {trouble}") from trouble
    entries = whole.get(kind) if isinstance(whole, dict) else whole
    if not isinstance(entries, list):
        raise pit.InvalidInput(f'{path}: a list of objects is wanted, or {{"{kind}": [...]}}')
    for number, (entry, line_number) in enumerate(zip(entries, _starts(text, kind, len(entries)), strict=True), 1):
        place = f"{path}:{line_number}"
        if not isinstance(entry, dict):
            raise pit.InvalidInput(f"{place}: entry {number} is no object")
        _check_names(place, entry, kind)
        taken = {name: value for name, value in entry.items() if name not in _PASSED_OVER[kind]}
        for name, value in taken.items():
            if value is not None and not isinstance(value, str):
                raise pit.InvalidInput(f"{place}: {name}: text or a number is wanted, not {value!r}")
        yield Line(place, {name: value for name, value in taken.items() if value})


def _starts(text: str, kind: str, many: int) -> Iterator[int]:
    """The line in which each entry begins."""
    found = re.search(rf'"{kind}"\s*:\s*\[', text) if text.lstrip().startswith("{") else re.search(r"\[", text)
    at = 0 if found is None else found.end()
    decoder = json.JSONDecoder()
    for _ in range(many):
        while text[at] in " \t\r\n,":
            at += 1
        yield text.count("\n", 0, at) + 1
        at = decoder.raw_decode(text, at)[1]


def _check_names(place: str, names: Iterable[str], kind: str) -> None:
    names = list(names)
    known = (*_COLUMNS[kind], *_OPTIONAL[kind])
    for name in names:
        if name not in known + _PASSED_OVER[kind] or names.count(name) > 1:
            why = "is named twice" if names.count(name) > 1 else f"is not known; known: {', '.join(known)}"
            raise pit.InvalidInput(f"{place}: {name!r} {why}")
    missing = [name for name in _COLUMNS[kind] if name not in names]
    if missing:
        raise pit.InvalidInput(f"{place}: {', '.join(missing)} missing; wanted: {', '.join(_COLUMNS[kind])}")


def _field(line: Line, name: str) -> str:
    value = line.fields.get(name)
    if value is None:
        raise pit.InvalidInput(f"{line.place}: {name} is missing")
    return value


def _number(line: Line, name: str) -> Decimal | None:
    written = line.fields.get(name)
    if written is None:
        return None
    try:
        return exact_sum(written, name)
    except pit.InvalidInput as trouble:
        raise pit.InvalidInput(f"{line.place}: {trouble}") from trouble


# ---------------------------------------------------------------------------------------------- one entry


def _difference(
    kind: str, account: str, what: str, held: AccountPosition | AccountBalance | None, line: Line | None
) -> list[Difference]:
    """Where one entry says something else than the daemon; nothing where they agree."""
    if isinstance(held, AccountBalance) or kind == "balances":
        there = None if held is None else getattr(held, "total", None)
        told = Decimal(0) if line is None else _number(line, "total")
        if line is not None and told is None:
            raise pit.InvalidInput(f"{line.place}: total is missing")
        if told == (there or 0) and (line is None or there is not None or not told):
            return []
        place = "" if line is None else line.place
        return [Difference(account=account, what=what, held=there, told=None if line is None else told, place=place)]
    units, cost = (Decimal(0), Decimal(0)) if held is None else (held.quantity, held.cost)
    average = None if held is None else held.average_price
    if line is None:
        if not units:
            return []
        return [Difference(account=account, what=what, held=units, told=None, held_cost=cost)]
    quantity, told_cost, price = (_number(line, name) for name in ("quantity", "cost", "average_price"))
    if quantity is None:
        raise pit.InvalidInput(f"{line.place}: quantity is missing")
    if told_cost is not None:
        price = None
    is_same_cost = told_cost is None or told_cost == cost
    is_same_price = price is None or price == average or not quantity
    if quantity == units and is_same_cost and is_same_price:
        return []
    return [
        Difference(
            account=account,
            what=what,
            held=None if held is None else units,
            told=quantity,
            held_cost=None if held is None else cost,
            told_cost=told_cost,
            told_price=price,
            place=line.place,
        )
    ]
