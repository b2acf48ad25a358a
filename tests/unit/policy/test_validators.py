"""Each validator knows published examples and refuses the same with one character changed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.policy.validators import VALIDATORS, Validator
from support import identifiers


@pytest.mark.parametrize(
    "validator,value,want",
    [
        (Validator.SHAPE, "anything", True),
        (Validator.PRC_RESIDENT_ID, "11010519491231002X", True),
        (Validator.PRC_RESIDENT_ID, "11010519491231002x", True),
        (Validator.PRC_RESIDENT_ID, "440524188001010014", True),
        (Validator.PRC_RESIDENT_ID, "110105194912310021", False),
        (Validator.PRC_RESIDENT_ID, "110105194902300020", False),
        (Validator.PRC_OLD_RESIDENT_ID, "110105491231002", True),
        (Validator.PRC_OLD_RESIDENT_ID, "110105490231002", False),
        (Validator.LUHN_ISSUER, "4111111111111111", True),
        (Validator.LUHN_ISSUER, "4111111111111112", False),
        (Validator.LUHN_ISSUER, "5555555555554444", True),
        (Validator.LUHN_ISSUER, "2223003122003222", True),
        (Validator.LUHN_ISSUER, "378282246310005", True),
        (Validator.LUHN_ISSUER, "3530111333300000", True),
        (Validator.LUHN_ISSUER, "6011111111111117", True),
        (Validator.LUHN_ISSUER, "30569309025904", True),
        (Validator.LUHN_ISSUER, "6200000000000005", True),
        (Validator.LUHN_ISSUER, "41111111111111113", False),
        (Validator.LUHN_ISSUER, "9999999999999995", False),
        (Validator.UNIFIED_SOCIAL_CREDIT_CODE, "91350100M000100Y43", True),
        (Validator.UNIFIED_SOCIAL_CREDIT_CODE, "91350100M000100Y44", False),
        (Validator.UNIFIED_SOCIAL_CREDIT_CODE, "91350100I000100Y43", False),
        (Validator.UNIFIED_SOCIAL_CREDIT_CODE, "913501001000100143", False),
        (Validator.IBAN, "DE89370400440532013000", True),
        (Validator.IBAN, "GB82 WEST 1234 5698 7654 32", True),
        (Validator.IBAN, "DE89370400440532013001", False),
        (Validator.IBAN, "DE8937040044053201300", False),
        (Validator.IBAN, "ZZ89370400440532013000", False),
        (Validator.HK_IDENTITY_CARD, "A123456(3)", True),
        (Validator.HK_IDENTITY_CARD, "AB987654(3)", True),
        (Validator.HK_IDENTITY_CARD, "A123456(4)", False),
        (Validator.JWT, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", True),
        (Validator.JWT, "eyJub25lIjoiMSJ9AA.eyJzdWIiOiIxIn0.c2ln", False),
        (Validator.JWT, "eyJub25lIjoiMSJ9.eyJzdWIiOiIxIn0.c2ln", False),
        (Validator.JWT, "eyJ!.a.b", False),
        (Validator.NOT_PLACEHOLDER, "hunter", True),
        (Validator.NOT_PLACEHOLDER, "password", False),
        (Validator.NOT_PLACEHOLDER, "${TOKEN}", False),
        (Validator.NOT_PLACEHOLDER, "xxxx", False),
        (Validator.NOT_PLACEHOLDER, "Your-Key-1", False),
        (Validator.CREDENTIAL, "hunter2000", True),
        (Validator.CREDENTIAL, "S3cure!pass", True),
        (Validator.CREDENTIAL, "Optional[str]", False),
        (Validator.CREDENTIAL, "required", False),
        (Validator.CREDENTIAL, "12345678", False),
    ],
)
def test_known_values(validator: Validator, value: str, want: bool) -> None:  # noqa: FBT001
    assert want is VALIDATORS[validator](value)


def test_every_validator_has_a_function() -> None:
    assert set(Validator) == VALIDATORS.keys()


@given(seed=st.integers(0, 2**32), place=st.integers(0, 16), other=st.sampled_from("0123456789"))
def test_a_changed_digit_of_a_resident_id_is_noticed(seed: int, place: int, other: str) -> None:
    number = identifiers.resident_id(random.Random(seed))
    changed = number[:place] + other + number[place + 1 :]

    assert (changed == number) is VALIDATORS[Validator.PRC_RESIDENT_ID](changed)


@given(seed=st.integers(0, 2**32), place=st.integers(6, 18), other=st.sampled_from("0123456789"))
def test_a_changed_digit_of_a_card_is_noticed(seed: int, place: int, other: str) -> None:
    number = identifiers.bank_card(random.Random(seed))
    changed = number[:place] + other + number[place + 1 :]
    if place < len(number):
        assert (changed == number) is VALIDATORS[Validator.LUHN_ISSUER](changed)
