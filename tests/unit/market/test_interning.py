"""Words as numbers: given back after use, bounded, and never two words on one place of their own."""

from __future__ import annotations

import random

from market.interning import Answers, WordTable, mask_of


def test_a_word_keeps_its_number_while_it_is_in_use():
    table: WordTable[str] = WordTable(4)
    first = table.hold("a")
    assert table.hold("a") == first == table.number("a")
    table.release("a", first)
    assert table.number("a") == first, "it is still in use once"
    table.release("a", first)
    assert table.number("a") == 3, "nobody uses it any more"
    assert table.hold("b") == first, "the place was not given back"


def test_a_full_table_shares_its_last_place():
    table: WordTable[str] = WordTable(3)
    assert [table.hold(word) for word in "abcd"] == [0, 1, 2, 2]
    assert [table.is_shared(number) for number in (0, 1, 2)] == [False, False, True]
    table.release("c", 2)
    assert table.number("a") == 0


def test_the_shared_place_is_always_looked_at():
    table: WordTable[str] = WordTable(3)
    for word in "abcd":
        table.hold(word)
    assert table.matching(lambda word: word == "b") == [1, 2]
    assert table.matching(lambda word: word == "d") == [2]
    assert table.all() == [0, 1, 2]
    assert mask_of([0, 2]) == 0b101


def test_a_word_that_shared_a_place_does_not_give_back_anothers():
    table: WordTable[str] = WordTable(2)
    table.hold("a")
    shared = table.hold("late")
    table.release("a", 0)
    own = table.hold("late")
    assert (shared, own) == (1, 0)
    table.release("late", shared)
    assert table.number("late") == own


def test_random_use_never_gives_one_number_to_two_words():
    luck = random.Random(5)
    table: WordTable[int] = WordTable(6)
    held: list[tuple[int, int]] = []
    for _ in range(5_000):
        if held and luck.random() < 0.5:
            table.release(*held.pop(luck.randrange(len(held))))
        else:
            word = luck.randrange(12)
            held.append((word, table.hold(word)))
        owners: dict[int, int] = {}
        for word, number in held:
            if not table.is_shared(number):
                assert owners.setdefault(number, word) == word
        assert len(table.all()) <= 6


def test_words_are_found_by_any_of_their_names_and_the_shared_place_always_is():
    table: WordTable[str] = WordTable(4, names=lambda word: {word, word[0]})
    pear, plum, fig = table.hold("pear"), table.hold("plum"), table.hold("fig")
    assert table.found_as(["p"]) == [pear, plum, 3]
    assert table.found_as(["fig", "quince"]) == [fig, 3]
    table.release("pear", pear)
    assert table.found_as(["p", "plum"]) == [plum, 3]


def test_names_are_read_once_however_much_is_asked_for():
    read: list[str] = []

    def names(word: str) -> list[str]:
        read.append(word)
        return [word]

    table: WordTable[str] = WordTable(100, names=names)
    for number in range(50):
        table.hold(f"w{number}")
    for number in range(200):
        table.found_as([f"w{number}", f"x{number}"])
    assert len(read) == 50


def test_an_answer_is_worked_out_again_when_a_word_came() -> None:
    table: WordTable[str] = WordTable(8)
    table.hold("a")
    asked: list[tuple[str, ...]] = []

    def answer(words: tuple[str, ...]) -> list[int]:
        asked.append(words)
        return [table.number(word) for word in words]

    answers = Answers(table, answer)
    assert answers.to(("a", "b")) == answers.to(("a", "b")) == [0, 7]
    assert len(asked) == 1
    table.hold("b")
    assert answers.to(("a", "b")) == [0, 1]


def test_answers_do_not_pile_up() -> None:
    table: WordTable[str] = WordTable(8)
    answers = Answers(table, lambda words: bytearray(1))
    first = answers.to(("x", "0"))
    assert answers.to(("x", "0")) is first
    for number in range(300):
        answers.to(("x", str(number)))
    assert answers.to(("x", "0")) is not first
