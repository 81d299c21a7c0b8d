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
    uint32_t state;
    const char *error;
} Decoder;

static inline void refill(Decoder *d) {
    if (d->state >= STATE_START) return;
    if (d->next == d->end) {
        d->error = TOO_SHORT;
        d->state = STATE_START;
        return;
    }
    d->state = d->state << 16 | d->next[0] | (uint32_t)d->next[1] << 8;
    d->next += 2;
}

static inline void advance(Decoder *d, uint32_t start, uint32_t freq) {
    d->state = freq * (d->state >> PROB_BITS) + (d->state & (PROB_SCALE - 1)) - start;
    refill(d);
}

static int decode_bit(Decoder *d, uint32_t one) {
    const int bit = (d->state & (PROB_SCALE - 1)) < one;
    advance(d, bit ? 0 : one, bit ? one : PROB_SCALE - one);
    return bit;
}

static int raw_bit(Decoder *d) { return !decode_bit(d, PROB_SCALE / 2); }

static __attribute__((noinline)) int32_t decode_escape(Decoder *d, int32_t radius) {
    int zeros = 0;
    while (!d->error && !raw_bit(d))
        if (++zeros > MAX_PREFIX) d->error = BAD_NUMBER;
    int32_t number = 1;
    while (!d->error && zeros-- > 0) number = number << 1 | raw_bit(d);
    return raw_bit(d) ? -(radius + number) : radius + number;
}

/* A residual that is not zero. Nothing but the rare escape takes the decoder's address, so that its state can stay in registers. */
static inline __attribute__((always_inline)) int32_t decode_other(Decoder *d, const Entry *entry) {
    const uint32_t slot = d->state & (PROB_SCALE - 1);
    const uint16_t *start = entry->start;
    const int32_t radius = entry->radius;
    if (slot - entry->near_start < entry->near_freq) { /* 1 or -1; which, no branch could foresee */
        const int32_t positive = slot >= entry->zero_start, index = radius - 1 + 2 * positive;
        advance(d, start[index], (uint32_t)start[index + 1] - start[index]);
        return 2 * positive - 1;
    }
    uint32_t index = entry->first[slot >> SLOT_BITS];
    while (start[index + 1] <= slot) index++;
    advance(d, start[index], (uint32_t)start[index + 1] - start[index]);
    if (index <= 2 * (uint32_t)radius) return (int32_t)index - radius;
    Decoder escaping = *d;
    const int32_t residual = decode_escape(&escaping, radius);
    *d = escaping;
    return residual;
}

/* Room for one plane or row at a time. */
typedef struct {
    int16_t *plane;             /* [height][pitch] */
    int32_t *activity, *above;  /* of a row: 16 * activity and prediction without the left neighbour */
    uint8_t *after_0, *after_1; /* contexts of a row, for a magnitude to the left of 0 and of 1 */
    void *memory;
} Work;

static int work_init(Work *work, const Model *model) {
    const size_t size = (size_t)model->size, padded = ((size_t)model->width / BLOCK + 2) * BLOCK;
    uint8_t *memory = calloc(1, 2 * size + 10 * padded);
    work->memory = memory;
    if (!memory) return 0;
    work->activity = (int32_t *)memory;
    work->above = work->activity + padded;
    work->plane = (int16_t *)(work->above + padded);
    work->after_0 = (uint8_t *)(work->plane + size);
    work->after_1 = work->after_0 + padded;
    return 1;
}

/* The context behind a residual that is not zero. */
static inline uint32_t context_after(const Work *work, ptrdiff_t x, int32_t magnitude, int32_t straight) {
    return magnitude == 1 ? work->after_1[x] : (uint32_t)context_of(work->activity[x] + straight * magnitude);
}

/* Most symbols are zeros that follow zeros: their contexts are known before the row, so that nothing but the state of the decoder
 * leads from one to the next. */
static void decode_row(Decoder *d, const Plan *plan, int channel, const Work *work, ptrdiff_t width, int32_t straight,
                       uint8_t *mag, int16_t *row) {
    const uint8_t *table_of = plan->table_of + CONTEXTS * channel, *contexts = work->after_0;
    const uint32_t *zeros = plan->zeros + CONTEXTS * channel;
    Decoder local = *d;
    uint32_t context = contexts[0];
    for (ptrdiff_t x = 0; x < width && !local.error;) {
        const uint32_t zero = zeros[context], freq = zero >> 16;
        const uint32_t offset = (local.state & (PROB_SCALE - 1)) - (zero & 0xFFFF);
        if (offset < freq) {
            local.state = freq * (local.state >> PROB_BITS) + offset;
            refill(&local);
            context = contexts[++x];
            continue;
        }
        const int32_t residual = decode_other(&local, &plan->entries[table_of[context]]);
        const int32_t magnitude = residual < 0 ? -residual : residual;
        if (magnitude > MAX_SYMBOL) {
            if (!local.error) local.error = BAD_SYMBOL;
            break;
        }
        mag[x] = (uint8_t)magnitude;
        row[x] = (int16_t)residual;
        x++;
        context = context_after(work, x, magnitude, straight);
    }
    *d = local;
}

/* The same for a channel with a prediction. */
static void decode_predicted_row(Decoder *d, const Model *model, const Plan *plan, int channel, const Work *work, ptrdiff_t y,
                                 int32_t straight, uint8_t *mag, int16_t *row) {
    const uint8_t *table_of = plan->table_of + CONTEXTS * channel;
    const int32_t weight = left_weight(model, y);
    Decoder local = *d;
    int32_t left = y ? row[-model->pitch] : 0, magnitude = 0;
    predict_above(model, row, y, work->above);
    for (ptrdiff_t x = 0; x < model->width && !local.error; x++) {
        const uint32_t context = magnitude ? context_after(work, x, magnitude, straight) : work->after_0[x];
        const Entry *entry = &plan->entries[table_of[context]];
        const uint32_t slot = local.state & (PROB_SCALE - 1), zero_start = entry->zero_start;
        const uint32_t freq = (uint32_t)entry->start[entry->radius + 1] - zero_start;
        int32_t residual = 0;
        if (slot - zero_start < freq)
            advance(&local, zero_start, freq);
        else
            residual = decode_other(&local, entry);
        left = predict(weight, left, work->above[x]) + residual;
        if ((left < -MAX_SYMBOL || left > MAX_SYMBOL) && !local.error) local.error = BAD_SYMBOL;
        magnitude = residual < 0 ? -residual : residual;
        magnitude = magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude;
        mag[x] = (uint8_t)magnitude;
        row[x] = (int16_t)left;
    }
    *d = local;
}

static void decode_plane(Decoder *d, Model *model, const Plan *plan, int channel, const Work *work) {
    model_channel(model, plan, channel);
    model_base(model);
    memset(model->mag, 0, (size_t)model->size);
    memset(work->plane, 0, 2 * (size_t)model->size);
    const int32_t straight = 16 * model->ctx_w[0], diagonal = 16 * model->ctx_w[1];
    const ptrdiff_t width = model->width, count = (width + BLOCK) / BLOCK * BLOCK;
    for (ptrdiff_t y = 0; y < model->height && !d->error; y++) {
        uint8_t *mag = model->mag + y * model->pitch;
        int16_t *row = work->plane + y * model->pitch;
        contexts_before(model->base + y * model->pitch, mag - model->pitch, count, straight, diagonal, work->activity,
                        work->after_0, work->after_1);
        if (model->predicted)
            decode_predicted_row(d, model, plan, channel, work, y, straight, mag, row);
        else
            decode_row(d, plan, channel, work, width, straight, mag, row);
    }
}

/* What becomes of the planes: symbols [channels][positions], or, where `latent` is not NULL, values [positions][channels]. */
typedef struct {
    int16_t *symbols; /* all zero before */
    int8_t *latent;
    const uint16_t *steps;
    const int8_t *recon;
    int zero_point;
} Sink;

/* The value of a symbol that is not zero. */
static inline int8_t value_of(int32_t symbol, const Sink *sink, ptrdiff_t channel) {
    const int32_t size = symbol < 0 ? -symbol : symbol, clipped = size < MAX_SYMBOL ? size : MAX_SYMBOL;
    /* (255 * 128 + 128) * 65535 + 1024 just fits. */
    const int32_t shift = sink->recon[2 * channel + (size > 1)];
    const int32_t value = ((clipped * 128 - shift) * sink->steps[channel] + 1024) >> 11;
    const int32_t v = symbol < 0 ? sink->zero_point - value : sink->zero_point + value;
    return (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
}

/* Writes the values of a plane [height][pitch] where its symbols are not zero. */
static void scatter(const int16_t *plane, ptrdiff_t height, ptrdiff_t width, ptrdiff_t pitch, ptrdiff_t channels,
                    ptrdiff_t channel, const Sink *sink) {
    for (ptrdiff_t y = 0; y < height; y++) {
        const int16_t *row = plane + y * pitch;
        int8_t *out = sink->latent + y * width * channels + channel;
        ptrdiff_t x = 0;
        for (; x + 4 <= width; x += 4) {
            uint64_t word;
            memcpy(&word, row + x, 8);
            if (!word) continue;
            for (ptrdiff_t i = x; i < x + 4; i++)
                if (row[i]) out[i * channels] = value_of(row[i], sink, channel);
        }
        for (; x < width; x++)
            if (row[x]) out[x * channels] = value_of(row[x], sink, channel);
    }
}

static void deliver(const Model *model, const Work *work, ptrdiff_t channels, int channel, const Sink *sink) {
    if (sink->latent) {
        scatter(work->plane, model->height, model->width, model->pitch, channels, channel, sink);
        return;
    }
    int16_t *out = sink->symbols + channel * model->height * model->width;
    for (ptrdiff_t y = 0; y < model->height; y++)
        memcpy(out + y * model->width, work->plane + y * model->pitch, 2 * (size_t)model->width);
}

static const char *decode_all(const Plan *plan, const uint8_t *data, ptrdiff_t size, Model *model, const Work *work,
                              const Sink *sink) {
    if (size < 4 || size % 2) return BAD_LENGTH;
    Decoder d = {data + 4, data + size, 0, NULL};
    for (int i = 0; i < 4; i++) d.state |= (uint32_t)data[i] << 8 * i;
    for (ptrdiff_t i = 0; i < plan->channels && !d.error; i++) {
        const int channel = plan->order[i], flag = decode_bit(&d, flag_one(model));
        flag_update(model, flag);
        if (flag) {
            decode_plane(&d, model, plan, channel, work);
            deliver(model, work, plan->channels, channel, sink);
        }
        model_update(model, flag);
    }
    if (d.error) return d.error;
    return d.state == STATE_START && d.next == d.end ? NULL : BAD_END;
}

#endif
