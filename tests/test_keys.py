"""Millions of texts by 64-bit keys."""

from asr_adapt.keys import KeyTable, key


def table(*rows: tuple[int, ...]) -> KeyTable:
    made = KeyTable(len(rows[0]) - 1)
    for row in rows:
        made.add(*row)
    return made


def test_a_key_depends_on_the_text_alone_and_any_text_has_one() -> None:
    assert key("ŋ") == key("ŋ") != key("n")
    assert 0 <= key("caf\udce9.wav") < 2**64


def test_of_rows_with_one_key_the_last_counts() -> None:
    found = table((7, 1), (2**64 - 1, 2), (7, 3))
    assert found.get(7) == (3,) and found.get(2**64 - 1) == (2,) and found.get(8) is None
    assert 7 in found and 8 not in found and KeyTable().get(0) is None


def test_what_was_added_more_than_once_is_known() -> None:
    again = table((5,), (9,), (5,), (1,)).repeated()
    assert 5 in again and 9 not in again and len(again) == 1
