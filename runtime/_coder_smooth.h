/* What is to be seen of the borders of blocks, taken away: the same pixels as smoothing.py, which is its specification.
 *
 * A segment of a border is 16 x 8 pixels, whose rows lie in one piece: 48 bytes where the border is upright, 24 where it is level. */

#include <stddef.h>
#include <stdint.h>

#include "_coder_vector.h"

#define REACH 8 /* pixels on either side that change, and along a border that are treated alike */
#define OUTER 4 /* of them away from the border: the step is measured between their means */
#define COLOURS 3
#define SIDE (REACH * COLOURS) /* bytes of as many pixels */
#define MAX_LIMIT (255 * OUTER * REACH)
/* The sum of squares of what goes on in a segment that halves what is done: 3 grey levels each. */
#define FLAT (3 * 3 * (2 * REACH - 1) * REACH * COLOURS)

/* From pixel to pixel across a border: how a step is spread, as decoders leave it, and how each pixel changes, in 1/256; how it
 * changes with the rest between the two pixels at the border, in 1/16 of halves. */
static const int16_t SPREAD[2 * REACH - 1] = {0, 5, 5, 11, 15, 15, 59, 36, 59, 15, 15, 11, 5, 5, 0};
static const int16_t CHANGE[2 * REACH] = {0, 0, 6, 22, 32, 39, 45, 7, -7, -45, -39, -32, -22, -6, 0, 0};
static const int16_t REST[2 * REACH] = {1, 3, 5, 7, 9, 11, 13, 15, -15, -13, -11, -9, -7, -5, -3, -1};

static inline int32_t largest(const int32_t *step) {
    int32_t most = 0;
    for (int c = 0; c < COLOURS; c++) {
        const int32_t size = step[c] < 0 ? -step[c] : step[c];
        if (size > most) most = size;
    }
    return most;
}

/* How much of the change is made, in 1/256. */
static inline int32_t share_of(int32_t most, int32_t busy, int32_t limit) {
    const int32_t share = (FLAT << 8) / (FLAT + busy);
    return most > limit ? share * (2 * limit - most) / limit : share;
}

static inline int16_t own_of(int32_t step, int spread) { return (int16_t)((step * spread + (1 << 12)) >> 13); }

/* What of the sum of steps at the border is not the step's own, in 1/8 of levels. */
static inline int32_t rest_of(int32_t sum, int32_t step) { return sum - ((step * SPREAD[REACH - 1] + (1 << 9)) >> 10); }

/* Of shares of a step and of 32 rests. */
static inline int16_t change_of(int32_t step, int32_t rest, int i) {
    return (int16_t)((step * CHANGE[i] + rest * REST[i] + (1 << 20)) >> 21);
}

/* Whether no change would be rounded to anything. */
static inline int too_little(const int32_t *step, const int32_t *rest, int32_t share) {
    return (largest(step) * CHANGE[REACH - 2] + largest(rest) * 32 * REST[REACH - 1]) * share < 1 << 20;
}

/* Writes the sums of values and changes as bytes. */
static inline void put_line(uint8_t *restrict to, const int16_t *restrict values, const int16_t *restrict change, int count) {
    for (int k = 0; k < count; k++) {
        const int16_t value = (int16_t)(values[k] + change[k]);
        to[k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

/* at: the first pixel on the right of the border, in the uppermost row. */
static inline void smooth_upright(uint8_t *at, ptrdiff_t row, int32_t limit) {
    int32_t step[COLOURS] = {0}, rest[COLOURS], busy = 0;
    int16_t lines[REACH][COLOURS + 2 * SIDE], sum[2 * SIDE] = {0}, own[2 * SIDE] = {0}, change[2 * SIDE];
    for (int r = 0; r < REACH; r++)
        for (int k = 0; k < 2 * SIDE; k++) sum[k] = (int16_t)(sum[k] + at[r * row - SIDE + k]);
    for (int i = 0; i < OUTER; i++)
        for (int c = 0; c < COLOURS; c++) step[c] += sum[2 * SIDE - (i + 1) * COLOURS + c] - sum[i * COLOURS + c];
    const int32_t most = largest(step);
    if (most >= 2 * limit) return;
    for (int i = 1; i < 2 * REACH; i++)
        for (int c = 0; c < COLOURS; c++) own[i * COLOURS + c] = own_of(step[c], SPREAD[i - 1]);
    for (int r = 0; r < REACH; r++) { /* with a copy of its first pixel before it, so that a row has as many steps as bytes */
        const uint8_t *from = at + r * row - SIDE;
        for (int k = 0; k < 2 * SIDE; k++) lines[r][COLOURS + k] = from[k];
        for (int c = 0; c < COLOURS; c++) lines[r][c] = from[c];
    }
    for (int r = 0; r < REACH; r++)
        for (int k = 0; k < 2 * SIDE; k++) {
            const int16_t other = (int16_t)(lines[r][k + COLOURS] - lines[r][k] - own[k]);
            busy += other * other;
        }
    for (int c = 0; c < COLOURS; c++) rest[c] = rest_of(sum[SIDE + c] - sum[SIDE - COLOURS + c], step[c]);
    const int32_t share = share_of(most, busy, limit);
    if (too_little(step, rest, share)) return;
    for (int i = 0; i < 2 * REACH; i++)
        for (int c = 0; c < COLOURS; c++) change[i * COLOURS + c] = change_of(step[c] * share, 32 * rest[c] * share, i);
    for (int r = 0; r < REACH; r++) put_line(at + r * row - SIDE, lines[r] + COLOURS, change, 2 * SIDE);
}

/* at: the first pixel below the border. */
static inline void smooth_level(uint8_t *at, ptrdiff_t row, int32_t limit) {
    int32_t step[COLOURS] = {0}, rest[COLOURS] = {0}, busy = 0, steps[SIDE], rests[SIDE];
    int16_t lines[2 * REACH][SIDE], sum[SIDE] = {0};
    for (int i = 0; i < OUTER; i++) {
        const uint8_t *above = at - (REACH - i) * row, *below = at + (REACH - 1 - i) * row;
        for (int k = 0; k < SIDE; k++) sum[k] = (int16_t)(sum[k] + below[k] - above[k]);
    }
    for (int k = 0; k < SIDE; k++) step[k % COLOURS] += sum[k];
    const int32_t most = largest(step);
    if (most >= 2 * limit) return;
    for (int i = 0; i < 2 * REACH; i++)
        for (int k = 0; k < SIDE; k++) lines[i][k] = at[(i - REACH) * row + k];
    for (int k = 0; k < SIDE; k++) steps[k] = step[k % COLOURS];
    for (int i = 1; i < 2 * REACH; i++)
        for (int k = 0; k < SIDE; k++) {
            const int16_t other = (int16_t)(lines[i][k] - lines[i - 1][k] - own_of(steps[k], SPREAD[i - 1]));
            busy += other * other;
        }
    for (int k = 0; k < SIDE; k++) rest[k % COLOURS] += lines[REACH][k] - lines[REACH - 1][k];
    for (int c = 0; c < COLOURS; c++) rest[c] = rest_of(rest[c], step[c]);
    const int32_t share = share_of(most, busy, limit);
    if (too_little(step, rest, share)) return;
    for (int k = 0; k < SIDE; k++) {
        steps[k] *= share;
        rests[k] = 32 * rest[k % COLOURS] * share;
    }
    for (int i = 0; i < 2 * REACH; i++) {
        int16_t change[SIDE];
        for (int k = 0; k < SIDE; k++) change[k] = change_of(steps[k], rests[k], i);
        put_line(at + (i - REACH) * row, lines[i], change, SIDE);
    }
}

/* Pixels [height][width][COLOURS], both sides multiples of a block's, which is one of 2 * REACH. */
VECTOR static void smooth_all(uint8_t *pixels, ptrdiff_t height, ptrdiff_t width, ptrdiff_t block, int32_t limit) {
    const ptrdiff_t row = COLOURS * width;
    for (ptrdiff_t y = 0; y < height; y += REACH)
        for (ptrdiff_t x = block; x < width; x += block) smooth_upright(pixels + y * row + x * COLOURS, row, limit);
    for (ptrdiff_t y = block; y < height; y += block)
        for (ptrdiff_t x = 0; x < width; x += REACH) smooth_level(pixels + y * row + x * COLOURS, row, limit);
}
