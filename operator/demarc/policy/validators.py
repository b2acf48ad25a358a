"""Does a match hold up? Check digits and calendars, one function for each name in a pack.

The set is closed: packs name a validator and cannot bring one.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from datetime import date
from enum import StrEnum

import msgspec


class Validator(StrEnum):
    """What a match must pass besides the pattern of its rule."""

    SHAPE = "Shape"
    """Nothing: the pattern is enough."""
    PRC_RESIDENT_ID = "PrcResidentId"
    """18 characters of GB 11643-1999: a real birth date and the check character."""
    PRC_OLD_RESIDENT_ID = "PrcOldResidentId"
    """15 digits with a real birth date; there is no check digit."""
    LUHN_ISSUER = "LuhnIssuer"
    """Luhn check digit (ISO/IEC 7812-1) and length of a known issuer range."""
    UNIFIED_SOCIAL_CREDIT_CODE = "UnifiedSocialCreditCode"
    """18 characters of GB 32100-2015 with their check character."""
    IBAN = "Iban"
    """Check digits of ISO 13616."""
    JWT = "Jwt"
    """The first part decodes to a JSON object with `alg`."""
    NOT_PLACEHOLDER = "NotPlaceholder"
    """A value that is not a variable, a masked text or one repeated character."""


_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_FIRST_BIRTH_YEAR = 1880
_LAST_BIRTH_YEAR = 2099

_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    # first six digits, from and to, and the lengths that are issued
    (222100, 272099, frozenset({16})),  # Mastercard
    (300000, 305999, frozenset({14, 16})),  # Diners Club
    (340000, 349999, frozenset({15})),  # American Express
    (352800, 358999, frozenset({16, 17, 18, 19})),  # JCB
    (360000, 369999, frozenset({14})),  # Diners Club
    (370000, 379999, frozenset({15})),  # American Express
    (400000, 499999, frozenset({16, 19})),  # Visa
    (510000, 559999, frozenset({16})),  # Mastercard
    (601100, 601199, frozenset({16})),  # Discover
    (620000, 629999, frozenset({16, 17, 18, 19})),  # UnionPay
    (644000, 659999, frozenset({16})),  # Discover
    (955800, 955899, frozenset({19})),  # cards of one bank from before the prefix 62
)
_LONGEST_PREFIX = 6


def _is_resident_id(value: str) -> bool:
    text = value.upper()
    total = sum(int(digit) * weight for digit, weight in zip(text, _RESIDENT_WEIGHTS, strict=False))
    return _RESIDENT_CHECKS[total % 11] == text[17] and _is_birth_date(text[6:14])


def _is_old_resident_id(value: str) -> bool:
    return _is_birth_date(f"19{value[6:12]}")


def _is_birth_date(digits: str) -> bool:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return _FIRST_BIRTH_YEAR <= born.year <= _LAST_BIRTH_YEAR


def _is_card(value: str) -> bool:
    prefix = int(value[:_LONGEST_PREFIX])
    length = len(value)
    for first, last, lengths in _ISSUERS:
        if first <= prefix <= last:
            return length in lengths and _luhn(value)
    return False


def _luhn(value: str) -> bool:
    digits = [int(digit) for digit in reversed(value)]
    total = sum(digits[::2]) + sum(_LUHN_DOUBLED[digit] for digit in digits[1::2])
    return total % 10 == 0


def _is_credit_code(value: str) -> bool:
    text = value.upper()
    codes = [_CREDIT_ALPHABET.find(character) for character in text]
    if -1 in codes or text.isdigit():
        # all digits is possible in theory; the authorities in use assign none, order numbers are
        return False
    total = sum(code * weight for code, weight in zip(codes, _CREDIT_WEIGHTS, strict=False))
    return codes[17] == (31 - total % 31) % 31


def _is_iban(value: str) -> bool:
    text = "".join(value.split()).upper()
    digits = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return int(digits) % 97 == 1


def _is_jwt(value: str) -> bool:
    first = value.partition(".")[0]
    padded = first.replace("-", "+").replace("_", "/") + "=" * (-len(first) % 4)
    try:
        header: object = msgspec.json.decode(binascii.a2b_base64(padded))
    except (ValueError, msgspec.DecodeError):
        return False
    return isinstance(header, dict) and "alg" in header


_DISTINCT_CHARACTERS = 4


def _is_not_placeholder(value: str) -> bool:
    return len(set(value)) >= _DISTINCT_CHARACTERS and not value.startswith(
        ("${", "{{", "$(", "<", "%(", "***", "os.environ", "process.env", "getenv")
    )


VALIDATORS: Mapping[Validator, Callable[[str], bool]] = {
    Validator.SHAPE: lambda _: True,
    Validator.PRC_RESIDENT_ID: _is_resident_id,
    Validator.PRC_OLD_RESIDENT_ID: _is_old_resident_id,
    Validator.LUHN_ISSUER: _is_card,
    Validator.UNIFIED_SOCIAL_CREDIT_CODE: _is_credit_code,
    Validator.IBAN: _is_iban,
    Validator.JWT: _is_jwt,
    Validator.NOT_PLACEHOLDER: _is_not_placeholder,
}
"""Each takes what a rule matched (ASCII, as many characters as its pattern allows)."""
