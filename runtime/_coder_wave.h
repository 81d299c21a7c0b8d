/* Planes with a prediction: contexts and predictions from the left and above, in waves over four rows. Part of _coder.c.
 *
 * So the decoder goes, and so symbols are in the stream; the encoder needs only their order (_coder_predict.h). */

#ifndef EDGEPRESS_CODER_WAVE_H
#define EDGEPRESS_CODER_WAVE_H

#include "_coder_model.h"

#define FIRST_HALF 254 /* half_octave(1) */
#define HALVES 52      /* up to that of the largest activity, which is below 2^26 */

#define ROWS 4 /* of a wave, in which a row is two positions behind the one above, whose symbol to the upper right it needs */

/* A position: its places in rows, with one of zeros above and a column of them on either side, and in the parts of a map; and
 * those of the symbols that predict it, missing ones being replaced as in contexts.py. */
typedef struct {
    uint32_t at, part, left, top, top_left, top_right;
} Step;

typedef struct {
    Step *steps;       /* in the order of coding */
    int32_t *known;    /* by part: 16 * activity as far as the planes before tell */
    int16_t *symbols;  /* by rows */
    uint8_t *mag;      /* magnitudes of residuals, likewise */
    ptrdiff_t pitch;
    int32_t w_left, w_top, w_top_left, w_top_right; /* of the channel */
    int32_t straight, diagonal;
    const Entry *entries[HALVES]; /* of the channel, by half octaves from that of 1 on, so that none has to be made a context */
    void *memory;
} Wave;

static void wave_free(Wave *wave) { free(wave->memory); }

static Step step_of(const Model *model, ptrdiff_t pitch, ptrdiff_t y, ptrdiff_t x) {
    const uint32_t at = (uint32_t)((y + 1) * pitch + x + 1), up = at - (uint32_t)pitch;
    const uint32_t part = (uint32_t)(row_of(model, y, x % 2) + x / 2);
    const uint32_t top = y ? up : x ? at - 1 : 0, left = x ? at - 1 : top;
    const Step step = {at, part, left, top, y && x ? up - 1 : top, y && x + 1 < model->width ? up + 1 : top};
    return step;
}

/* The steps, or else only their places in parts, in the order of coding. */
static void wave_order(const Model *model, ptrdiff_t pitch, Step *steps, uint32_t *order) {
    const ptrdiff_t width = model->width;
    ptrdiff_t count = 0;
    for (ptrdiff_t first = 0; first < model->height; first += ROWS)
        for (ptrdiff_t time = 0; time < width + 2 * (ROWS - 1); time++)
            for (ptrdiff_t y = first; y < first + ROWS && y < model->height; y++) {
                const ptrdiff_t x = time - 2 * (y - first);
                if (x < 0 || x >= width) continue;
                if (steps)
                    steps[count++] = step_of(model, pitch, y, x);
                else
                    order[count++] = (uint32_t)(row_of(model, y, x % 2) + x / 2);
            }
}

/* Room, when it is first needed; 0 without memory. */
static int wave_init(Wave *wave, const Model *model) {
    if (wave->memory) return 1;
    const size_t rows = (size_t)((model->height + 1) * (model->width + 2)), parts = (size_t)model->size;
    uint8_t *memory = calloc(parts * (sizeof(Step) + 4) + rows * (2 + 1), 1);
    wave->memory = memory;
    if (!memory) return 0;
    wave->steps = (Step *)memory;
    wave->known = (int32_t *)(wave->steps + parts);
    wave->symbols = (int16_t *)(wave->known + parts);
    wave->mag = (uint8_t *)(wave->symbols + rows);
    wave->pitch = model->width + 2;
    wave_order(model, wave->pitch, wave->steps, NULL);
    return 1;
}

VECTOR static void known_of(const uint16_t *restrict fast, const uint16_t *restrict slow, const uint16_t *restrict around,
                            ptrdiff_t size, int32_t w_fast, int32_t w_slow, int32_t w_around, int32_t one,
                            int32_t *restrict known) {
    for (ptrdiff_t i = 0; i < size; i++) known[i] = w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one;
}

/* Turns to the model's channel, with entries by context. */
static void wave_channel(Wave *wave, const Model *model, const Entry *const *entries) {
    const uint8_t *w = model->ctx_w;
    const int8_t *mean_w = model->mean_w;
    wave->w_left = mean_w[0];
    wave->w_top = mean_w[1];
    wave->w_top_left = mean_w[2];
    wave->w_top_right = mean_w[3];
    for (int i = 0; i < HALVES; i++) wave->entries[i] = entries[context_in(FIRST_HALF + i)];
    wave->straight = 16 * w[0];
    wave->diagonal = 16 * w[1];
    known_of(model->fast, model->slow, model->around, model->size, w[2], w[3], w[4], 16 * w[5], wave->known);
}

/* Which of its entries a step has. An activity of 0 counts as 1, which has the same context. */
static inline int32_t wave_half(const Wave *wave, const Step *step) {
    const uint8_t *here = wave->mag + step->at, *above = here - wave->pitch;
    const int32_t activity = wave->known[step->part] + wave->straight * (here[-1] + above[0]) +
                             wave->diagonal * (above[-1] + above[1]);
    return half_octave(activity | 1) - FIRST_HALF;
}

/* The prediction that neighbours make, from their sum by weights in 1/64. */
static inline int32_t mean_of(int32_t sum) {
    const int32_t mean = (sum + 32) >> 6;
    return mean < -MAX_SYMBOL ? -MAX_SYMBOL : mean > MAX_SYMBOL ? MAX_SYMBOL : mean;
}

static inline int32_t wave_predict(const Wave *wave, const Step *step) {
    const int16_t *symbols = wave->symbols;
    return mean_of(wave->w_left * symbols[step->left] + wave->w_top * symbols[step->top] +
                   wave->w_top_left * symbols[step->top_left] + wave->w_top_right * symbols[step->top_right]);
}

/* Notes a symbol and the magnitude of its residual, by part, too. */
static inline void wave_note(const Wave *wave, const Step *step, int32_t symbol, int32_t size, int16_t *symbols, uint8_t *mag) {
    wave->symbols[step->at] = symbols[step->part] = (int16_t)symbol;
    wave->mag[step->at] = mag[step->part] = (uint8_t)size;
}

#endif
