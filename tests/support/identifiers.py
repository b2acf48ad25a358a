"""Made-up identifiers that pass their checks, from a seeded source of chance."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

_PROVINCES = (11, 12, 13, 21, 31, 32, 33, 35, 37, 41, 42, 43, 44, 45, 50, 51, 53, 61, 62, 65)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ISSUERS = (
    ("62", (16, 17, 18, 19)),
    ("4", (16, 19)),
    ("51", (16,)),
    ("55", (16,)),
    ("2221", (16,)),
    ("2720", (16,)),
    ("34", (15,)),
    ("37", (15,)),
    ("3528", (16,)),
    ("6011", (16,)),
)


def _digits(chance: Random, count: int) -> str:
    return "".join(str(chance.randrange(10)) for _ in range(count))


def resident_id(chance: Random) -> str:
    """An 18-character number of GB 11643 with a real date and the right check character."""
    born = date(1930, 1, 1) + timedelta(days=chance.randrange(30_000))
    number = f"{chance.choice(_PROVINCES)}{_digits(chance, 4)}{born:%Y%m%d}{_digits(chance, 3)}"
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=True))
    return number + "10X98765432"[total % 11]


def bank_card(chance: Random) -> str:
    """A card number of a known issuer with the right Luhn digit."""
    prefix, lengths = chance.choice(_ISSUERS)
    number = prefix + _digits(chance, chance.choice(lengths) - len(prefix) - 1)
    for check in "0123456789":
        digits = [int(digit) for digit in reversed(number + check)]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
        if (sum(digits[::2]) + sum(doubled)) % 10 == 0:
            return number + check
    raise AssertionError
