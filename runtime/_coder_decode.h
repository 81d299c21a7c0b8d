/* Decoding: a stream to symbols or to a latent. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_DECODE_H
#define EDGEPRESS_CODER_DECODE_H

#include "_coder_model.h"

#define MAX_PREFIX 9
#define SPARSE 6 /* a plane with at most one in so many symbols that is not zero */

#define TOO_SHORT "the compressed data ends too early"
#define BAD_LENGTH "the compressed data has an impossible length"
#define BAD_NUMBER "the compressed data holds an impossible number"
#define BAD_SYMBOL "the compressed data holds a symbol out of range"
#define BAD_END "the compressed data does not end where it should"
#define NO_MEMORY "out of memory"

typedef struct {
    const uint8_t *next, *end;
    uint32_t state[2];
    int both; /* whether the second state still is in use, see _coder_encode.h */
    int sparse; /* whether the last plane was */
    const char *error;
} Decoder;

static inline uint32_t word_at(const uint8_t *data) { return data[0] | (uint32_t)data[1] << 8; }

/* Brings the state whose turn it is back into its range. */
static void refill(Decoder *d, int turn) {
    const uint32_t state = d->state[turn];
    if (state >= STATE_START) return;
    if (d->next != d->end) {
        d->state[turn] = state << 16 | word_at(d->next);
        d->next += 2;
    } else if (d->both && d->state[!turn] >> 16 == 1) { /* the other one was begun with a word of this one */
        d->state[0] = state << 16 | (d->state[!turn] & 0xFFFF);
        d->both = 0;
    } else {
        d->state[turn] = STATE_START;
        d->error = TOO_SHORT;
    }
}

static int decode_bit(Decoder *d, uint32_t one) {
    const uint32_t state = d->state[0], slot = state & (PROB_SCALE - 1);
    const int bit = slot < one;
    d->state[0] = bit ? one * (state >> PROB_BITS) + slot : (PROB_SCALE - one) * (state >> PROB_BITS) + slot - one;
    refill(d, 0);
    return bit;
}

static int raw_bit(Decoder *d) { return !decode_bit(d, PROB_SCALE / 2); }

/* The residual after an escape symbol; nothing sensible once there is an error. */
static int32_t decode_escape(Decoder *d, int32_t radius) {
    int zeros = 0;
    while (!d->error && !raw_bit(d))
        if (++zeros > MAX_PREFIX) d->error = BAD_NUMBER;
    int32_t number = 1;
    while (!d->error && zeros-- > 0) number = number << 1 | raw_bit(d);
    return raw_bit(d) ? -(radius + number) : radius + number;
}

/* Takes a symbol out of a state, which may be too small then; returns its place in the entry. Where most symbols are zero, `sparse`, a
 * processor that foresees them has no need to wait for the tables. */
static inline uint32_t take_symbol(const Entry *entry, uint32_t *state, int sparse) {
    const uint32_t slot = *state & (PROB_SCALE - 1), beyond = slot - entry->zero_start;
    if (sparse && beyond < entry->zero_freq) {
        *state = entry->zero_freq * (*state >> PROB_BITS) + beyond;
        return (uint32_t)entry->radius;
    }
    uint32_t place = entry->first[slot >> SLOT_BITS], span = entry->spans[place];
    while (slot - (span & 0xFFFF) >= span >> 16) span = entry->spans[++place]; /* hardly ever */
    *state = (span >> 16) * (*state >> PROB_BITS) + slot - (span & 0xFFFF);
    return place;
}

/* ---- planes ---- */

/* Room for one plane. */
typedef struct {
    int16_t *plane;
    uint32_t *escaped; /* where in the plane */
    Rows rows;
} Work;

static int work_init(Work *work, const Model *model) {
    const size_t size = (size_t)model->size + 2;
    work->plane = calloc(size, sizeof *work->plane);
    work->escaped = calloc(size, sizeof *work->escaped);
    return work->plane && work->escaped && rows_init(&work->rows, model->width);
}

static void work_free(Work *work) {
    free(work->plane);
    free(work->escaped);
    free(work->rows.memory);
}

/* Notes a symbol; an escape, whose residual comes later, counts as the next larger one until then. */
static inline size_t note(const Entry *entry, uint32_t place, uint32_t i, int16_t *plane, uint8_t *mag, uint32_t *escaped,
                          size_t escapes) {
    const int32_t residual = (int32_t)place - entry->radius;
    plane[i] = (int16_t)residual;
    mag[i] = (uint8_t)(residual < 0 ? -residual : residual);
    escaped[escapes] = i;
    return escapes + (residual > entry->radius);
}

/* Where a loop over pairs of symbols stands. */
typedef struct {
    uint32_t a, b; /* the states */
    const uint8_t *next;
    ptrdiff_t k;
    size_t escapes;
} Pairs;

/* Takes pairs of symbols as long as there are words enough. */
static inline Pairs take_pairs(Pairs p, int sparse, ptrdiff_t end, const uint8_t *last, const uint32_t *restrict at,
                               const uint8_t *restrict contexts, const Entry *const *restrict entries,
                               int16_t *restrict plane, uint8_t *restrict mag, uint32_t *restrict escaped) {
    for (; p.k + 2 <= end && p.next <= last; p.k += 2) {
        const uint32_t i = at[p.k], j = at[p.k + 1];
        const Entry *first = entries[contexts[i]], *second = entries[contexts[j]];
        p.escapes = note(first, take_symbol(first, &p.a, sparse), i, plane, mag, escaped, p.escapes);
        p.escapes = note(second, take_symbol(second, &p.b, sparse), j, plane, mag, escaped, p.escapes);
        const uint32_t with_a = p.a << 16 | word_at(p.next);
        p.next += 2 * (p.a < STATE_START);
        p.a = p.a < STATE_START ? with_a : p.a;
        const uint32_t with_b = p.b << 16 | word_at(p.next);
        p.next += 2 * (p.b < STATE_START);
        p.b = p.b < STATE_START ? with_b : p.b;
    }
    return p;
}

/* Functions of their own, so that all that their loops need is in registers. */
static __attribute__((noinline)) Pairs take_many(Pairs p, ptrdiff_t end, const uint8_t *last, const Model *m,
                                                 const Entry *const *entries, const Work *work) {
    return take_pairs(p, 0, end, last, m->at, m->contexts, entries, work->plane, m->mag, work->escaped);
}

static __attribute__((noinline)) Pairs take_few(Pairs p, ptrdiff_t end, const uint8_t *last, const Model *m,
                                                const Entry *const *entries, const Work *work) {
    return take_pairs(p, 1, end, last, m->at, m->contexts, entries, work->plane, m->mag, work->escaped);
}

static void decode_pass(Decoder *d, Model *model, int pass, const Entry *const *entries, const Work *work) {
    const uint8_t *contexts = model->contexts;
    const ptrdiff_t end = model->ends[pass];
    ptrdiff_t k = pass ? model->ends[pass - 1] : 0;
    size_t escapes = 0;
    model_contexts(model, pass);
    while (k < end && !d->error) {
        if (d->both && k % 2 == 0 && k + 2 <= end && d->end - d->next >= 4) {
            const Pairs begin = {d->state[0], d->state[1], d->next, k, escapes};
            const Pairs p = (d->sparse ? take_few : take_many)(begin, end, d->end - 4, model, entries, work);
            d->state[0] = p.a;
            d->state[1] = p.b;
            d->next = p.next;
            k = p.k;
            escapes = p.escapes;
            continue;
        }
        const int turn = d->both ? (int)(k % 2) : 0;
        const uint32_t i = model->at[k++];
        const Entry *entry = entries[contexts[i]];
        escapes = note(entry, take_symbol(entry, &d->state[turn], 0), i, work->plane, model->mag, work->escaped, escapes);
        refill(d, turn);
    }
    for (size_t j = 0; j < escapes && !d->error; j++) {
        const uint32_t i = work->escaped[j];
        const int32_t residual = decode_escape(d, entries[contexts[i]]->radius);
        const int32_t magnitude = residual < 0 ? -residual : residual;
        if (magnitude > MAX_SYMBOL && !d->error) d->error = BAD_SYMBOL;
        work->plane[i] = (int16_t)residual;
        model->mag[i] = (uint8_t)magnitude;
    }
}

/* A plane with a prediction. */
static void decode_predicted(Decoder *d, Model *model, const Entry *const *entries, Work *work) {
    const int32_t straight = 16 * model->ctx_w[0];
    Rows *rows = &work->rows;
    for (ptrdiff_t y = 0; y < model->height; y++) {
        const int32_t weight = left_weight(model, y);
        rows_turn(rows, model, y);
        int32_t left = y ? rows->symbols_above[0] : 0, magnitude = 0;
        for (ptrdiff_t x = 0; x < model->width && !d->error; x++) {
            const Entry *entry = entries[context_of(rows->known[x] + straight * magnitude)];
            int32_t residual = (int32_t)take_symbol(entry, &d->state[0], 0) - entry->radius;
            refill(d, 0);
            if (residual > entry->radius) residual = decode_escape(d, entry->radius);
            left = predict(weight, left, rows->predicted[x]) + residual;
            if ((left < -MAX_SYMBOL || left > MAX_SYMBOL) && !d->error) d->error = BAD_SYMBOL;
            magnitude = residual < 0 ? -residual : residual;
            magnitude = magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude;
            rows->mag[x] = (uint8_t)magnitude;
            rows->symbols[x] = (int16_t)left;
        }
        PLACE(model->mag, rows->mag, y, model);
        PLACE(work->plane, rows->symbols, y, model);
    }
}

VECTOR static ptrdiff_t count_nonzero(const uint8_t *restrict mag, ptrdiff_t size) {
    ptrdiff_t total = 0;
    for (ptrdiff_t i = 0; i < size; i += 128) { /* sums of bytes */
        uint8_t some = 0;
        for (ptrdiff_t k = i; k < i + 128 && k < size; k++) some = (uint8_t)(some + (mag[k] != 0));
        total += some;
    }
    return total;
}

static void decode_plane(Decoder *d, Model *model, const Plan *plan, int channel, Work *work) {
    const Entry *entries[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) entries[i] = &plan->entries[plan->table_of[CONTEXTS * channel + i]];
    model_channel(model, plan, channel);
    memset(model->mag, 0, (size_t)model->size); /* of the last plane; what a pass does not know yet counts as zero */
    if (model->predicted)
        decode_predicted(d, model, entries, work);
    else
        for (int pass = 0; pass < PASSES && !d->error; pass++) decode_pass(d, model, pass, entries, work);
    d->sparse = SPARSE * count_nonzero(model->mag, model->size) < model->height * model->width;
}

/* ---- what becomes of them ---- */

/* Symbols [channels][positions], or, where `latent` is not NULL, values [positions][channels]. */
typedef struct {
    int16_t *symbols; /* all zero before */
    int8_t *latent, *planes; /* the latent, and room for it as maps, of `stride` values each */
    uint8_t *used;           /* by channel, whether its map holds anything but zeros */
    ptrdiff_t stride;
    const uint16_t *steps;
    const int8_t *recon;
    int zero_point;
} Sink;

/* The values of a plane. (255 * 128 + 128) * 65535 + 1024 just fits. */
VECTOR static void values_of(const int16_t *restrict symbols, ptrdiff_t size, int32_t step16, int32_t one, int32_t more,
                             int32_t zero_point, int8_t *restrict values) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t symbol = symbols[i], magnitude = symbol < 0 ? -symbol : symbol;
        const int32_t clipped = magnitude < MAX_SYMBOL ? magnitude : MAX_SYMBOL;
        const int32_t shift = magnitude == 1 ? one : magnitude ? more : 0;
        const int32_t value = ((clipped * 128 - shift) * step16 + 1024) >> 11;
        const int32_t v = zero_point + (symbol < 0 ? -value : value);
        values[i] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
    }
}

static void sink_values(const Sink *sink, ptrdiff_t channel, const int16_t *symbols, ptrdiff_t size) {
    values_of(symbols, size, sink->steps[channel], sink->recon[2 * channel], sink->recon[2 * channel + 1], sink->zero_point,
              sink->planes + channel * sink->stride);
}

/* The maps become the latent, which is all zero point before. */
VECTOR static void to_latent(const Sink *sink, ptrdiff_t channels, const Model *model) {
    const ptrdiff_t width = model->width;
    for (ptrdiff_t c = 0; c < channels; c += 8) {
        const ptrdiff_t deep = channels - c < 8 ? channels - c : 8;
        uint64_t any = 0;
        memcpy(&any, sink->used + c, (size_t)deep);
        if (!any) continue;
        for (ptrdiff_t y = 0; y < model->height; y++)
            for (ptrdiff_t x = 0; x < width; x += 8) {
                const ptrdiff_t wide = width - x < 8 ? width - x : 8;
                const int8_t *even = sink->planes + c * sink->stride + row_of(model, y, 0) + x / 2;
                const int8_t *odd = sink->planes + c * sink->stride + row_of(model, y, 1) + x / 2;
                int8_t *out = sink->latent + (y * width + x) * channels + c;
                uint64_t tile[8] = {0};
                for (ptrdiff_t d = 0; d < deep; d++) { /* maps have room for four */
                    uint8_t both[8];
                    memcpy(both, even + d * sink->stride, 4);
                    memcpy(both + 4, odd + d * sink->stride, 4);
                    memcpy(&tile[d], both, 8);
                }
                transpose_8x8(tile);
                for (int i = 0; i < 8; i++)
                    if (TILE_ORDER[i] < wide) memcpy(out + TILE_ORDER[i] * channels, &tile[i], (size_t)deep);
            }
    }
}

static void deliver(const Model *model, const Work *work, int channel, const Sink *sink) {
    if (sink->latent) {
        sink->used[channel] = 1;
        sink_values(sink, channel, work->plane, model->size);
        return;
    }
    int16_t *out = sink->symbols + channel * model->height * model->width;
    for (ptrdiff_t y = 0; y < model->height; y++)
        for (ptrdiff_t x = 0; x < model->width; x++) *out++ = work->plane[row_of(model, y, x % 2) + x / 2];
}

static const char *decode_all(const Plan *plan, const uint8_t *data, ptrdiff_t size, Model *model, Work *work,
                              const Sink *sink) {
    if (size < 4 || size % 2 || size == 6) return BAD_LENGTH;
    const int both = size > 4;
    Decoder d = {data + (both ? 8 : 4), data + size, {0, 0}, both, 1, NULL};
    for (int turn = 0; turn <= both; turn++) d.state[turn] = word_at(data + 4 * turn) | word_at(data + 4 * turn + 2) << 16;
    for (ptrdiff_t i = 0; i < plan->channels && !d.error; i++) {
        const int channel = plan->order[i], flag = decode_bit(&d, flag_one(model));
        flag_update(model, flag);
        if (flag) {
            decode_plane(&d, model, plan, channel, work);
            deliver(model, work, channel, sink);
        }
        model_update(model, flag);
    }
    if (d.error) return d.error;
    if (d.state[0] != STATE_START || d.both || d.next != d.end) return BAD_END;
    if (sink->latent) to_latent(sink, plan->channels, model);
    return NULL;
}

#endif
