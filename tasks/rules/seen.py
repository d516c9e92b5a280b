"""Rules across rows, from a sketch of 24 bytes per row: duplicates and conflicts, without keeping a text."""

from array import array


class Seen:
    """The rows met so far: the key of each one's query and context, a mark of its answer, and its place.

    An open-addressing table over flat arrays, because a dict would take four times the memory. Of n rows, two different
    ones share a 64-bit key with a chance of n²/2⁶⁵: 3e-8 for a million.
    """

    def __init__(self) -> None:
        self.keys, self.answers, self.places = array("Q"), array("Q"), array("Q")
        self._slots = array("I", bytes(4 << 10))  # each 1 + an index into the arrays above, or 0

    def meet(self, key: bytes, answer: bytes, place: int) -> tuple[int, bool] | None:
        """The place of the first row with this key, and whether its answer was the same; None for a first row.

        `key` and `answer` are digests of at least 8 bytes, `place` is any number under 2⁶⁴.
        """
        number, mark = int.from_bytes(key[:8], "little"), int.from_bytes(answer[:8], "little")
        slot = self._slot(number)
        index = self._slots[slot]
        if index:
            return self.places[index - 1], self.answers[index - 1] == mark
        self.keys.append(number)
        self.answers.append(mark)
        self.places.append(place)
        self._slots[slot] = len(self.keys)
        if 3 * len(self.keys) > 2 * len(self._slots):
            self._grow()
        return None

    def _slot(self, number: int) -> int:
        """The slot that holds this key, or the free one where it belongs."""
        slots, keys, mask = self._slots, self.keys, len(self._slots) - 1
        slot = number & mask
        while (index := slots[slot]) and keys[index - 1] != number:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        self._slots = array("I", bytes(8 * len(self._slots)))  # twice as many, of 4 bytes
        for index, number in enumerate(self.keys, 1):
            self._slots[self._slot(number)] = index
