/* Planes with a prediction as the encoder sees them, which knows all symbols before: whole maps at a time. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_PREDICT_H
#define EDGEPRESS_CODER_PREDICT_H

#include "_coder_wave.h"

/* A position that has not all of its neighbours, and what is in their place (contexts.py). */
typedef struct {
    uint32_t at, left, top, top_left, top_right;
} Border;

typedef struct {
    int16_t *symbols, *residuals; /* maps */
    int16_t *inside;              /* a map with all ones at positions, and zeros at its borders */
    uint32_t *order;              /* of coding */
    Border *borders;
    ptrdiff_t count;
    ptrdiff_t to[PARTS][4]; /* how far away the symbols to the left, above, and above to the left and right are, by part */
    void *memory;
} Preview;

static void preview_free(Preview *preview) { free(preview->memory); }

static uint32_t place_of(const Model *model, ptrdiff_t y, ptrdiff_t x) {
    return (uint32_t)(row_of(model, y, x % 2) + x / 2);
}

static void border_add(Preview *preview, const Model *model, ptrdiff_t y, ptrdiff_t x) {
    const uint32_t zero = (uint32_t)(model->pitch - 1); /* the border of the first row */
    const uint32_t top = y ? place_of(model, y - 1, x) : x ? place_of(model, y, x - 1) : zero;
    const Border border = {place_of(model, y, x), x ? place_of(model, y, x - 1) : top, top,
                           y && x ? place_of(model, y - 1, x - 1) : top,
                           y && x + 1 < model->width ? place_of(model, y - 1, x + 1) : top};
    preview->borders[preview->count++] = border;
}

static void preview_neighbours(Preview *preview, const Model *model) {
    static const int8_t where[PARTS][2][3] = {/* part, rows, columns */
                                              {{1, -1, -1}, {1, -1, 0}},
                                              {{0, 0, 0}, {0, 0, 1}},
                                              {{3, -1, 0}, {3, -1, 1}},
                                              {{2, 0, -1}, {2, 0, 0}}};
    for (int part = 0; part < PARTS; part++) {
        preview->to[part][0] = model->straight[part][0];
        preview->to[part][1] = model->straight[part][2];
        for (int i = 0; i < 2; i++) {
            const int8_t *to = where[part][i];
            preview->to[part][2 + i] = (to[0] - part) * model->part + to[1] * model->pitch + to[2];
        }
    }
}

/* Room, when it is first needed; 0 without memory. */
static int preview_init(Preview *preview, const Model *model) {
    if (preview->memory) return 1;
    const size_t size = (size_t)model->size, positions = (size_t)(model->height * model->width);
    const size_t borders = (size_t)(model->width + 2 * model->height);
    uint8_t *memory = calloc(borders * sizeof(Border) + positions * 4 + size * 3 * 2, 1);
    preview->memory = memory;
    if (!memory) return 0;
    preview->borders = (Border *)memory;
    preview->order = (uint32_t *)(preview->borders + borders);
    preview->symbols = (int16_t *)(preview->order + positions);
    preview->residuals = preview->symbols + size;
    preview->inside = preview->residuals + size;
    wave_order(model, 0, NULL, preview->order);
    for (size_t k = 0; k < positions; k++) preview->inside[preview->order[k]] = -1;
    for (ptrdiff_t x = 0; x < model->width; x++) border_add(preview, model, 0, x);
    for (ptrdiff_t y = 1; y < model->height; y++) {
        border_add(preview, model, y, 0);
        border_add(preview, model, y, model->width - 1);
    }
    preview_neighbours(preview, model);
    return 1;
}

static inline uint8_t magnitude_of(int32_t residual) {
    const int32_t size = residual < 0 ? -residual : residual;
    return (uint8_t)(size > MAX_SYMBOL ? MAX_SYMBOL : size);
}

/* Residuals and their magnitudes, as if all positions had all neighbours. */
VECTOR static void residuals_of(const int16_t *restrict symbols, const int16_t *restrict inside, ptrdiff_t size,
                                const ptrdiff_t (*to)[4], const int8_t *w, int16_t *restrict residuals, uint8_t *restrict mag) {
    const int32_t w_left = w[0], w_top = w[1], w_top_left = w[2], w_top_right = w[3];
    for (int part = 0; part < PARTS; part++, symbols += size, inside += size, residuals += size, mag += size, to++) {
        const int16_t *restrict left = symbols + (*to)[0], *restrict top = symbols + (*to)[1],
                      *restrict top_left = symbols + (*to)[2], *restrict top_right = symbols + (*to)[3];
        for (ptrdiff_t i = 0; i < size; i++) {
            const int32_t sum = w_left * left[i] + w_top * top[i] + w_top_left * top_left[i] + w_top_right * top_right[i];
            const int32_t residual = (symbols[i] - mean_of(sum)) & inside[i];
            residuals[i] = (int16_t)residual;
            mag[i] = magnitude_of(residual);
        }
    }
}

/* Puts right those that have not. */
static void residuals_at_borders(const Preview *preview, const int8_t *w, uint8_t *mag) {
    const int16_t *symbols = preview->symbols;
    for (ptrdiff_t i = 0; i < preview->count; i++) {
        const Border *b = &preview->borders[i];
        const int32_t sum = w[0] * symbols[b->left] + w[1] * symbols[b->top] + w[2] * symbols[b->top_left] +
                            w[3] * symbols[b->top_right];
        const int32_t residual = symbols[b->at] - mean_of(sum);
        preview->residuals[b->at] = (int16_t)residual;
        mag[b->at] = magnitude_of(residual);
    }
}

/* The contexts of a map whose magnitudes are there. */
VECTOR static void contexts_behind(const uint16_t *restrict fast, const uint16_t *restrict slow, const uint16_t *restrict around,
                                   const uint8_t *restrict mag, ptrdiff_t size, const ptrdiff_t (*to)[4], const uint8_t *w,
                                   uint8_t *restrict contexts) {
    const int32_t straight = 16 * w[0], diagonal = 16 * w[1], w_fast = w[2], w_slow = w[3], w_around = w[4], one = 16 * w[5];
    for (int part = 0; part < PARTS; part++, fast += size, slow += size, around += size, mag += size, contexts += size, to++) {
        const uint8_t *restrict left = mag + (*to)[0], *restrict top = mag + (*to)[1], *restrict top_left = mag + (*to)[2],
                      *restrict top_right = mag + (*to)[3];
        for (ptrdiff_t i = 0; i < size; i++) {
            const int32_t known = w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one;
            contexts[i] =
                (uint8_t)context_of(known + straight * (left[i] + top[i]) + diagonal * (top_left[i] + top_right[i]));
        }
    }
}

/* Their codes; returns whether any of the residuals escapes. */
VECTOR static int codes_of(const Price *restrict prices, const int16_t *restrict residuals, ptrdiff_t size,
                           uint16_t *restrict codes) {
    uint16_t escapes = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        const int16_t residual = residuals[i], radius = (int16_t)radius_of(prices[i]);
        const uint16_t escape = (residual < 0 ? -residual : residual) > radius;
        escapes |= escape;
        codes[i] = (uint16_t)(prices[i].zero + (escape ? radius + 1 : residual));
    }
    return escapes;
}

#endif
