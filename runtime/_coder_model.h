/* The context model: contexts.py in C, over whole planes or rows at a time. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_MODEL_H
#define EDGEPRESS_CODER_MODEL_H

#include "_coder_contexts.h"

/* Positions that loops may go on beyond the end of a row or plane. A part is a multiple of that: of fewer, wide vectors would leave
 * an end to be done one by one. */
#define BLOCK 32

/* Values between planes: powers of two would have all planes in the same lines of the cache. */
#define BETWEEN 192

/* A map has its positions in four parts, by even and odd rows and columns: 0 (even, even), 1 (odd, odd), 2 (even, odd), 3 (odd, even). So
 * those of a pass lie side by side, and so do their neighbours. A part has a row and a column of zeros more than it needs, which are
 * the border of its rows and of the parts beside it. */
#define PARTS 4

/* Positions side by side that a pass has of a row. */
typedef struct {
    uint32_t from, count;
} Row;

typedef struct {
    ptrdiff_t height, width, pitch, part, size; /* pitch: of the rows of a part; part: the size of one; size: of a map */
    uint16_t *fast, *slow;                      /* running averages of magnitudes, below 2^14 and 2^16 */
    uint16_t slow_bound;                        /* none of `slow` is above it */
    uint16_t *around;                           /* the mean of `slow` at the four neighbours */
    uint8_t *mag;                               /* magnitudes of the plane */
    uint8_t *edge;                              /* how many of the four neighbours of a position are outside */
    uint8_t *contexts;                          /* of the positions of a pass, or of all */
    Row *rows;                                  /* 2 * height of them, in the order of the passes */
    uint32_t *at;                               /* all positions, in the same order */
    ptrdiff_t ends[PASSES];                     /* of the passes in `at` */
    ptrdiff_t straight[PARTS][4], diagonal[4];  /* how far away neighbours are, by part; diagonal ones from part 1 */
    void *memory;
    const int8_t *mean_w; /* of the channel */
    const uint8_t *ctx_w;
    int predicted;
    uint32_t flag_ones[4], flag_context;
} Model;

/* Where the even, or the odd, columns of a row are; column x is x / 2 positions further. */
static inline ptrdiff_t row_of(const Model *model, ptrdiff_t y, ptrdiff_t odd) {
    const ptrdiff_t below = y % 2, part = below == odd ? below : 2 + below;
    return part * model->part + y / 2 * model->pitch;
}

/* Where the rows of a pass begin, and behind the last one those of all end. */
static inline const Row *rows_of(const Model *model, int pass) {
    const ptrdiff_t before[PASSES + 1] = {0, (model->height + 1) / 2, model->height, 2 * model->height};
    return model->rows + before[pass];
}

static void model_free(Model *model) { free(model->memory); }

/* Pass 0 has part 0, pass 1 part 1, and pass 2 the others, row by row. */
static void model_passes(Model *model) {
    const ptrdiff_t height = model->height, width = model->width;
    uint32_t *out = model->at;
    Row *row = model->rows;
    for (int pass = 0; pass < PASSES; pass++) {
        for (ptrdiff_t y = pass == 1; y < height; y += pass < 2 ? 2 : 1, row++) {
            const ptrdiff_t odd = pass < 2 ? pass : (y + 1) % 2;
            row->from = (uint32_t)row_of(model, y, odd);
            row->count = (uint32_t)(width + 1 - odd) / 2;
            for (uint32_t x = 0; x < row->count; x++) *out++ = row->from + x;
        }
        model->ends[pass] = out - model->at;
    }
}

/* The neighbours to the left, right, above and below. */
static void model_neighbours(Model *model) {
    static const int8_t where[PARTS][4][3] = {/* part, rows, columns */
                                              {{2, 0, -1}, {2, 0, 0}, {3, -1, 0}, {3, 0, 0}},
                                              {{3, 0, 0}, {3, 0, 1}, {2, 0, 0}, {2, 1, 0}},
                                              {{0, 0, 0}, {0, 0, 1}, {1, -1, 0}, {1, 0, 0}},
                                              {{1, 0, -1}, {1, 0, 0}, {0, 0, 0}, {0, 1, 0}}};
    for (int part = 0; part < PARTS; part++)
        for (int i = 0; i < 4; i++) {
            const int8_t *to = where[part][i];
            model->straight[part][i] = (to[0] - part) * model->part + to[1] * model->pitch + to[2];
        }
    for (int i = 0; i < 4; i++) model->diagonal[i] = -model->part + i / 2 * model->pitch + i % 2;
}

static int model_init(Model *model, ptrdiff_t height, ptrdiff_t width) {
    const ptrdiff_t rows = (height + 1) / 2, pitch = (width + 1) / 2 + 1;
    const ptrdiff_t border = pitch > TILE / 2 ? pitch : TILE / 2; /* as tiles may go beyond the last row */
    const ptrdiff_t part = (rows * pitch + border + BLOCK - 1) / BLOCK * BLOCK, size = PARTS * part;
    const ptrdiff_t padded = (size + pitch + 2 * BLOCK) / BLOCK * BLOCK; /* some neighbours of the last border are further */
    memset(model, 0, sizeof *model);
    model->height = height;
    model->width = width;
    model->pitch = pitch;
    model->part = part;
    model->size = size;
    for (int i = 0; i < 4; i++) model->flag_ones[i] = 2048;
    const size_t rows_size = 2 * (size_t)height * sizeof *model->rows;
    model->memory = padded < UINT32_MAX ? calloc((size_t)padded * (4 + 2 + 2 + 2 + 1 + 1 + 1) + rows_size + LINE, 1) : NULL;
    if (!model->memory) return 0;
    uint8_t *memory = line_up(model->memory);
    model->at = (uint32_t *)memory;
    model->fast = (uint16_t *)(memory + 4 * padded);
    model->around = (uint16_t *)(memory + 6 * padded);
    model->slow = (uint16_t *)(memory + 8 * padded);
    model->mag = memory + 10 * padded;
    model->edge = memory + 11 * padded;
    model->contexts = memory + 12 * padded;
    model->rows = (Row *)(memory + 13 * padded);
    for (ptrdiff_t y = 0; y < height; y++)
        for (ptrdiff_t x = 0; x < width; x++)
            model->edge[row_of(model, y, x % 2) + x / 2] =
                (uint8_t)((x == 0) + (x == width - 1) + (y == 0) + (y == height - 1));
    model_passes(model);
    model_neighbours(model);
    return 1;
}

/* The mean of `slow` at the four neighbours; one outside is like the position itself. `Sum` has room for four of `slow`. */
#define MEAN_AROUND(name, Sum)                                                                                      \
    VECTOR static void name(const uint16_t *restrict slow, const uint8_t *restrict edge, uint16_t *restrict around, \
                            ptrdiff_t size, const ptrdiff_t straight[PARTS][4]) {                                   \
        for (int part = 0; part < PARTS; part++, slow += size, edge += size, around += size) {                      \
            const ptrdiff_t *to = straight[part];                                                                   \
            const uint16_t *restrict a = slow + to[0], *restrict b = slow + to[1], *restrict c = slow + to[2],      \
                           *restrict d = slow + to[3];                                                              \
            for (ptrdiff_t i = 0; i < size; i++) {                                                                  \
                const Sum sum = (Sum)((Sum)a[i] + b[i] + c[i] + d[i] + (Sum)edge[i] * slow[i]);                     \
                around[i] = (uint16_t)(sum >> 2);                                                                   \
            }                                                                                                       \
        }                                                                                                           \
    }
MEAN_AROUND(mean_around, uint32_t)
MEAN_AROUND(mean_around_narrow, uint16_t) /* enough for nearly all planes */

/* Turns to a channel, whose plane is not all zero. */
static void model_channel(Model *model, const Plan *plan, int channel) {
    model->mean_w = plan->mean_w + 4 * channel;
    model->ctx_w = plan->ctx_w + PASSES * WEIGHTS * channel;
    model->predicted = is_predicted(plan, channel);
    (model->slow_bound >> 14 ? mean_around : mean_around_narrow)(model->slow, model->edge, model->around, model->part,
                                                                model->straight);
}

static uint32_t flag_one(const Model *model) { return model->flag_ones[model->flag_context] << 2; }

static void flag_update(Model *model, int flag) {
    uint32_t *p = &model->flag_ones[model->flag_context];
    *p = flag ? *p + ((4096 - *p) >> 4) : *p - (*p >> 4);
    *p = *p < 32 ? 32 : *p > 4064 ? 4064 : *p;
    model->flag_context = (model->flag_context << 1 | (uint32_t)flag) & 3;
}

/* Contexts for a pass; the passes before it are coded. */
static void model_contexts(const Model *m, int pass) {
    const uint8_t *w = m->ctx_w + WEIGHTS * pass;
    const ptrdiff_t first = pass * m->part, end = first + (pass == 2 ? 2 : 1) * m->part;
    const int by_two = SUMS_OF_TWO && m->slow_bound >> 15 == 0;
    for (ptrdiff_t i = first, part = pass; i < end; i += m->part, part++) {
        const Activity given = {m->fast + i, m->slow + i, m->around + i, w[2], w[3], w[4], 16 * w[pass == 1], 16 * w[5]};
        const ptrdiff_t *to = pass == 0 ? NULL : pass == 1 ? m->diagonal : m->straight[part];
        if (by_two) {
            contexts_by_two(&given, m->part, m->mag + i, to, m->contexts + i);
        } else if (to) {
            contexts_beside(&given, m->part, m->mag + i, to, m->contexts + i);
        } else {
            contexts_alone(&given, m->part, m->contexts + i);
        }
    }
}

/* Returns the bits of all of `slow` together, which is a bound. */
VECTOR static uint16_t update_coded(uint16_t *restrict fast, uint16_t *restrict slow, const uint8_t *restrict mag,
                                    ptrdiff_t size) {
    uint16_t bits = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        const uint16_t more = (uint16_t)(mag[i] << 4);
        fast[i] = (uint16_t)(fast[i] - (fast[i] >> 2) + more);
        slow[i] = (uint16_t)(slow[i] - (slow[i] >> 4) + more);
        bits |= slow[i];
    }
    return bits;
}

VECTOR static void update_zero(uint16_t *restrict fast, uint16_t *restrict slow, ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < size; i++) {
        fast[i] = (uint16_t)(fast[i] - (fast[i] >> 2));
        slow[i] = (uint16_t)(slow[i] - (slow[i] >> 4));
    }
}

static void model_update(Model *model, int coded) {
    if (coded)
        model->slow_bound = update_coded(model->fast, model->slow, model->mag, model->size);
    else
        update_zero(model->fast, model->slow, model->size);
}

/* How many magnitudes are not zero. */
VECTOR static ptrdiff_t count_nonzero(const uint8_t *restrict mag, ptrdiff_t size) {
    const ptrdiff_t many = UINT16_MAX; /* that a small sum can count */
    ptrdiff_t total = 0;
    for (; size > 0; size -= many, mag += many) {
        const ptrdiff_t here = size < many ? size : many;
        uint16_t some = 0;
        for (ptrdiff_t i = 0; i < here; i++) some = (uint16_t)(some + (mag[i] != 0));
        total += some;
    }
    return total;
}

#endif
