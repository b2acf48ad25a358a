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
    """Length of its country and check digits of ISO 13616."""
    HK_IDENTITY_CARD = "HkIdentityCard"
    """Weighted sum modulo 11 over letters, six digits and the check digit."""
    JWT = "Jwt"
    """The first part decodes to a JSON object with `alg`."""
    NOT_PLACEHOLDER = "NotPlaceholder"
    """A value that is not a variable, a masked text or one repeated character."""
    CREDENTIAL = "Credential"
    """NotPlaceholder, and mixed as passwords are: an ordinary word is none."""


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
_IBAN_LENGTHS: Mapping[str, int] = {
    entry[:2]: int(entry[2:])
    for entry in """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
    DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22
    IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19
    MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31
    SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
    """.split()  # noqa: SIM905  # one entry a line would hide the rest of the file
}
"""Registry of https://www.swift.com/standards/data-standards/iban-international-bank-account-number."""
_HK_CHARACTERS = 9
_DISTINCT_CHARACTERS = 4
_SIGNS = frozenset("!@#$%^&*~?+")
_PLACEHOLDERS = frozenset({"password", "passwd", "pass", "pwd", "secret", "token", "example"})
_PLACEHOLDER_STARTS = (
    *("${", "{{", "{", "$(", "<", "%(", "%s", "***", "xxx", "..."),
    *("your", "os.environ", "process.env", "getenv", "self.", "args."),
)


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
    if len(text) != _IBAN_LENGTHS.get(text[:2]):
        return False
    digits = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return int(digits) % 97 == 1


def _is_hk_identity_card(value: str) -> bool:
    """Letters count 10 to 35, a missing first letter 36, the check digit `A` 10."""
    text = "".join(character for character in value if character.isalnum())
    codes = [int(character, 36) for character in text]
    if len(codes) == _HK_CHARACTERS - 1:
        codes.insert(0, 36)
    return sum(code * weight for code, weight in zip(codes, range(9, 0, -1), strict=True)) % 11 == 0


def _is_jwt(value: str) -> bool:
    first = value.partition(".")[0]
    padded = first.replace("-", "+").replace("_", "/") + "=" * (-len(first) % 4)
    try:
        header: object = msgspec.json.decode(binascii.a2b_base64(padded))
    except (ValueError, msgspec.DecodeError):
        return False
    return isinstance(header, dict) and "alg" in header


def _is_not_placeholder(value: str) -> bool:
    return (
        len(set(value)) >= _DISTINCT_CHARACTERS
        and value.lower() not in _PLACEHOLDERS
        and not value.lower().startswith(_PLACEHOLDER_STARTS)
    )


def _is_credential(value: str) -> bool:
    """Letters with digits or signs; code and words have letters, dots and brackets."""
    digits = any(map(str.isdigit, value))
    signs = not _SIGNS.isdisjoint(value)
    letters = any(map(str.isalpha, value))
    return letters and (digits or signs) and _is_not_placeholder(value)


VALIDATORS: Mapping[Validator, Callable[[str], bool]] = {
    Validator.SHAPE: lambda _: True,
    Validator.PRC_RESIDENT_ID: _is_resident_id,
    Validator.PRC_OLD_RESIDENT_ID: _is_old_resident_id,
    Validator.LUHN_ISSUER: _is_card,
    Validator.UNIFIED_SOCIAL_CREDIT_CODE: _is_credit_code,
    Validator.IBAN: _is_iban,
    Validator.HK_IDENTITY_CARD: _is_hk_identity_card,
    Validator.JWT: _is_jwt,
    Validator.NOT_PLACEHOLDER: _is_not_placeholder,
    Validator.CREDENTIAL: _is_credential,
}
"""Each takes what a rule matched (ASCII, as many characters as its pattern allows)."""
