"""Arithmetic coding by rANS, in Python: units of a start and a frequency out of 2**14 to bytes and back.

Method: rANS (Duda 2013) with the 32-bit state and 16-bit renormalization of Giesen's public-domain `ryg_rans`, and as
there with two states that take turns (Giesen: Interleaved entropy coders, 2014). The second one begins as the first word that
the encoder would write, so that it costs nothing; the decoder, once it has no more words, takes that word out of it again and
goes on with one. A stream is the two final states of the encoder (4 bytes each; only one where no word was ever due) and then
16-bit words in decoding order, all little-endian.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from .errors import CorruptStreamError
from .tables import PROB_BITS, PROB_SCALE

STATE_START = 1 << 16
RAW_FREQ = PROB_SCALE // 2
MAX_PREFIX = 9  # zeros before an Exp-Golomb number; residuals up to 510 need 8

# What is coded: start and frequency, and which of the two states has its turn.
Unit = tuple[int, int, int]


def rans_encode(units: list[Unit]) -> bytes:
    states = [STATE_START]
    words = []
    for start, freq, turn in reversed(units):
        both = len(states) == 2
        state = states[turn if both else 0]
        if state >= freq << 18:
            if both:
                words.append(state & 0xFFFF)
            else:
                states = [STATE_START | state & 0xFFFF] * 2
                both = True
            state >>= 16
        states[turn if both else 0] = (state // freq << PROB_BITS) + start + state % freq
    words.reverse()
    return np.array(states, "<u4").tobytes() + np.array(words, "<u2").tobytes()


class RansDecoder:
    """The state of a rANS decoder."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or len(data) % 2 or len(data) == 6:
            raise CorruptStreamError("the compressed data has an impossible length")
        self.states: list[int] = np.frombuffer(data[:8], "<u4").tolist()
        self.words = iter(np.frombuffer(data, "<u2", offset=4 * len(self.states)).tolist())

    def slot(self, turn: int) -> int:
        """What the state whose turn it is says about the next symbol."""
        return self.states[turn if len(self.states) == 2 else 0] & (PROB_SCALE - 1)

    def advance(self, start: int, freq: int, turn: int) -> None:
        both = len(self.states) == 2
        state = self.states[turn if both else 0]
        state = freq * (state >> PROB_BITS) + (state & (PROB_SCALE - 1)) - start
        if state < STATE_START:
            word = next(self.words, None)
            if word is None:  # the one that the other state began as
                if not both or self.states[1 - turn] >> 16 != 1:
                    raise CorruptStreamError("the compressed data ends too early")
                self.states = [state << 16 | self.states[1 - turn] & 0xFFFF]
                return
            state = state << 16 | word
        self.states[turn if both else 0] = state

    def symbol(self, starts: list[int], freqs: list[int], turn: int) -> int:
        """The index of a symbol under a table of starts and frequencies."""
        index = bisect_right(starts, self.slot(turn)) - 1
        self.advance(starts[index], freqs[index], turn)
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
        if self.states != [STATE_START] or next(self.words, None) is not None:
            raise CorruptStreamError("the compressed data does not end where it should")
