"""Arithmetic coding by rANS, in Python: units of a start and a frequency out of 2**14 to bytes and back.

Method: rANS (Duda 2013) with the 32-bit state and 16-bit renormalization of Giesen's public-domain `ryg_rans`, and as
there with several states that take turns (Giesen: Interleaved entropy coders, 2014), so that a processor works on four symbols
at once. All but the first begin as a word that the encoder would write, which so costs nothing; the decoder, having come to
where that was, takes the word out of the state again and goes on with one less. The second begins at once, the third and the
fourth after 128 words, since each adds about a byte in the end. A stream is the final states of the encoder (4 bytes each) and
then 16-bit words in decoding order, all little-endian.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from .errors import CorruptStreamError
from .tables import PROB_BITS, PROB_SCALE

STATE_START = 1 << 16
RAW_FREQ = PROB_SCALE // 2
MAX_PREFIX = 9  # zeros before an Exp-Golomb number; residuals up to 510 need 8

# What is coded: start and frequency, and the number of the symbol, which decides whose turn it is.
Unit = tuple[int, int, int]

STATES = 4
WORDS_BEFORE = (0, 0, 128, 128)  # how many words there are when a state begins
TURNS = (0, 0, 1, 1, 3)  # by how many states there are: the bits of a symbol's number that count


def rans_encode(units: list[Unit]) -> bytes:
    states = [STATE_START]
    words: list[int] = []
    for start, freq, number in reversed(units):
        turn = number & TURNS[len(states)]
        if states[turn] >= freq << 18:
            if len(states) < STATES and len(words) == WORDS_BEFORE[len(states)]:
                turn = _begin_state(states, turn, number)
            else:
                words.append(states[turn] & 0xFFFF)
            states[turn] >>= 16
        state = states[turn]
        states[turn] = (state // freq << PROB_BITS) + start + state % freq
    words.reverse()
    return np.array(states, "<u4").tobytes() + np.array(words, "<u2").tobytes()


def _begin_state(states: list[int], turn: int, number: int) -> int:
    """One more state begins as the word that state `turn` would write; symbol `number` goes on in the state returned."""
    state, fresh = states[turn], len(states)
    word = STATE_START | state & 0xFFFF
    now = number & TURNS[fresh + 1]
    if now == fresh:
        states[turn] = word
        states.append(state)
    else:
        states[turn], states[now] = states[now], state
        states.append(word)
    return now


def _states_of(size: int) -> int:
    """With how many states a stream of `size` bytes begins; 0 when none has that size."""
    states = 1
    while states < STATES and size >= 2 * WORDS_BEFORE[states] + 4 * (states + 1):
        states += 1
    words = (size - 4 * states) // 2
    if size < 4 or size % 2 or (states < STATES and words > WORDS_BEFORE[states]):
        return 0
    return states


class RansDecoder:
    """The state of a rANS decoder."""

    def __init__(self, data: bytes) -> None:
        states = _states_of(len(data))
        if not states:
            raise CorruptStreamError("the compressed data has an impossible length")
        self.states: list[int] = np.frombuffer(data[: 4 * states], "<u4").tolist()
        self.words: list[int] = np.frombuffer(data, "<u2", offset=4 * states).tolist()
        self.words.reverse()

    def slot(self, number: int) -> int:
        """What the state whose turn it is at symbol `number` says about it."""
        return self.states[number & TURNS[len(self.states)]] & (PROB_SCALE - 1)

    def advance(self, start: int, freq: int, number: int) -> None:
        turn = number & TURNS[len(self.states)]
        state = self.states[turn]
        state = self.states[turn] = freq * (state >> PROB_BITS) + (state & (PROB_SCALE - 1)) - start
        if state >= STATE_START:
            return
        count = len(self.states)
        if count > 1 and len(self.words) == WORDS_BEFORE[count - 1]:
            self._end_state(turn, number)
        elif self.words:
            self.states[turn] = state << 16 | self.words.pop()
        else:
            raise CorruptStreamError("the compressed data ends too early")

    def _end_state(self, turn: int, number: int) -> None:
        """Where the last state ends, it is the word that symbol `number`, in state `turn`, needs."""
        state, word = self.states[turn], self.states.pop()
        last = len(self.states)
        then = number & TURNS[last]
        if turn == last:
            word = self.states[then]
        else:
            self.states[turn] = self.states[then]
        if word >> 16 != 1:
            raise CorruptStreamError("the compressed data ends too early")
        self.states[then] = state << 16 | word & 0xFFFF

    def symbol(self, starts: list[int], freqs: list[int], number: int) -> int:
        """The index of a symbol under a table of starts and frequencies."""
        index = bisect_right(starts, self.slot(number)) - 1
        self.advance(starts[index], freqs[index], number)
        return index

    def bit(self, one: int) -> int:
        """A binary decision whose 1 has the frequency `one` at the low end of the range."""
        bit = int(self.slot(0) < one)
        self.advance(0 if bit else one, one if bit else PROB_SCALE - one, 0)
        return bit

    def raw(self) -> int:
        """A bit of probability 1/2: 0 has the low half of the range."""
        return 1 - self.bit(RAW_FREQ)

    def escape(self, radius: int) -> int:
        """The residual after an escape symbol: excess over `radius`, then the sign."""
        zeros = 0
        while not self.raw():
            zeros += 1
            if zeros > MAX_PREFIX:
                raise CorruptStreamError("the compressed data holds an impossible number")
        number = 1
        for _ in range(zeros):
            number = number << 1 | self.raw()
        value = radius + number
        return -value if self.raw() else value

    def finish(self) -> None:
        if self.states != [STATE_START] or self.words:
            raise CorruptStreamError("the compressed data does not end where it should")
