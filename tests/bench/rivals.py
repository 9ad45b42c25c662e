"""What a user would pick instead, as client processes of the comparison: Redis with one Lua script a step, and the
published engine `openpit` behind a gRPC service (and in process). None of them is a dependency of pitd.

As a program: `python tests/bench/rivals.py redis` is a client (see `pitd.bench.load`), `... grpc` another, and
`... grpc-server ENDPOINT` the service.
"""

from __future__ import annotations

import datetime
import importlib.util
import itertools
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from pitd.bench.load import Done, Part, Task, serve
from pitd.bench.stage import BenchFailed, Stage

# One order's checks as Redis would do them: own fields, size and notional, two sliding windows, P&L, open notional.
CHECK = """
local account, id, quantity, price, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if not quantity or quantity <= 0 or not price or price <= 0 then return 'InvalidFieldValue' end
if redis.call('EXISTS', 'order:' .. account .. ':' .. id) == 1 then return 'DuplicateClientOrderId' end
if redis.call('EXISTS', 'blocked:' .. account) == 1 then return 'AccountBlocked' end
if tonumber(redis.call('HGET', 'pnl', account) or '0') <= -1000 then return 'PnlKillSwitchTriggered' end
for _, scope in ipairs({'rate:' .. account, 'rate'}) do
  local oldest = redis.call('LINDEX', scope, 999999)
  if oldest and now - tonumber(oldest) < 1000000 then return 'RateLimitExceeded' end
  redis.call('LPUSH', scope, now)
  redis.call('LTRIM', scope, 0, 9999)
end
if quantity > 500 then return 'OrderQtyExceedsLimit' end
local notional = quantity * price
if notional > 100000 then return 'OrderNotionalExceedsLimit' end
local open = tonumber(redis.call('HGET', 'open', account) or '0')
if open + notional > 900000000000000 then return 'RiskLimitExceeded' end
redis.call('HINCRBYFLOAT', 'open', account, notional)
redis.call('HSET', 'order:' .. account .. ':' .. id, 'state', 'sent', 'notional', notional, 'ends', now + 5000000)
redis.call('ZADD', 'leases', now + 5000000, account .. ':' .. id)
return 'ok'
"""
COMMIT = """
local key = ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', 'order:' .. key, 'state') ~= 'sent' then return 'no' end
redis.call('HSET', 'order:' .. key, 'state', 'working')
redis.call('ZREM', 'leases', key)
return 'ok'
"""


def why_no_redis() -> str:
    if shutil.which("redis-server") is None:
        return "redis-server is not installed"
    return _why_not("redis", "hiredis")


def why_no_openpit() -> str:
    return _why_not("openpit")


def why_no_grpc() -> str:
    return _why_not("openpit", "grpc")


def _why_not(*modules: str) -> str:
    missing = [each for each in modules if importlib.util.find_spec(each) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


def start_redis(stage: Stage, name: str, *, keeps_log: bool) -> str:
    """A Redis of its own on a Unix socket alone, no tcp. Where it listens."""
    folder = stage.folder / name
    folder.mkdir()
    path = folder / "redis.sock"
    log = ("yes", "--appendfsync", "everysec") if keeps_log else ("no",)
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    stage.start([*command, "--appendonly", *log], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return _there(path)


def start_grpc(stage: Stage) -> str:
    path = stage.folder / "grpc.sock"
    stage.start([sys.executable, __file__, "grpc-server", str(path)], stderr=subprocess.DEVNULL)
    return _there(path)


def _there(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise BenchFailed(f"{path.name} did not appear")
        time.sleep(0.01)
    return str(path)


class Rival:
    """A client of something else: pairs of a check and a commit, one after the other."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._is_cut_short = False
        self._steps: tuple[Callable[[], Any], Callable[[Any], None]] | None = None

    def connect(self) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        """What checks an order, and what commits it."""
        raise NotImplementedError

    def do(self, task: Task) -> Done:
        if self._steps is None:
            self._steps = self.connect()
        check, commit = self._steps
        clock = time.perf_counter
        began = clock()
        end = began + task.seconds
        checks, pairs = array("d"), array("d")
        now = began
        while now < end and not self._is_cut_short:
            first = clock()
            held = check()
            checked = clock()
            commit(held)
            now = clock()
            checks.append(checked - first)
            pairs.append(now - first)
        return Done(took_s=clock() - began, commands=2 * len(pairs), check=checks.tobytes(), order=pairs.tobytes())

    def cut_short(self, *_: object) -> None:
        self._is_cut_short = True

    def close(self) -> None:
        pass


class RedisRival(Rival):
    def connect(self) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        import redis

        part, ids = self._part, itertools.count()
        store = redis.Redis(unix_socket_path=part.endpoint)
        check_sha, commit_sha = store.script_load(CHECK), store.script_load(COMMIT)
        run, account, quantity, price = store.evalsha, part.account, part.quantity, part.price

        def check() -> str:
            id = f"{part.name}-{next(ids)}"
            verdict = run(check_sha, 0, account, id, quantity, price, time.time_ns() // 1000)
            assert verdict == b"ok", verdict
            return id

        def commit(id: str) -> None:
            assert run(commit_sha, 0, account, id) == b"ok"

        return check, commit


class GrpcRival(Rival):
    def connect(self) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        import grpc

        channel = grpc.insecure_channel(f"unix:{self._part.endpoint}")
        call_check, call_commit = channel.unary_unary("/pit.Gate/Check"), channel.unary_unary("/pit.Gate/Commit")
        part, encode = self._part, msgspec.msgpack.Encoder().encode

        def check() -> bytes:
            held = call_check(encode((part.underlying, part.settlement, part.quantity, part.price)))
            assert held
            return held

        def commit(held: bytes) -> None:
            assert call_commit(held) == b"ok"

        return check, commit


def openpit_engine() -> tuple[Any, Callable[[str, str, str, str], Any]]:
    """An engine of `openpit` with the same five controls as far as it has them, and what makes an order of its."""
    import openpit
    from openpit.param import AccountId, Asset, Pnl, Price, Quantity, Side, TradeAmount, Volume
    from openpit.pretrade import policies as p

    rate = p.RateLimit(1_000_000, datetime.timedelta(seconds=1))
    account = AccountId.from_int(1)
    size = p.OrderSizeLimit(max_quantity=Quantity("500"), max_notional=Volume("100000"))
    loss = p.PnlBoundsBrokerBarrier(settlement_asset=Asset("USD"), lower_bound=Pnl("-1000"))
    engine = (
        openpit.Engine.builder()
        .no_sync()
        .builtin(p.build_order_validation())
        .builtin(p.build_order_size_limit().broker_barrier(p.OrderSizeBrokerBarrier(limit=size)))
        .builtin(
            p.build_rate_limit()
            .broker_barrier(p.RateLimitBrokerBarrier(rate))
            .account_barriers(p.RateLimitAccountBarrier(rate, account))
        )
        .builtin(p.build_pnl_bounds_killswitch().broker_barriers(loss))
        .build()
    )

    def order(underlying: str, settlement: str, quantity: str, price: str) -> Any:
        operation = openpit.OrderOperation(
            instrument=openpit.Instrument(underlying, settlement),
            account_id=AccountId.from_int(1),
            side=Side.BUY,
            trade_amount=TradeAmount.quantity(quantity),
            price=Price(price),
        )
        return openpit.Order(operation=operation)

    return engine, order


def openpit_pair() -> Callable[[], None]:
    """One check and one commit in this process, the order built each time."""
    engine, order = openpit_engine()

    def pair() -> None:
        result = engine.execute_pre_trade(order=order("AAPL", "USD", "100", "185.00"))
        assert result.ok, result.rejects
        result.reservation.commit()

    return pair


def serve_grpc(path: str) -> None:
    import grpc

    engine, order = openpit_engine()
    held: dict[int, Any] = {}
    ids = itertools.count(1)
    decode = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode

    def check(request: bytes, _: Any) -> bytes:
        result = engine.execute_pre_trade(order=order(*decode(request)))
        if not result.ok:
            return b""
        id = next(ids)
        held[id] = result.reservation
        return id.to_bytes(8, "little")

    def commit(request: bytes, _: Any) -> bytes:
        held.pop(int.from_bytes(request, "little")).commit()
        return b"ok"

    steps = {"Check": grpc.unary_unary_rpc_method_handler(check), "Commit": grpc.unary_unary_rpc_method_handler(commit)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("pit.Gate", steps),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "grpc-server":
        serve_grpc(sys.argv[2])
    else:
        serve({"redis": RedisRival, "grpc": GrpcRival}[sys.argv[1]])
