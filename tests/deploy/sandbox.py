"""Runs a command as closed in as a unit says, as far as that can be done without systemd:

    python sandbox.py UNIT COMMAND...

The unit's system calls, address families, memory rules and (as root) its network; and, as root, as a user of no rights
where such a user can run the command at all.
Ends with 77 where this machine can't do it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQUAL, _FROM = 4, 5
_SET_NO_NEW_PRIVS, _SET_MDWE = 38, 65
_FAMILIES = 46
"""How many address families Linux has."""
NOBODY = 65534
CANNOT = 77


def settings(unit: Path, name: str) -> list[str]:
    """Every value that the unit gives to that setting, in order."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def allowed_calls(unit: Path) -> set[str]:
    """The system calls that the unit's SystemCallFilter= lets through."""
    allowed: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        named: set[str] = set()
        for word in line.removeprefix("~").split():
            named |= _calls_of(word.partition(":")[0])
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed | _calls_of("@default")


def pretended_calls(unit: Path) -> set[str]:
    """Those that are told to have been done, and are not."""
    return {
        word.removesuffix(":0")
        for line in settings(unit, "SystemCallFilter")
        for word in line.removeprefix("~").split()
        if word.endswith(":0")
    }


def _calls_of(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    words = [line.strip() for line in listed.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return set().union(*(_calls_of(word) for word in words if word))


def is_for_nobody(program: str) -> bool:
    """Whether a user of no rights can run a program: an interpreter under /root can't be."""
    try:
        return (
            os.geteuid() == 0
            and not subprocess.run(
                [program, "--version"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
            ).returncode
        )
    except OSError:
        return False


class _Argument(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def close_in(unit: Path, command: Sequence[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    families = [getattr(socket, name) for line in settings(unit, "RestrictAddressFamilies") for name in line.split()]
    calls = allowed_calls(unit)
    refusal = getattr(errno, settings(unit, "SystemCallErrorNumber")[0])

    if os.geteuid() == 0:
        if settings(unit, "PrivateNetwork") == ["yes"] and libc.unshare(0x40000000):
            raise OSError(ctypes.get_errno(), "no network namespace of its own")
        if is_for_nobody(command[0]):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        libc.prctl(_SET_MDWE, 1, 0, 0, 0)  # before Linux 6.3 there is no such thing

    def number(name: str) -> int:
        return int(seccomp.seccomp_syscall_resolve_name(name.encode()))

    def load(default: int, rules: list[tuple[int, str, list[_Argument]]]) -> None:
        context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(default)))
        for action, name, arguments in rules:
            if number(name) >= 0:  # else not of this architecture
                given = (_Argument * len(arguments))(*arguments)
                done = seccomp.seccomp_rule_add_array(
                    context, ctypes.c_uint32(action), number(name), len(arguments), given
                )
                if done:
                    raise OSError(-done, f"seccomp_rule_add {name}")
        if done := seccomp.seccomp_load(context):
            raise OSError(-done, "seccomp_load")

    others = [_Argument(0, _EQUAL, family, 0) for family in range(_FAMILIES) if family not in families]
    others.append(_Argument(0, _FROM, _FAMILIES, 0))
    load(_ALLOW, [(_ERRNO | errno.EAFNOSUPPORT, "socket", [other]) for other in others])
    rules = [(_ALLOW, name, []) for name in sorted(calls)] + [(_ERRNO, name, []) for name in pretended_calls(unit)]
    load(_ERRNO | refusal, rules)


def main() -> None:
    unit, command = Path(sys.argv[1]), sys.argv[2:]
    try:
        close_in(unit, command)
    except OSError as trouble:
        with contextlib.suppress(OSError):
            print(f"sandbox: {trouble}", file=sys.stderr)
        sys.exit(CANNOT)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
