/* Decoding: a stream to symbols or to a latent. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_DECODE_H
#define EDGEPRESS_CODER_DECODE_H

#include "_coder_model.h"

#define MAX_PREFIX 9

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

/* Takes a symbol out of a state, which may be too small then; returns its place in the entry. */
static inline uint32_t take_symbol(const Entry *entry, uint32_t *state) {
    const uint32_t slot = *state & (PROB_SCALE - 1);
    uint32_t place = entry->first[slot >> SLOT_BITS], span = entry->spans[place];
    while (slot - (span & 0xFFFF) >= span >> 16) span = entry->spans[++place]; /* hardly ever */
    *state = (span >> 16) * (*state >> PROB_BITS) + slot - (span & 0xFFFF);
    return place;
}

/* ---- planes ---- */

/* Room for one plane. */
typedef struct {
    int16_t *plane;    /* [height][pitch] */
    uint32_t *escaped; /* where in the plane */
    int32_t *row[2];
    void *memory;
} Work;

static int work_init(Work *work, const Model *model) {
    const size_t size = (size_t)model->size, width = (size_t)model->width;
    uint8_t *memory = calloc(1, 6 * (size + 2) + 8 * width);
    work->memory = memory;
    if (!memory) return 0;
    work->escaped = (uint32_t *)memory;
    work->row[0] = (int32_t *)(work->escaped + size + 2);
    work->row[1] = work->row[0] + width;
    work->plane = (int16_t *)(work->row[1] + width);
    return 1;
}

/* Notes a symbol; an escape, whose residual comes later, counts as the next larger one until then. */
static inline size_t note(const Entry *entry, uint32_t place, uint32_t i, Model *model, const Work *work, size_t escapes) {
    const int32_t residual = (int32_t)place - entry->radius;
    work->plane[i] = (int16_t)residual;
    model->mag[i] = (uint8_t)(residual < 0 ? -residual : residual);
    work->escaped[escapes] = i;
    return escapes + (residual > entry->radius);
}

/* While there are words enough, symbols are taken in pairs, without a branch that nothing could foresee. */
static void decode_pass(Decoder *d, Model *model, int pass, const Entry *const *entries, const Work *work) {
    const uint32_t *at = model->at;
    const uint8_t *contexts = model->contexts;
    const ptrdiff_t end = model->ends[pass];
    ptrdiff_t k = pass ? model->ends[pass - 1] : 0;
    size_t escapes = 0;
    model_contexts(model, pass);
    while (k < end && !d->error) {
        if (d->both && k % 2 == 0 && k + 2 <= end && d->end - d->next >= 4) {
            const uint8_t *next = d->next, *last = d->end - 4;
            uint32_t a = d->state[0], b = d->state[1];
            for (; k + 2 <= end && next <= last; k += 2) {
                const uint32_t i = at[k], j = at[k + 1];
                const Entry *first = entries[contexts[i]], *second = entries[contexts[j]];
                escapes = note(first, take_symbol(first, &a), i, model, work, escapes);
                escapes = note(second, take_symbol(second, &b), j, model, work, escapes);
                const uint32_t low_a = a < STATE_START, low_b = b < STATE_START;
                a = a << (low_a << 4) | (word_at(next) & (0 - low_a));
                next += 2 * low_a;
                b = b << (low_b << 4) | (word_at(next) & (0 - low_b));
                next += 2 * low_b;
            }
            d->next = next;
            d->state[0] = a;
            d->state[1] = b;
            continue;
        }
        const int turn = d->both ? (int)(k % 2) : 0;
        const uint32_t i = at[k++];
        escapes = note(entries[contexts[i]], take_symbol(entries[contexts[i]], &d->state[turn]), i, model, work, escapes);
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
static void decode_predicted(Decoder *d, Model *model, const Entry *const *entries, const Work *work) {
    const int32_t straight = 16 * model->ctx_w[0];
    int32_t *known = work->row[0], *above = work->row[1];
    for (ptrdiff_t y = 0; y < model->height; y++) {
        int16_t *row = work->plane + y * model->pitch;
        uint8_t *mag = model->mag + y * model->pitch;
        const int32_t weight = left_weight(model, y);
        int32_t left = y ? row[-model->pitch] : 0, magnitude = 0;
        known_row(model, y, known);
        predict_above(model, row, y, above);
        for (ptrdiff_t x = 0; x < model->width && !d->error; x++) {
            const Entry *entry = entries[context_of(known[x] + straight * magnitude)];
            int32_t residual = (int32_t)take_symbol(entry, &d->state[0]) - entry->radius;
            refill(d, 0);
            if (residual > entry->radius) residual = decode_escape(d, entry->radius);
            left = predict(weight, left, above[x]) + residual;
            if ((left < -MAX_SYMBOL || left > MAX_SYMBOL) && !d->error) d->error = BAD_SYMBOL;
            magnitude = residual < 0 ? -residual : residual;
            magnitude = magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude;
            mag[x] = (uint8_t)magnitude;
            row[x] = (int16_t)left;
        }
    }
}

static void decode_plane(Decoder *d, Model *model, const Plan *plan, int channel, const Work *work) {
    const Entry *entries[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) entries[i] = &plan->entries[plan->table_of[CONTEXTS * channel + i]];
    model_channel(model, plan, channel);
    memset(model->mag, 0, (size_t)model->size); /* of the last plane; what a pass does not know yet counts as zero */
    if (model->predicted)
        decode_predicted(d, model, entries, work);
    else
        for (int pass = 0; pass < PASSES && !d->error; pass++) decode_pass(d, model, pass, entries, work);
}

/* ---- what becomes of them ---- */

/* Symbols [channels][positions], or, where `latent` is not NULL, values [positions][channels]. */
typedef struct {
    int16_t *symbols; /* all zero before */
    int8_t *latent, *planes; /* the latent, and room for it as planes [height][pitch], of `stride` values each */
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

/* The planes become the latent. */
VECTOR static void to_latent(const Sink *sink, ptrdiff_t channels, ptrdiff_t height, ptrdiff_t width, ptrdiff_t pitch) {
    for (ptrdiff_t y = 0; y < height; y++)
        for (ptrdiff_t x = 0; x < width; x += 8)
            for (ptrdiff_t c = 0; c < channels; c += 8) {
                const ptrdiff_t wide = width - x < 8 ? width - x : 8, deep = channels - c < 8 ? channels - c : 8;
                const int8_t *from = sink->planes + c * sink->stride + y * pitch + x;
                int8_t *out = sink->latent + (y * width + x) * channels + c;
                uint64_t tile[8] = {0};
                for (ptrdiff_t d = 0; d < deep; d++) memcpy(&tile[d], from + d * sink->stride, 8); /* planes have room for it */
                transpose_8x8(tile);
                for (ptrdiff_t i = 0; i < wide; i++)
                    if (deep == 8)
                        memcpy(out + i * channels, &tile[i], 8);
                    else
                        memcpy(out + i * channels, &tile[i], (size_t)deep);
            }
}

static void deliver(const Model *model, const Work *work, int channel, const Sink *sink) {
    if (sink->latent) {
        sink_values(sink, channel, work->plane, model->size);
        return;
    }
    int16_t *out = sink->symbols + channel * model->height * model->width;
    for (ptrdiff_t y = 0; y < model->height; y++)
        memcpy(out + y * model->width, work->plane + y * model->pitch, 2 * (size_t)model->width);
}

static const char *decode_all(const Plan *plan, const uint8_t *data, ptrdiff_t size, Model *model, const Work *work,
                              const Sink *sink) {
    if (size < 4 || size % 2 || size == 6) return BAD_LENGTH;
    const int both = size > 4;
    Decoder d = {data + (both ? 8 : 4), data + size, {0, 0}, both, NULL};
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
    if (sink->latent) to_latent(sink, plan->channels, model->height, model->width, model->pitch);
    return NULL;
}

#endif
