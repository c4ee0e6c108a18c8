"""What is proposed: by rules as they hold of rows, bounded in effort. More cases are in test_explain."""

from __future__ import annotations

from market import nearest
from market.explain import why_not
from market.feasibility import RULES
from tests.fakes.samples import a_signer
from tests.unit.market.test_explain import BROKEN, NOW, a_book, wanting
from tests.unit.market.test_offer_index import a_query, a_row


def test_the_bits_are_the_rules_in_their_order():
    assert list(nearest.BIT.items()) == [(name, 1 << number) for number, (name, _) in enumerate(RULES)]


def test_a_rule_that_may_be_given_up_is_one_that_holds_or_not_of_a_row():
    """Each is broken by the offer that breaks it in words, and by none that breaks another."""
    assert nearest._WAYS.keys() == nearest._HOLDS.keys()
    for rule, holds in nearest._HOLDS.items():
        assert holds(a_row(1), a_query())
        offer, requirements, limits = BROKEN[rule]
        book, ask = a_book(offer), wanting(limits, **requirements)
        query = book.compile(ask, NOW)
        [row] = book.rows(NOW)
        assert [name for name, one in nearest._HOLDS.items() if not one(row, query)] == [rule]


def test_of_many_sets_of_rules_the_smallest_are_proposed_and_only_a_few():
    pairs = [
        ("cpu_milli", "memory_mib"),
        ("cpu_milli", "disk_mib"),
        ("memory_mib", "disk_mib"),
        ("disk_mib", "cuda_milli"),
    ]
    offers = [{first: 1, second: 1, "price": 9 - number} for number, (first, second) in enumerate(pairs)]
    offers.append({"cpu_milli": 1, "memory_mib": 1, "disk_mib": 1, "price": 1})
    ask = wanting(cpu_milli=2, memory_mib=2, disk_mib=2, cuda_milli=2)
    answer = why_not(a_book(*offers), ask, NOW)
    assert answer.closest == ()
    told = [tuple(change.field for change in one.changes) for one in answer.suggestions]
    assert sorted(told) == sorted(tuple(pair) for pair in pairs[1:])


def test_one_set_of_changes_counts_everybody_it_lets_in():
    book = a_book(
        {"cpu_milli": 5, "price": 300_000}, {"cpu_milli": 6, "price": 290_000}, {"cpu_milli": 6, "price": 280_000},
        {"cpu_milli": 1, "price": 500_000},
    )  # fmt: skip
    [suggestion] = why_not(book, wanting(cpu_milli=10), NOW).suggestions
    assert {change.field: change.value for change in suggestion.changes} == {"cpu_milli": 6, "max_price": 280_000}
    assert suggestion.matches == 1


def test_a_misspelt_runtime_is_spelt_right_and_another_sandbox_is_never_proposed():
    offers = ({"runtimes": ("runc",)}, {"runtimes": ("runc", "runsc")}, {"runtimes": ()})
    [found] = why_not(a_book(*offers), wanting(runtime="runcs"), NOW).suggestions
    assert [(change.field, change.value) for change in found.changes] in ([("runtime", "runc")], [("runtime", "runsc")])
    assert found.matches in (1, 2)
    for meant in ("runsc", "kata-runtime", "something-else"):
        assert why_not(a_book({"runtimes": ("runc",)}), wanting(runtime=meant), NOW).suggestions == ()


def test_a_key_with_a_digit_mistyped_is_corrected_and_a_stranger_is_never_proposed():
    book, key = a_book({}, {"price": 300_000}), a_signer("s0").key
    slipped, far = bytes([key[0] ^ 0x11, *key[1:]]), bytes([key[0] ^ 0x11, key[1] ^ 1, *key[2:]])
    other = b"o" * 32
    [found] = why_not(book, wanting({"allow": (other, slipped)}), NOW).suggestions
    assert [(change.rule, change.value) for change in found.changes] == [("allow", (other.hex(), key.hex()))]
    assert found.matches == 1
    assert why_not(book, wanting({"allow": (far,)}), NOW).suggestions == ()
