/* Encoding: latents to symbols, symbols to codes, codes to a stream. Part of _coder.c.
 *
 * A stream is written from its end, so that a first pass, in the order of decoding, finds the code of every symbol, and a second
 * one, backwards, writes them. */

#ifndef EDGEPRESS_CODER_ENCODE_H
#define EDGEPRESS_CODER_ENCODE_H

#include "_coder_model.h"

#define WORDS_PER_SYMBOL 36 /* at most, whatever int16 it is: itself, up to 33 bits of Exp-Golomb, its sign */
#define CHUNK 64            /* symbols between two looks at the space for words */

/* ---- quantization ---- */

typedef struct {
    const int8_t *latent; /* [positions][channels] */
    const uint16_t *steps;
    int zero_point, round256;
    ptrdiff_t channels;
    uint8_t *limit;        /* of each channel: the largest magnitude that becomes 0 */
    double *unit, *offset; /* of each channel */
    uint8_t *above;        /* which channels of a position are above their limits; room for whole words */
    void *memory;
} Source;

static int source_init(Source *source, const int8_t *latent, const uint16_t *steps, ptrdiff_t channels, int zero_point,
                       int round256) {
    const ptrdiff_t padded = (channels + BLOCK - 1) / BLOCK * BLOCK;
    const Source empty = {latent, steps, zero_point, round256, channels, NULL, NULL, NULL, NULL, NULL};
    *source = empty;
    source->memory = calloc((size_t)padded, 2 * sizeof(double) + 2);
    if (!source->memory) return 0;
    source->unit = source->memory;
    source->offset = source->unit + padded;
    source->limit = (uint8_t *)(source->offset + padded);
    source->above = source->limit + padded;
    for (ptrdiff_t c = 0; c < channels; c++) {
        /* floor((4096 m + round256 step16) / (256 step16)): the half keeps the product away from whole numbers by more than a
           double can err, so that the result is that of the integer division. */
        const int32_t step16 = steps[c], least = (step16 * (256 - round256) + 4095) / 4096 - 1;
        source->unit[c] = 1.0 / (256.0 * step16);
        source->offset[c] = (double)round256 * step16 + 0.5;
        source->limit[c] = (uint8_t)(least < 0 ? 0 : least > 255 ? 255 : least);
    }
    return 1;
}

VECTOR static void compare(const int8_t *restrict latent, const uint8_t *restrict limit, uint8_t *restrict above,
                           ptrdiff_t channels, int zero_point) {
    const uint8_t zero = (uint8_t)(zero_point + 128);
    for (ptrdiff_t c = 0; c < channels; c++) {
        const uint8_t value = (uint8_t)latent[c] ^ 128, size = value > zero ? value - zero : zero - value;
        above[c] = size > limit[c] ? 1 : 0;
    }
}

/* Symbols other than zero; they become those of planes [height][pitch], each `stride` after the other, all zero before. */
static void quantize_all(const Source *source, ptrdiff_t height, ptrdiff_t width, ptrdiff_t pitch, ptrdiff_t stride,
                         int16_t *symbols) {
    const ptrdiff_t channels = source->channels;
    const int8_t *latent = source->latent;
    for (ptrdiff_t y = 0; y < height; y++)
        for (ptrdiff_t x = 0; x < width; x++, latent += channels) {
            int16_t *out = symbols + y * pitch + x;
            compare(latent, source->limit, source->above, channels, source->zero_point);
            for (ptrdiff_t begin = 0; begin < channels; begin += 8) {
                uint64_t word;
                memcpy(&word, source->above + begin, 8);
                if (!word) continue;
                for (ptrdiff_t c = begin; c < begin + 8; c++) {
                    if (!source->above[c]) continue;
                    const int32_t v = latent[c] - source->zero_point, magnitude = v < 0 ? -v : v;
                    const int32_t s = (int32_t)((4096.0 * magnitude + source->offset[c]) * source->unit[c]);
                    out[c * stride] = (int16_t)(v < 0 ? -s : s);
                }
            }
        }
}

/* ---- the first pass ---- */

/* Codes of symbols take the place of their planes. */
typedef struct {
    int32_t *escaped; /* the residuals that did not fit their codes' entries, in the order of decoding */
    uint32_t *ones;   /* of each plane: the frequency of a flag that is 1, and the flag itself in the lowest bit */
    size_t count, capacity;
} Found;

static void found_free(Found *found) {
    free(found->escaped);
    free(found->ones);
}

/* `*array` with room for `more` values of `size` bytes after `count`; 0 without memory. */
static int reserve(void *array, size_t size, size_t count, size_t more, size_t *capacity) {
    if (count + more <= *capacity) return 1;
    const size_t wanted = count + count / 2 + more;
    void *grown, *old;
    memcpy(&old, array, sizeof old);
    grown = wanted <= SIZE_MAX / size ? realloc(old, wanted * size) : NULL;
    if (!grown) return 0;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return 1;
}

static int any_symbol(const int16_t *plane, ptrdiff_t size) {
    for (ptrdiff_t begin = 0; begin < size; begin += 256) {
        const ptrdiff_t end = size - begin < 256 ? size : begin + 256;
        int any = 0;
        for (ptrdiff_t i = begin; i < end; i++) any |= plane[i];
        if (any) return 1;
    }
    return 0;
}

VECTOR static void magnitudes(const int16_t *restrict residuals, ptrdiff_t size, uint8_t *restrict mag) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t r = residuals[i], magnitude = r < 0 ? -r : r;
        mag[i] = (uint8_t)(magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude);
    }
}

static void predicted_residuals(const Model *model, const int16_t *plane, int32_t *above, int16_t *residuals) {
    for (ptrdiff_t y = 0; y < model->height; y++) {
        const int16_t *row = plane + y * model->pitch;
        int16_t *out = residuals + y * model->pitch;
        const int32_t weight = left_weight(model, y);
        int32_t left = y ? row[-model->pitch] : 0;
        predict_above(model, row, y, above);
        for (ptrdiff_t x = 0; x < model->width; x++) {
            out[x] = (int16_t)(row[x] - predict(weight, left, above[x]));
            left = row[x];
        }
    }
}

/* Sets ones to zero that are nearer to it than the bits they take are worth, in the order of coding. */
static void thin(const Model *model, const Plan *plan, int channel, const Source *source, int16_t *plane) {
    const ptrdiff_t pitch = model->pitch;
    const uint8_t *table_of = plan->table_of + CONTEXTS * channel;
    const int32_t straight = 16 * model->ctx_w[0], diagonal = 16 * model->ctx_w[1], step16 = source->steps[channel];
    ptrdiff_t y = 0;
    for (ptrdiff_t begin = 0; begin < model->size; begin += 8) {
        uint64_t word;
        memcpy(&word, model->mag + begin, 8);
        if (!word) continue;
        for (ptrdiff_t i = begin; i < begin + 8; i++) {
            uint8_t *mag = model->mag + i;
            if (*mag != 1) continue;
            while (i >= (y + 1) * pitch) y++;
            const int32_t near = mag[-1] + mag[-pitch], far = mag[-pitch - 1] + mag[-pitch + 1];
            const int32_t context = context_of(model->base[i] + straight * near + diagonal * far);
            const int32_t v = source->latent[(i - y) * source->channels + channel] - source->zero_point;
            if ((v < 0 ? -v : v) * 4096 >= (128 + plan->dead[table_of[context]]) * step16) continue;
            *mag = 0;
            plane[i] = 0;
        }
    }
}

/* Room for one plane at a time: contexts, residuals of predicted planes, and of one row the predictions without the left. */
typedef struct {
    uint8_t *contexts;
    int16_t *residuals;
    int32_t *above;
} Scratch;

/* Puts the codes of a plane [height][pitch] that is not all zero, which it may become, in the place of its symbols, [height][width].
 * Returns whether it is to be coded, -1 without memory. `source` is NULL for symbols that stay as they are. */
static int find_plane(Model *model, const Plan *plan, int channel, int16_t *plane, const Source *source,
                      const Scratch *scratch, Found *found) {
    const ptrdiff_t width = model->width, height = model->height;
    const int16_t *residuals = plane;
    model_channel(model, plan, channel);
    if (model->predicted) { /* where the prediction is not zero, neither is the cheapest symbol: nothing to thin */
        predicted_residuals(model, plane, scratch->above, scratch->residuals);
        residuals = scratch->residuals;
    }
    magnitudes(residuals, model->size, model->mag);
    model_base(model);
    if (source && !model->predicted) {
        thin(model, plan, channel, source, plane);
        if (!any_symbol(plane, model->size)) return 0;
    }
    contexts_after(model->base, model->mag, model->size, model->pitch, 16 * model->ctx_w[0], 16 * model->ctx_w[1],
                   scratch->contexts);
    const Entry *entries[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) entries[i] = &plan->entries[plan->table_of[CONTEXTS * channel + i]];
    uint16_t *out = (uint16_t *)plane; /* never ahead of what is read */
    for (ptrdiff_t y = 0; y < height; y++) {
        const int16_t *row = residuals + y * model->pitch;
        const uint8_t *contexts = scratch->contexts + y * model->pitch;
        for (ptrdiff_t x = 0; x < width; x++) {
            const Entry *entry = entries[contexts[x]];
            const int32_t residual = row[x], radius = entry->radius;
            int32_t code = entry->zero_code + residual;
            if (residual > radius || residual < -radius) {
                code = entry->zero_code + radius + 1;
                if (!reserve(&found->escaped, sizeof *found->escaped, found->count, 1, &found->capacity)) return -1;
                found->escaped[found->count++] = residual;
            }
            *out++ = (uint16_t)code;
        }
    }
    return 1;
}

/* Planes are `stride` symbols apart and have room for whole blocks. */
static int find_all(const Plan *plan, int16_t *symbols, ptrdiff_t stride, const Source *source, Model *model, Found *found) {
    const size_t size = (size_t)model->size;
    Scratch scratch;
    uint8_t *memory = calloc(size + BLOCK + (size_t)model->width, 2 + 4 + 1);
    found->ones = malloc((size_t)plan->channels * sizeof *found->ones);
    scratch.above = (int32_t *)memory;
    scratch.residuals = (int16_t *)(memory + 4 * (size + BLOCK + (size_t)model->width));
    scratch.contexts = memory + 6 * (size + BLOCK + (size_t)model->width);
    int flag = memory && found->ones ? 0 : -1;
    for (ptrdiff_t i = 0; i < plan->channels && flag >= 0; i++) {
        const int channel = plan->order[i];
        int16_t *plane = symbols + channel * stride;
        flag = any_symbol(plane, model->size);
        if (flag) flag = find_plane(model, plan, channel, plane, source, &scratch, found);
        if (flag < 0) break;
        found->ones[i] = flag_one(model) | (uint32_t)flag; /* a frequency is a multiple of 4 */
        flag_update(model, flag);
        model_update(model, flag);
    }
    free(memory);
    return flag >= 0;
}

/* ---- the second pass ---- */

typedef struct {
    uint16_t *words; /* the last one comes first */
    size_t count, capacity;
    uint32_t state;
} Encoder;

/* `inverse` is floor(2^46 / freq) + 1: as the state is below freq * 2^18 by then, the product stays below 2^64, and its upper bits
 * are the quotient exactly. */
static inline void put(Encoder *e, uint32_t start, uint32_t freq, uint64_t inverse) {
    uint32_t state = e->state;
    if (state >> 18 >= freq) {
        e->words[e->count++] = (uint16_t)state;
        state >>= 16;
    }
    e->state = state + start + (uint32_t)(state * inverse >> 46) * (PROB_SCALE - freq);
}

static inline void put_once(Encoder *e, uint32_t start, uint32_t freq) {
    put(e, start, freq, ((uint64_t)1 << 46) / freq + 1);
}

/* What follows an escape symbol, backwards: the sign, then Exp-Golomb bits of the excess over the radius. */
static void put_escape(Encoder *e, int32_t residual, int32_t radius) {
    const uint32_t half = PROB_SCALE / 2;
    const uint32_t number = (uint32_t)((residual < 0 ? -residual : residual) - radius);
    const int bits = 32 - __builtin_clz(number);
    put_once(e, (residual < 0) * half, half);
    for (int i = 0; i < bits; i++) put_once(e, (number >> i & 1) * half, half);
    for (int i = 1; i < bits; i++) put_once(e, 0, half);
}

static int words_reserve(Encoder *e, size_t more) {
    return reserve(&e->words, sizeof *e->words, e->count, more, &e->capacity);
}

static int put_plane(Encoder *e, const Plan *plan, Found *found, const uint16_t *codes, size_t count) {
    const uint16_t *end = codes + count;
    while (count) {
        const size_t chunk = count < CHUNK ? count : CHUNK;
        if (!words_reserve(e, chunk * WORDS_PER_SYMBOL)) return 0;
        Encoder local = *e;
        for (size_t i = 0; i < chunk; i++) {
            const Code *code = &plan->codes[*--end];
            if (code->escapes >= 0) put_escape(&local, found->escaped[--found->count], code->escapes);
            put(&local, code->start, code->freq, code->inverse);
        }
        *e = local;
        count -= chunk;
    }
    return 1;
}

static int put_all(Encoder *e, const Plan *plan, const Model *model, const int16_t *planes, ptrdiff_t stride, Found *found) {
    const size_t positions = (size_t)(model->height * model->width);
    e->state = STATE_START;
    for (ptrdiff_t i = plan->channels; i-- > 0;) {
        const uint32_t one = found->ones[i] & ~1u;
        const uint16_t *codes = (const uint16_t *)planes + plan->order[i] * stride;
        if (found->ones[i] & 1 && !put_plane(e, plan, found, codes, positions)) return 0;
        if (!words_reserve(e, 3)) return 0; /* one of the flag, and two of the state after the last one */
        put_once(e, found->ones[i] & 1 ? 0 : one, found->ones[i] & 1 ? one : PROB_SCALE - one);
    }
    e->words[e->count++] = (uint16_t)(e->state >> 16);
    e->words[e->count++] = (uint16_t)e->state;
    return 1;
}

#endif
