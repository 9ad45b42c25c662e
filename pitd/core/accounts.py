"""Which accounts there are, which group each is in, and which scopes may not trade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pit.types import Block, Reject, RejectCode

FIRM = "firm"

DECLARED = "accounts"
"""What stands for the limit in the reject of an account that is not declared."""

OPERATOR = "operator"
"""What stands for the limit in a block that a person has set."""

POISONED = "poisoned"
"""What stands for the limit in a block that a poisoned entry has left behind. A person lifts it."""


def account_scope(account: str) -> str:
    return f"account {account}"


def group_scope(group: str) -> str:
    return f"group {group}"


def client_scope(client: str) -> str:
    return f"client {client}"


class Accounts:
    """The blocks in force, by scope and by what set them: a limit's name, or "operator"."""

    def __init__(self, groups: Mapping[str, str]) -> None:
        self._groups = dict(groups)
        self.declared: frozenset[str] | None = None
        """The only accounts that may trade; None for whatever account turns up."""
        self.currencies: Mapping[str, str] = {}
        """The asset that each account is kept in, of those of which it is said."""
        self.blocked: dict[str, dict[str, Block]] = {}
        """By scope, then by limit."""
        self.shadowed: dict[str, dict[str, Block]] = {}
        """What shadow limits would have blocked, alike."""

    def regroup(self, groups: Mapping[str, str]) -> None:
        self._groups = dict(groups)

    def groups(self) -> dict[str, str]:
        return dict(self._groups)

    def group_of(self, account: str) -> str | None:
        return self._groups.get(account)

    def currency_of(self, account: str) -> str | None:
        return self.currencies.get(account)

    def may_trade(self, account: str) -> bool:
        """Whether it is declared, or need not be."""
        return self.declared is None or account in self.declared

    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for scope in sorted(self.blocked) for block in self.blocked[scope].values())

    def blocks_on(self, account: str, *clients: str) -> tuple[Block, ...]:
        """Every block that keeps this account from trading, or one of these clients."""
        if not self.blocked:
            return ()
        return _on(self.blocked, self._groups.get(account), account, clients)

    def shadow_blocks(self) -> tuple[Block, ...]:
        return tuple(block for scope in sorted(self.shadowed) for block in self.shadowed[scope].values())

    def shadow_blocks_on(self, account: str, *clients: str) -> tuple[Block, ...]:
        """Every block that would keep this account from trading, or one of these clients, if its limit were live."""
        return _on(self.shadowed, self._groups.get(account), account, clients) if self.shadowed else ()

    def shadow_block(self, scope: str, limit: str) -> Block | None:
        return self.shadowed.get(scope, {}).get(limit)

    def apply_shadow(self, block: Block) -> None:
        self.shadowed.setdefault(block.scope, {})[block.limit] = block

    def lift_shadow(self, scope: str, limit: str) -> None:
        del self.shadowed[scope][limit]
        if not self.shadowed[scope]:
            del self.shadowed[scope]

    def block(self, scope: str, limit: str) -> Block | None:
        return self.blocked.get(scope, {}).get(limit)

    def apply(self, block: Block) -> None:
        self.blocked.setdefault(block.scope, {})[block.limit] = block

    def lift(self, scope: str, limit: str) -> None:
        blocks = self.blocked[scope]
        del blocks[limit]
        if not blocks:
            del self.blocked[scope]

    def save(self) -> list[Block]:
        return list(self.blocks())

    def load(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.apply(block)


def unknown(account: str) -> Reject:
    """What an order of an account is answered that nobody has declared."""
    return Reject(
        code=RejectCode.UNKNOWN_ACCOUNT,
        policy="engine",
        limit=DECLARED,
        scope=account_scope(account),
        reason=f"account {account} is not declared: add [accounts.{account}], or open the gate for all of them: [gate] "
        'unknown_accounts = "allow"',
    )


def _on(
    blocks: Mapping[str, Mapping[str, Block]], group: str | None, account: str, clients: Sequence[str]
) -> tuple[Block, ...]:
    scopes = [FIRM, account_scope(account)] if group is None else [FIRM, group_scope(group), account_scope(account)]
    scopes += dict.fromkeys(map(client_scope, clients))
    return tuple(block for scope in scopes for block in blocks.get(scope, {}).values())


def reject_of(block: Block) -> Reject:
    """What an order of a blocked scope is answered."""
    return Reject(
        code=block.code, policy=block.author, limit=block.limit, scope=block.scope, reason=f"blocked: {block.reason}"
    )
