"""Country codes: the whole standard, nothing else, and a way out for every slip people make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidRequest
from market.feasibility import GROUPS, in_jurisdictions
from node.countries import COUNTRIES, read_country, read_jurisdiction


def test_the_table_is_whole() -> None:
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.islower() and name for code, name in COUNTRIES.items())
    assert set().union(*GROUPS.values()) <= COUNTRIES.keys()


def test_every_code_is_taken_in_any_case() -> None:
    assert all(read_country(code.upper()) == code == read_jurisdiction(f" {code} ") for code in COUNTRIES)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_can_be_asked_for_and_is_no_place_of_a_machine(group: str) -> None:
    assert in_jurisdictions("de", (read_jurisdiction(group.upper()),))
    with pytest.raises(InvalidRequest) as error:
        read_country(group)
    assert "group" in error.value.fix


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("uk", "'gb'"),
        ("Germany", "'de'"),
        ("germny", "'de'"),
        ("eu-west", "'eu'"),
        ("us-east-1", "'us'"),
        ("sw", "'ch' (Switzerland) or 'se' (Sweden)"),
        ("deu", "'de'"),
        ("Europe", "'eu'"),
        ("zz", "ISO 3166"),
        ("", "ISO 3166"),
        ("x" * 100_000, "ISO 3166"),
    ],
)
def test_what_is_no_code_is_told_what_was_meant(slip: str, meant: str) -> None:
    for read in (read_country, read_jurisdiction):
        with pytest.raises(InvalidRequest) as error:
            read(slip)
        assert error.value.code == "unknown_country"
        assert meant in error.value.fix


def read_or_fix(text: str) -> str:
    try:
        return read_jurisdiction(text)
    except InvalidRequest as error:
        return error.fix


@given(st.text(max_size=12))
def test_any_text_is_a_code_or_refused_with_a_fix(text: str) -> None:
    found = read_or_fix(text)
    assert found in COUNTRIES.keys() | GROUPS.keys() or len(found) > 2
