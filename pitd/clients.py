"""What the configuration says of clients, in words: who may do what, what proves it, and what should be looked at."""

from __future__ import annotations

from collections.abc import Iterator

from .config import ANYONE, Client, Config


def told(settings: Config) -> Iterator[str]:
    """A line for each client, then the warnings."""
    for name, client in settings.clients.items():
        who = "every other client" if name == ANYONE else f"client {name}"
        accounts = "" if client.accounts is None else f"; accounts {', '.join(sorted(client.accounts))}"
        yield f"{who}: {', '.join(sorted(client.roles))}{accounts}; {_proof(client)}"
    for account, names in settings.reports_from.items():
        yield f"account {account}: believes reports of {', '.join(sorted(names))} alone"
    if not settings.clients:
        yield "clients: none are listed, so every name may trade and report, and none may operate"
    elif ANYONE not in settings.clients:
        yield "clients: no others"
    for warning in warnings(settings):
        yield f"warning: {warning}"


def warnings(settings: Config) -> Iterator[str]:
    """What is allowed, and perhaps not meant."""
    by_proof: dict[str, list[str]] = {}
    for name, client in settings.clients.items():
        for uid in sorted(client.users):
            by_proof.setdefault(f"user {uid}", []).append(name)
        for key in sorted(client.keys):
            by_proof.setdefault(f"key {key}", []).append(name)
    for proof, names in by_proof.items():
        if len(names) > 1:
            yield f"{proof} proves several names, so each of them may pass for the others: {', '.join(names)}"
    is_tcp, has_key = settings.daemon.endpoint.startswith("tcp://"), bool(settings.daemon.key_file)
    if has_key and not is_tcp:
        yield "daemon.key_file is for tcp; over ipc the kernel says who connects"
    if is_tcp and not has_key:
        yield "plain tcp: any process of this machine may connect, and nothing proves who it is"
        if not settings.clients:
            return
    for name, client in settings.clients.items():
        who = "every other client" if name == ANYONE else f"client {name}"
        if is_tcp and has_key and not client.keys:
            yield f"{who}: no key proves it, so it can't connect over tcp: add key or key_file"
        elif is_tcp and not has_key and client.is_proven:
            yield f"{who}: plain tcp can't prove it, so it can't connect: see [daemon] key_file"
        elif not is_tcp and client.keys and not client.users:
            yield f"{who}: a key proves nothing over ipc, so it can't connect: add user"
        elif not client.is_proven and "operate" in client.roles:
            yield f"{who}: nothing proves it, so any process that reaches the endpoint may operate under that name"


def _proof(client: Client) -> str:
    shown = [f"user {uid}" for uid in sorted(client.users)]
    if client.keys:
        shown.append(f"{len(client.keys)} key{'s' if len(client.keys) > 1 else ''}")
    return f"proven by {' or '.join(shown)}" if shown else "nothing proves it"
