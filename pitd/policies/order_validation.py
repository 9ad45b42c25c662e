"""order_validation: is the order well formed for its instrument? Always there, always first."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pit.types import Reject, RejectCode
from pitd.core.numbers import text
from pitd.core.policy import PASS, Attempt, Policy, Verdict

_ZERO = Decimal(0)


class OrderValidation(Policy):
    """Refuses with InvalidFieldValue: quantity or volume not above zero, a price not above zero (unless the
    instrument is declared with `signed_price`), a price off the declared tick, a quantity off the declared lot, and a
    `good_till` before the account's day, or that day itself once it is over.

    Example: ESZ6 with tick 0.25 refuses a price of 4797.60.
    """

    id: ClassVar[str] = "order_validation"
    limit_names = ("order_validation",)

    def start(self, attempt: Attempt) -> Verdict:
        order, listed = attempt.order, attempt.listed
        quantity, price = order.quantity, order.price
        wrong = []
        if quantity is not None and quantity <= _ZERO:
            wrong.append(f"quantity {quantity} is not above zero")
        if order.volume is not None and order.volume <= _ZERO:
            wrong.append(f"volume {order.volume} is not above zero")
        if price is not None and price <= _ZERO and not listed.signed_price:
            wrong.append(f"price {price} is not above zero")
        if listed.tick is not None and price is not None and price % listed.tick:
            wrong.append(f"price {price} is not a multiple of the tick {text(listed.tick)}")
        if listed.lot is not None and quantity is not None and quantity % listed.lot:
            wrong.append(f"quantity {quantity} is not a multiple of the lot {text(listed.lot)}")
        if order.good_till is not None:
            day = attempt.days.of(order.account)
            if day is not None and (order.good_till < day.name or (day.is_over and order.good_till == day.name)):
                over = " and over" if day.is_over else ""
                wrong.append(f"it is good till {order.good_till}, and the day is {day.name}{over}")
        if not wrong:
            return PASS
        return Verdict(
            rejects=tuple(
                Reject(
                    code=RejectCode.INVALID_FIELD_VALUE,
                    policy=self.id,
                    limit=self.id,
                    scope=f"account {order.account}",
                    reason=f"{listed.symbol}: {each}",
                )
                for each in wrong
            )
        )
