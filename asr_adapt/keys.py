"""Texts by 64-bit keys, for lists of millions: eight bytes each, where Python's own sets and dicts take a hundred."""

import hashlib
from array import array
from bisect import bisect_left
from functools import cached_property

import numpy as np


def key(text: str) -> int:
    """Return a text's key: two of a million texts share one with a probability of 3e-8."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class KeyTable:
    """Rows of integers, 0 to 2^64 - 1, by the first of them; it is complete before it is first asked.

    Args:
        columns: Number of integers beside the key.
    """

    def __init__(self, columns: int = 0) -> None:
        self._columns = [array("Q") for _ in range(columns + 1)]

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, *row: int) -> None:
        """Add a row; of rows with one key the last one counts."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def get(self, wanted: int) -> tuple[int, ...] | None:
        """Return what stands beside a key; None where it is not there."""
        keys, *values = self._sorted
        place = bisect_left(keys, wanted)
        return tuple(v[place] for v in values) if place < len(keys) and keys[place] == wanted else None

    def __contains__(self, wanted: int) -> bool:
        return self.get(wanted) is not None

    def repeated(self) -> "KeyTable":
        """Return the keys, alone, that were added more than once."""
        found, counts = np.unique(np.frombuffer(self._columns[0], np.uint64), return_counts=True)
        again = KeyTable()
        again._columns = [_array(found[counts > 1])]
        return again

    @cached_property
    def _sorted(self) -> list[array]:
        keys, *values = (np.frombuffer(column, np.uint64) for column in self._columns)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        is_last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        return [_array(column) for column in (keys[is_last], *(value[order][is_last] for value in values))]


def _array(values: np.ndarray) -> array:
    made = array("Q")
    made.frombytes(values.tobytes())
    return made
