/* The context model: contexts.py in C, over whole planes or rows at a time. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_MODEL_H
#define EDGEPRESS_CODER_MODEL_H

#include "_coder_plan.h"

#define BLOCK 16 /* positions that loops may go on beyond the end of a row or plane */

/* Loops over arrays, for the vector units that the processor turns out to have. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR __attribute__((noinline, target_clones("avx2", "default")))
#else
#define VECTOR __attribute__((noinline))
#endif

/* Maps have a column of zeros more than the plane, which is the left and the right border of its rows. */
typedef struct {
    ptrdiff_t height, width, pitch, size; /* size: of a map, rounded up to whole blocks */
    uint16_t *fast, *slow;                /* running averages of magnitudes, below 2^14 and 2^16 */
    uint16_t *around;                     /* the mean of `slow` at the four neighbours */
    uint8_t *mag;                         /* magnitudes of the plane */
    uint8_t *edge;                        /* how many of the four neighbours of a position are outside */
    uint8_t *contexts;                    /* of the positions of a pass */
    uint32_t *at;                         /* all positions, in the order of the passes */
    ptrdiff_t ends[PASSES];               /* of the passes in `at` */
    void *memory;
    const int8_t *mean_w; /* of the channel */
    const uint8_t *ctx_w;
    int predicted;
    uint32_t flag_ones[4], flag_context;
} Model;

/* The 8x8 bytes in eight words of eight, rows for columns (Warren: Hacker's Delight, 2012, 7-3). */
static inline void transpose_8x8(uint64_t *rows) {
    static const uint64_t masks[3] = {0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF};
    for (int level = 0; level < 3; level++) {
        const int apart = 1 << level, shift = 8 << level;
        for (int i = 0; i < 8; i++) {
            if (i & apart) continue;
            const uint64_t swapped = (rows[i] >> shift ^ rows[i + apart]) & masks[level];
            rows[i] ^= swapped << shift;
            rows[i + apart] ^= swapped;
        }
    }
}

static void model_free(Model *model) { free(model->memory); }

/* Pass 0 has the positions of even rows and columns, pass 1 those of odd rows and columns, pass 2 the rest. */
static void model_passes(Model *model) {
    const ptrdiff_t height = model->height, width = model->width;
    uint32_t *out = model->at;
    for (int pass = 0; pass < PASSES; pass++) {
        for (ptrdiff_t y = pass == 1; y < height; y += pass < 2 ? 2 : 1)
            for (ptrdiff_t x = pass < 2 ? pass : (y + 1) % 2; x < width; x += 2) *out++ = (uint32_t)(y * model->pitch + x);
        model->ends[pass] = out - model->at;
    }
}

static int model_init(Model *model, ptrdiff_t height, ptrdiff_t width) {
    const ptrdiff_t pitch = width + 1, size = (height * pitch + BLOCK - 1) / BLOCK * BLOCK;
    const ptrdiff_t border = (pitch + 1 + BLOCK - 1) / BLOCK * BLOCK, padded = size + 2 * border + BLOCK;
    memset(model, 0, sizeof *model);
    model->height = height;
    model->width = width;
    model->pitch = pitch;
    model->size = size;
    for (int i = 0; i < 4; i++) model->flag_ones[i] = 2048;
    uint8_t *memory = padded < UINT32_MAX ? calloc((size_t)padded, 4 + 2 + 2 + 2 + 1 + 1 + 1) : NULL;
    model->memory = memory;
    if (!memory) return 0;
    model->at = (uint32_t *)memory;
    model->fast = (uint16_t *)(memory + 4 * padded);
    model->around = (uint16_t *)(memory + 6 * padded);
    model->slow = (uint16_t *)(memory + 8 * padded) + border;
    model->mag = memory + 10 * padded + border;
    model->edge = memory + 11 * padded;
    model->contexts = memory + 12 * padded;
    for (ptrdiff_t y = 0; y < height; y++) {
        model->edge[y * pitch]++;
        model->edge[y * pitch + width - 1]++;
    }
    for (ptrdiff_t x = 0; x < width; x++) {
        model->edge[x]++;
        model->edge[(height - 1) * pitch + x]++;
    }
    model_passes(model);
    return 1;
}

VECTOR static void mean_around(const uint16_t *restrict slow, const uint8_t *restrict edge, uint16_t *restrict around,
                               ptrdiff_t size, ptrdiff_t pitch) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const uint32_t straight = (uint32_t)slow[i - 1] + slow[i + 1] + slow[i - pitch] + slow[i + pitch];
        around[i] = (uint16_t)((straight + (uint32_t)edge[i] * slow[i]) >> 2);
    }
}

/* Turns to a channel, whose plane is not all zero. */
static void model_channel(Model *model, const Plan *plan, int channel) {
    model->mean_w = plan->mean_w + 4 * channel;
    model->ctx_w = plan->ctx_w + PASSES * WEIGHTS * channel;
    model->predicted = model->mean_w[0] || model->mean_w[1] || model->mean_w[2] || model->mean_w[3];
    mean_around(model->slow, model->edge, model->around, model->size, model->pitch);
}

static uint32_t flag_one(const Model *model) { return model->flag_ones[model->flag_context] << 2; }

static void flag_update(Model *model, int flag) {
    uint32_t *p = &model->flag_ones[model->flag_context];
    *p = flag ? *p + ((4096 - *p) >> 4) : *p - (*p >> 4);
    *p = *p < 32 ? 32 : *p > 4064 ? 4064 : *p;
    model->flag_context = (model->flag_context << 1 | (uint32_t)flag) & 3;
}

/* The context of 16 * activity: two per octave from 64 on, which are exponent and upper bit of it as a float. */
static inline int32_t context_of(int32_t activity) {
    const float number = (float)activity;
    int32_t bits;
    memcpy(&bits, &number, 4);
    const int32_t bucket = (bits >> 22) - 265;
    return bucket < 0 ? 0 : bucket < CONTEXTS - 1 ? bucket : CONTEXTS - 1;
}

/* The part of 16 * activity that the planes before have told. */
static inline int32_t known_of(const Model *model, const uint8_t *w, ptrdiff_t i) {
    return w[2] * model->fast[i] + w[3] * model->slow[i] + w[4] * model->around[i] + 16 * w[5];
}

VECTOR static void contexts_alone(const uint16_t *restrict fast, const uint16_t *restrict slow,
                                  const uint16_t *restrict around, ptrdiff_t size, int32_t w_fast, int32_t w_slow,
                                  int32_t w_around, int32_t one, uint8_t *restrict contexts) {
    for (ptrdiff_t i = 0; i < size; i++)
        contexts[i] = (uint8_t)context_of(w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one);
}

/* The same with the magnitudes at distances of a, b and their opposites. */
VECTOR static void contexts_beside(const uint16_t *restrict fast, const uint16_t *restrict slow,
                                   const uint16_t *restrict around, ptrdiff_t size, int32_t w_fast, int32_t w_slow,
                                   int32_t w_around, int32_t one, const uint8_t *restrict mag, ptrdiff_t a, ptrdiff_t b,
                                   int32_t w_beside, uint8_t *restrict contexts) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t beside = mag[i - a] + mag[i + a] + mag[i - b] + mag[i + b];
        const int32_t known = w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one;
        contexts[i] = (uint8_t)context_of(known + w_beside * beside);
    }
}

/* Contexts for a pass, wherever in the plane; the passes before it are coded. */
static void model_contexts(Model *m, int pass) {
    const uint8_t *w = m->ctx_w + WEIGHTS * pass;
    if (pass == 0)
        contexts_alone(m->fast, m->slow, m->around, m->size, w[2], w[3], w[4], 16 * w[5], m->contexts);
    else if (pass == 1)
        contexts_beside(m->fast, m->slow, m->around, m->size, w[2], w[3], w[4], 16 * w[5], m->mag, m->pitch + 1,
                        m->pitch - 1, 16 * w[1], m->contexts);
    else
        contexts_beside(m->fast, m->slow, m->around, m->size, w[2], w[3], w[4], 16 * w[5], m->mag, m->pitch, 1, 16 * w[0],
                        m->contexts);
}

VECTOR static void update_coded(uint16_t *restrict fast, uint16_t *restrict slow, const uint8_t *restrict mag,
                                ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const uint16_t more = (uint16_t)(mag[i] << 4);
        fast[i] = (uint16_t)(fast[i] - (fast[i] >> 2) + more);
        slow[i] = (uint16_t)(slow[i] - (slow[i] >> 4) + more);
    }
}

VECTOR static void update_zero(uint16_t *restrict fast, uint16_t *restrict slow, ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < size; i++) {
        fast[i] = (uint16_t)(fast[i] - (fast[i] >> 2));
        slow[i] = (uint16_t)(slow[i] - (slow[i] >> 4));
    }
}

static void model_update(Model *model, int coded) {
    if (coded)
        update_coded(model->fast, model->slow, model->mag, model->size);
    else
        update_zero(model->fast, model->slow, model->size);
}

/* ---- channels with a prediction, few of learned latents, are coded row by row ---- */

/* 16 * activity at row y without the left neighbour. */
static void known_row(const Model *model, ptrdiff_t y, int32_t *restrict known) {
    const uint8_t *w = model->ctx_w, *top = model->mag + (y - 1) * model->pitch;
    for (ptrdiff_t x = 0; x < model->width; x++)
        known[x] = known_of(model, w, y * model->pitch + x) + 16 * (w[0] * top[x] + w[1] * (top[x - 1] + top[x + 1]));
}

/* The part of the predictions of row y that the row above gives; planes are [height][pitch]. */
static void predict_above(const Model *model, const int16_t *restrict row, ptrdiff_t y, int32_t *restrict above) {
    const ptrdiff_t width = model->width, last = width - 1;
    if (y == 0) {
        for (ptrdiff_t x = 0; x < width; x++) above[x] = 32;
        return;
    }
    const int16_t *restrict before = row - model->pitch;
    const int32_t t = model->mean_w[1], tl = model->mean_w[2], tr = model->mean_w[3];
    above[0] = (t + tl) * before[0] + tr * before[width > 1] + 32;
    for (ptrdiff_t x = 1; x < last; x++) above[x] = t * before[x] + tl * before[x - 1] + tr * before[x + 1] + 32;
    if (last) above[last] = (t + tr) * before[last] + tl * before[last - 1] + 32;
}

/* In the first row the left neighbour stands for the top ones, too. */
static int32_t left_weight(const Model *model, ptrdiff_t y) {
    const int8_t *w = model->mean_w;
    return y ? w[0] : w[0] + w[1] + w[2] + w[3];
}

static inline int32_t predict(int32_t weight, int32_t left, int32_t above) {
    const int32_t mean = (weight * left + above) >> 6;
    return mean < -MAX_SYMBOL ? -MAX_SYMBOL : mean > MAX_SYMBOL ? MAX_SYMBOL : mean;
}

#endif
