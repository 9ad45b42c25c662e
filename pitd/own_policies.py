"""Policies that are not pitd's own: the class that stands for a name in [policies], and what one is made of."""

from __future__ import annotations

import os
import re
import stat
import sys
import traceback
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from .core.departed import Departed
from .core.engine import Engine
from .core.limits import Limit, LimitSet
from .core.policy import Policy

GROUP = "pitd.policies"
"""The entry points by which an installed package brings policies, each under the policy's id."""

NumberKind = Literal["amount", "count", "duration"]

_LARGEST_BYTES = 4 << 20

_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")


class OwnPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of [policies], by its id: where its code is, which code that is, and its settings as written."""

    name: str
    file: str = ""
    """Absolute; empty for one that an installed package brings."""
    code: str = ""
    """A digest of the file, or the package's name and version: code is never exchanged under a running daemon."""
    settings: dict[str, Any] = {}


class OwnLimit(Limit, frozen=True, kw_only=True, tag_field="control", tag="own_policy"):
    """A limit of a control that is not pitd's own, with its own keys as they are written."""

    policy: str
    """The control's own name."""
    own: dict[str, Any] = msgspec.field(default_factory=dict)
    numbers: dict[str, NumberKind] = msgspec.field(default_factory=dict)
    """Those of its keys that a person may set at run time."""


class Unusable(Exception):
    """No policy can be made of it; the message says why, and the mend. `key` is the key within its table."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class Loaded(NamedTuple):
    """A policy's class, and which code it is."""

    policy: type[Policy]
    code: str


_loaded: dict[tuple[str, str, str], type[Policy]] = {}
"""By name, file and code: what this process has loaded stays, so that what is open keeps the types it was made of."""


def load(name: str, file: str = "") -> Loaded:
    """The policy of that id, from a file or, without one, from the package that brings it. Raises Unusable."""
    if not _ID.fullmatch(name):
        raise Unusable(f"the name is the policy's id: a-z, 0-9 and _ are wanted, beginning with a letter, not {name!r}")
    return _from_file(name, Path(file)) if file else _from_package(name)


def known(own: OwnPolicy) -> type[Policy] | None:
    """The very code that is meant, if this process has loaded it."""
    return _loaded.get((own.name, own.file, own.code))


def make(own: OwnPolicy, policy: type[Policy], limits: Sequence[OwnLimit], *, cover: bool) -> Policy:
    """One of these policies, under its settings and its limits. Raises Unusable, with the key that can't be meant."""
    given: dict[str, Any] = {}
    if policy.settings_type is not None:
        given["settings"] = made_of(policy.settings_type, own.settings)
    elif own.settings:
        raise Unusable(f"{own.name} takes no settings", f"settings.{next(iter(own.settings))}")
    if policy.limit_type is not None:
        mine = [limit_of(policy.limit_type, each) for each in limits if each.policy == own.name]
        given["limits"] = LimitSet(own.name, mine, cover=cover and policy.needs_cover)
    try:
        made = policy(**given)
    except Exception as trouble:
        raise Unusable(f"{own.name} can't be made: {_told(trouble)}", "settings" if own.settings else "") from trouble
    if "limits" in given:
        made.limit_names = made.limit_names or given["limits"].names
        made.is_idle = made.is_idle or not given["limits"].names
    return made


def made_for(
    policies: Mapping[str, OwnPolicy],
    limits: Sequence[Limit],
    *,
    cover: bool,
    instead: Mapping[str, OwnPolicy] | None = None,
) -> list[Policy]:
    """The policies of a configuration, in its order. Where its code is not at hand (it stands in an old row of the
    journal), the one of that id in `instead` carries on, if need be under its own settings; one that is no more leaves
    a stand-in. Without `instead`, the code is looked for where it was.
    """
    mine = [limit for limit in limits if isinstance(limit, OwnLimit)]
    made: list[Policy] = []
    for own in policies.values():
        policy = known(own)
        other = (instead or {}).get(own.name)
        if policy is None and other is not None:
            policy = known(other)
        if policy is None and instead is None:
            policy = _found_again(own)
        if policy is None:
            made.append(Departed(own.name))
            continue
        try:
            made.append(make(own, policy, mine, cover=cover))
        except Unusable:
            if other is None:
                raise
            made.append(make(other, policy, [], cover=cover))
    return made


def still_in_use(engine: Engine, policies: Mapping[str, OwnPolicy]) -> str:
    """Which policy can't be taken away yet, and the mend; or nothing."""
    for record in engine.orders.open.values():
        for hold in record.holds:
            policy = engine.policies[hold.policy]
            if policy.is_own and policy.id not in policies:
                return (
                    f"policies.{policy.id}: it is not configured any more, and open orders hold what it counted: "
                    f"{record.order_id} of account {record.account} is {record.state}; leave it in until they have "
                    "ended"
                )
    return ""


# ---------------------------------------------------------------------------------------------- keys and values


def keys_of(struct: type[msgspec.Struct], base: type[msgspec.Struct] | None = None) -> list[str]:
    """The keys by which a struct's own fields are written: without `_ns`, where that is the unit."""
    common = () if base is None else base.__struct_fields__
    return [_key(each) for each in msgspec.structs.fields(struct) if each.name not in common]


def numbers_of(limit: type[Limit], table: Mapping[str, Any]) -> dict[str, NumberKind]:
    """The keys of a limit whose numbers a person may set."""
    kinds = {_key(each): _kind(each) for each in msgspec.structs.fields(limit) if each.name not in _COMMON}
    return {key: kind for key, kind in kinds.items() if kind is not None and key in table}


def made_of(struct: type[msgspec.Struct], table: Mapping[str, Any]) -> Any:
    """Settings, read. Raises Unusable."""
    return _put_together(struct, table, {}, "settings.")


def limit_of(struct: type[Limit], own: OwnLimit) -> Any:
    """A limit in its policy's own type. Raises Unusable."""
    common = {name: getattr(own, name) for name in _COMMON}
    return _put_together(struct, own.own, common, "")


_COMMON = Limit.__struct_fields__


def _put_together(struct: type[msgspec.Struct], table: Mapping[str, Any], common: dict[str, Any], within: str) -> Any:
    fields = {_key(each): each for each in msgspec.structs.fields(struct) if each.name not in common}
    for key in table:
        if key not in fields:
            expected = ", ".join(fields) or "none"
            raise Unusable(f"there is no such key; known here: {expected}", f"{within}{key}")
    values = dict(common)
    for key, field in fields.items():
        if key in table:
            values[field.name] = _value(field, table[key], f"{within}{key}")
        elif field.required:
            raise Unusable("is missing", f"{within}{key}")
    try:
        return struct(**values)
    except (ValueError, TypeError, ArithmeticError) as trouble:
        raise Unusable(str(trouble), within.rstrip(".")) from trouble


def _value(field: msgspec.structs.FieldInfo, written: Any, key: str) -> Any:
    kind = _kind(field)
    if kind == "duration":
        return duration_ns(written, key)
    if kind == "amount":
        if isinstance(written, float):
            raise Unusable(f'a float is not exact; write it as text: "{written}"', key)
        if isinstance(written, int) and not isinstance(written, bool):
            written = str(written)
    try:
        return msgspec.convert(written, field.type)
    except msgspec.ValidationError as trouble:
        message, _, at = str(trouble).partition(" - at `$")
        raise Unusable(f"{message}, not {written!r}", key + at.rstrip("`")) from None


def duration_ns(written: Any, key: str) -> int:
    """How long "250ms", "1s", "5m", "2h" or "1d" is. Raises Unusable."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", written) if isinstance(written, str) else None
    unit_ns = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
    length_ns = 0 if found is None else int(Decimal(found[1]) * unit_ns[found[2]])
    if not 0 < length_ns <= 3_650 * unit_ns["d"]:
        raise Unusable(f'a duration with its unit is wanted, such as "250ms", "1s" or "5m", not {written!r}', key)
    return length_ns


def _key(field: msgspec.structs.FieldInfo) -> str:
    return field.encode_name.removesuffix("_ns") if _plain(field.type) is int else field.encode_name


def _kind(field: msgspec.structs.FieldInfo) -> NumberKind | None:
    plain = _plain(field.type)
    if plain is int:
        return "duration" if field.encode_name.endswith("_ns") else "count"
    return "amount" if plain is Decimal else None


def _plain(type_: Any) -> Any:
    """The type without what may be left out, and without what is said beside it."""
    if get_origin(type_) is Annotated:
        return _plain(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        others = [each for each in get_args(type_) if each is not type(None)]
        return _plain(others[0]) if len(others) == 1 else type_
    return type_


# ---------------------------------------------------------------------------------------------- code


def _from_file(name: str, path: Path) -> Loaded:
    source = _trusted(path)
    code = blake2b(source, digest_size=8).hexdigest()
    policy = _loaded.get((name, str(path), code))
    if policy is None:
        policy = _loaded[name, str(path), code] = _checked(
            name, _policies_in(_module_of(name, path, source)), str(path)
        )
    return Loaded(policy, code)


def _from_package(name: str) -> Loaded:
    from importlib.metadata import entry_points  # slow to import, and few bring policies: not at every start

    found = list(entry_points(group=GROUP, name=name))
    if not found:
        brought = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        raise Unusable(f'no installed package brings it ({GROUP}: {brought}); install one, or say file = "….py"')
    if len(found) > 1:
        who = " and ".join(sorted(each.dist.name for each in found if each.dist is not None))
        raise Unusable(f"{who} both bring it; uninstall one")
    [entry] = found
    code = "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    policy = _loaded.get((name, "", code))
    if policy is None:
        try:
            brought_in = entry.load()
        except Exception as trouble:
            raise Unusable(f"{entry.value} can't be loaded: {_told(trouble)}") from trouble
        place = getattr(sys.modules.get(entry.module), "__file__", None)
        if place is not None:
            _trusted(Path(place))
        policy = _loaded[name, "", code] = _checked(name, [brought_in], entry.value)
    return Loaded(policy, code)


def _trusted(path: Path) -> bytes:
    """What a file holds that nobody else can have written: it runs with all that the daemon may. Raises Unusable."""
    try:
        real = path.resolve(strict=True)
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            told = os.fstat(fd)
            if not stat.S_ISREG(told.st_mode):
                raise Unusable(f"{path} is no plain file", "file")
            for place, each in ((real, told), *((above, above.stat()) for above in real.parents)):
                _nobody_elses(place, each)
            source = os.read(fd, _LARGEST_BYTES)
        finally:
            os.close(fd)
    except OSError as trouble:
        raise Unusable(f"{path} cannot be read: {trouble.strerror}", "file") from trouble
    return source


def _nobody_elses(place: Path, told: os.stat_result) -> None:
    """Raises Unusable where somebody else may write there: what they wrote would run as the daemon."""
    if told.st_uid not in (0, os.geteuid()):
        raise Unusable(
            f"{place} belongs to user {told.st_uid}: root's, or the daemon's own, is run, no other's", "file"
        )
    is_shared_place = stat.S_ISDIR(told.st_mode) and told.st_mode & stat.S_ISVTX
    if told.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_shared_place:
        raise Unusable(f"others may write to {place}, and it would run as the daemon: chmod go-w {place}", "file")


def _module_of(name: str, path: Path, source: bytes) -> ModuleType:
    """The very bytes that were looked at, run as a module of their own."""
    module = ModuleType(f"pitd_policy_{name}_{len(_loaded)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # what reads its annotations looks there
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as trouble:
        del sys.modules[module.__name__]
        raise Unusable(f"{path} can't be loaded: {_told(trouble, str(path))}", "file") from trouble
    return module


def _policies_in(module: ModuleType) -> list[Any]:
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Policy)]
    return [each for each in found if each.__module__ == module.__name__]


def ids_in(path: Path) -> list[str]:
    """The ids of the policies that a file defines. Raises Unusable."""
    module = _module_of("of", path, _trusted(path))
    return [each.id for each in _policies_in(module) if isinstance(getattr(each, "id", None), str)]


def _checked(name: str, candidates: Sequence[Any], where: str) -> type[Policy]:
    """The class that goes by that id, when an engine can drive it. Raises Unusable."""
    classes = [each for each in candidates if isinstance(each, type) and issubclass(each, Policy)]
    mine = [each for each in classes if getattr(each, "id", None) == name]
    if len(mine) != 1:
        ids = ", ".join(repr(getattr(each, "id", None)) for each in classes) or "none"
        raise Unusable(f"{where} defines no policy with id = {name!r}, or several; it defines: {ids}")
    [policy] = mine
    for each in policy.effect_types:
        if not (isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__struct_config__.frozen):
            raise Unusable(f"{where}: the effect {each!r} is no frozen msgspec.Struct; effects are kept and compared")
    try:
        if policy.effect_types:
            msgspec.msgpack.Decoder(Union[policy.effect_types])  # noqa: UP007 - made of a tuple
    except TypeError as trouble:
        raise Unusable(
            f"{where}: its effects can't be told apart once they are written: {trouble}; add tag=True"
        ) from None
    if policy.limit_type is not None and not issubclass(policy.limit_type, Limit):
        raise Unusable(f"{where}: limit_type is no kind of pitd.policy.Limit")
    policy.is_own = True
    return policy


def _found_again(own: OwnPolicy) -> type[Policy] | None:
    try:
        return load(own.name, own.file).policy
    except Unusable:
        return None


def _told(trouble: BaseException, file: str = "") -> str:
    """What went wrong, and on which line of the author's file, where one is on the way."""
    lines = [each.lineno for each in traceback.extract_tb(trouble.__traceback__) if each.filename == file]
    if isinstance(trouble, SyntaxError) and trouble.filename == file:
        lines.append(trouble.lineno)
    at = f"line {lines[-1]}: " if lines else ""
    return f"{at}{type(trouble).__name__}: {trouble}"
