/* Encoding: latents to symbols, symbols to codes, codes to a stream. Part of _coder.c.
 *
 * A stream is written from its end, so that a first walk, in the order of decoding, finds the code of every symbol, and a second
 * one, backwards, writes them. */

#ifndef EDGEPRESS_CODER_ENCODE_H
#define EDGEPRESS_CODER_ENCODE_H

#include "_coder_model.h"

#define WORDS_PER_ESCAPE 34 /* at most, whatever int16 it is: 33 bits of Exp-Golomb and its sign */

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

/* ---- quantization ---- */

typedef struct {
    const int8_t *latent; /* [positions][channels] */
    const uint16_t *steps;
    int zero_point, round256;
} Source;

/* Planes [height][pitch], `stride` values apart, of a latent without its zero point. */
VECTOR static void to_planes(const Source *source, ptrdiff_t channels, ptrdiff_t height, ptrdiff_t width, ptrdiff_t pitch,
                      ptrdiff_t stride, int16_t *planes) {
    for (ptrdiff_t y = 0; y < height; y++)
        for (ptrdiff_t x = 0; x < width; x += 8)
            for (ptrdiff_t c = 0; c < channels; c += 8) {
                const ptrdiff_t wide = width - x < 8 ? width - x : 8, deep = channels - c < 8 ? channels - c : 8;
                const int8_t *from = source->latent + (y * width + x) * channels + c;
                int16_t *out = planes + c * stride + y * pitch + x;
                uint64_t tile[8] = {0};
                for (ptrdiff_t i = 0; i < wide; i++)
                    if (deep == 8)
                        memcpy(&tile[i], from + i * channels, 8);
                    else
                        memcpy(&tile[i], from + i * channels, (size_t)deep);
                transpose_8x8(tile);
                for (ptrdiff_t d = 0; d < deep; d++) {
                    int8_t row[8];
                    memcpy(row, &tile[d], 8);
                    if (wide == 8)
                        for (int i = 0; i < 8; i++) out[d * stride + i] = (int16_t)(row[i] - source->zero_point);
                    else
                        for (ptrdiff_t i = 0; i < wide; i++) out[d * stride + i] = (int16_t)(row[i] - source->zero_point);
                }
            }
}

/* Symbols and magnitudes of a plane of values; returns whether there are any. `inverse` is 2^20 / step16, rounded up. */
VECTOR static int quantize_plane(const int16_t *restrict values, ptrdiff_t size, uint32_t inverse, uint32_t round256,
                                 int16_t *restrict symbols, uint8_t *restrict mag) {
    uint32_t any = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t v = values[i];
        const uint32_t s = ((uint32_t)(v < 0 ? -v : v) * inverse + (round256 << 8)) >> 16;
        symbols[i] = (int16_t)(v < 0 ? -(int32_t)s : (int32_t)s);
        mag[i] = (uint8_t)(s > MAX_SYMBOL ? MAX_SYMBOL : s);
        any |= s;
    }
    return any != 0;
}

static uint32_t inverse_step(uint32_t step16) { return ((1u << 20) + step16 - 1) / step16; }

/* ---- the first walk ---- */

typedef struct {
    uint32_t one;             /* the frequency of a flag that is 1, a multiple of 4, and the flag itself in the lowest bit */
    uint32_t escapes[PASSES]; /* how many there are behind each pass */
} Plane;

/* Codes take the place of their planes. */
typedef struct {
    uint32_t *escaped; /* residuals that did not fit their entries, in the order of coding: magnitude << 9 | sign << 8 | radius */
    Plane *planes;     /* in the order of coding */
    size_t count, capacity;
} Found;

static void found_free(Found *found) {
    free(found->escaped);
    free(found->planes);
}

static int keep_escape(Found *found, int32_t residual, int32_t radius) {
    if (!reserve(&found->escaped, sizeof *found->escaped, found->count, 1, &found->capacity)) return 0;
    const uint32_t magnitude = (uint32_t)(residual < 0 ? -residual : residual);
    found->escaped[found->count++] = magnitude << 9 | (uint32_t)(residual < 0) << 8 | (uint32_t)radius;
    return 1;
}

/* Room for one plane. */
typedef struct {
    int16_t *symbols; /* [height][pitch] */
    uint16_t *codes;
    uint32_t *escaped; /* where in the plane */
    int32_t *row[2];
    void *memory;
} Draft;

static int draft_init(Draft *draft, const Model *model) {
    const size_t size = (size_t)model->size, width = (size_t)model->width;
    uint8_t *memory = calloc(1, 8 * size + 8 * width);
    draft->memory = memory;
    if (!memory) return 0;
    draft->escaped = (uint32_t *)memory;
    draft->row[0] = (int32_t *)(memory + 4 * size);
    draft->row[1] = draft->row[0] + width;
    draft->symbols = (int16_t *)(draft->row[1] + width);
    draft->codes = (uint16_t *)(draft->symbols + size);
    return 1;
}

/* What a context means for the plane: how its entry codes, and up to which magnitude a value that became 1 or -1 is better left out,
 * being nearer to zero than the bits that it takes are worth. */
typedef struct {
    int32_t zero_code, radius, dear;
} Price;

static void prices_of(const Plan *plan, int channel, const Source *source, Price *prices) {
    for (int i = 0; i < CONTEXTS; i++) {
        const uint8_t number = plan->table_of[CONTEXTS * channel + i];
        const Entry *entry = &plan->entries[number];
        const Price price = {entry->zero_code, entry->radius,
                             source ? ((128 + plan->dead[number]) * source->steps[channel] - 1) >> 12 : -1};
        prices[i] = price;
    }
}

/* Finds the codes of a pass; returns whether any of its symbols is left, -1 without memory. */
static int find_pass(Model *model, int pass, const Price *prices, const int16_t *values, const Draft *draft, Plane *plane,
                     Found *found) {
    const uint8_t *contexts = model->contexts;
    const int16_t *symbols = draft->symbols;
    uint8_t *mag = model->mag;
    size_t escapes = 0;
    int32_t any = 0;
    model_contexts(model, pass);
    for (ptrdiff_t k = pass ? model->ends[pass - 1] : 0; k < model->ends[pass]; k++) {
        const uint32_t i = model->at[k];
        const Price *price = &prices[contexts[i]];
        const int32_t value = values[i], size = mag[i];
        const int32_t kept = ((size == 1) & ((value < 0 ? -value : value) <= price->dear)) - 1; /* all bits, or none */
        const int32_t residual = symbols[i] & kept, escape = (size & kept) > price->radius;
        any |= residual;
        mag[i] = (uint8_t)(size & kept);
        draft->codes[k] = (uint16_t)(price->zero_code + (escape ? price->radius + 1 : residual));
        draft->escaped[escapes] = i;
        escapes += (size_t)escape;
    }
    for (size_t j = 0; j < escapes; j++) {
        const uint32_t i = draft->escaped[j];
        if (!keep_escape(found, symbols[i], prices[contexts[i]].radius)) return -1;
    }
    plane->escapes[pass] = (uint32_t)escapes;
    return any != 0;
}

/* The same for a whole plane with a prediction; nothing is left out: where the prediction is not zero,
 * neither is the cheapest symbol. */
static int find_predicted(Model *model, const Price *prices, const Draft *draft, Found *found) {
    const int32_t straight = 16 * model->ctx_w[0];
    int32_t *known = draft->row[0], *above = draft->row[1];
    uint16_t *out = draft->codes;
    for (ptrdiff_t y = 0; y < model->height; y++) {
        const int16_t *row = draft->symbols + y * model->pitch;
        uint8_t *mag = model->mag + y * model->pitch;
        const int32_t weight = left_weight(model, y);
        int32_t left = y ? row[-model->pitch] : 0, magnitude = 0;
        known_row(model, y, known);
        predict_above(model, row, y, above);
        for (ptrdiff_t x = 0; x < model->width; x++) {
            const Price *price = &prices[context_of(known[x] + straight * magnitude)];
            const int32_t residual = row[x] - predict(weight, left, above[x]);
            left = row[x];
            magnitude = residual < 0 ? -residual : residual;
            const int escape = magnitude > price->radius;
            if (escape && !keep_escape(found, residual, price->radius)) return -1;
            *out++ = (uint16_t)(price->zero_code + (escape ? price->radius + 1 : residual));
            magnitude = magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude;
            mag[x] = (uint8_t)magnitude;
        }
    }
    return 1;
}

/* Puts the codes of a plane in the place of its values. Returns whether it is to be coded, -1 without memory. Without a `source`
 * values are the symbols. */
static int find_plane(Model *model, const Plan *plan, int channel, int16_t *values, const Source *source,
                      const Draft *draft, Plane *plane, Found *found) {
    const uint32_t inverse = source ? inverse_step(source->steps[channel]) : 1u << 16;
    const uint32_t offset = source ? (uint32_t)source->round256 : 0;
    const size_t before = found->count;
    Price prices[CONTEXTS];
    if (!quantize_plane(values, model->size, inverse, offset, draft->symbols, model->mag)) return 0;
    model_channel(model, plan, channel);
    prices_of(plan, channel, source, prices);
    int any = 0;
    if (model->predicted) {
        any = find_predicted(model, prices, draft, found);
    } else {
        for (int pass = 0; pass < PASSES && any >= 0; pass++) {
            const int more = find_pass(model, pass, prices, values, draft, plane, found);
            any = more < 0 ? more : any | more;
        }
    }
    if (any > 0) memcpy(values, draft->codes, 2 * (size_t)(model->height * model->width));
    if (any == 0) found->count = before;
    return any;
}

/* Planes are `stride` values apart and have room for whole blocks. */
static int find_all(const Plan *plan, int16_t *planes, ptrdiff_t stride, const Source *source, Model *model, Found *found) {
    Draft draft;
    found->planes = calloc((size_t)plan->channels, sizeof *found->planes);
    int flag = draft_init(&draft, model) && found->planes ? 0 : -1;
    for (ptrdiff_t i = 0; i < plan->channels && flag >= 0; i++) {
        const int channel = plan->order[i];
        Plane *plane = &found->planes[i];
        flag = find_plane(model, plan, channel, planes + channel * stride, source, &draft, plane, found);
        if (flag < 0) break;
        plane->one = flag_one(model) | (uint32_t)flag;
        flag_update(model, flag);
        model_update(model, flag);
    }
    free(draft.memory);
    return flag >= 0;
}

/* ---- the second walk ---- */

/* Two states take turns, so that one can be worked on while the other is. The second begins with the first word that would be
 * written, which so costs nothing; until then all is left to the first. */
typedef struct {
    uint16_t *words; /* the last one comes first */
    size_t count, capacity;
    uint32_t state[2];
    int both;
} Encoder;

/* `inverse` is floor(2^46 / freq) + 1: as the state is below freq * 2^18 by then, the product stays below 2^64, and its upper bits
 * are the quotient exactly. */
static inline uint32_t advanced(uint32_t state, uint32_t start, uint32_t freq, uint64_t inverse) {
    return state + start + (uint32_t)(state * inverse >> 46) * (PROB_SCALE - freq);
}

static void put(Encoder *e, int turn, uint32_t start, uint32_t freq, uint64_t inverse) {
    uint32_t state = e->state[e->both ? turn : 0];
    if (state >> 18 >= freq) {
        if (e->both) {
            e->words[e->count++] = (uint16_t)state;
        } else {
            e->state[!turn] = STATE_START | (state & 0xFFFF);
            e->both = 1;
        }
        state >>= 16;
    }
    e->state[e->both ? turn : 0] = advanced(state, start, freq, inverse);
}

static void put_once(Encoder *e, uint32_t start, uint32_t freq) { put(e, 0, start, freq, inverse_of(freq)); }

/* Words are reserved by the caller, one for each call of `put`. */
static int words_reserve(Encoder *e, size_t more) {
    return reserve(&e->words, sizeof *e->words, e->count, more, &e->capacity);
}

/* What follows an escape symbol, backwards: the sign, then Exp-Golomb bits of the excess over the radius. */
static int put_escape(Encoder *e, uint32_t escaped) {
    const uint32_t half = PROB_SCALE / 2, number = (escaped >> 9) - (escaped & 0xFF);
    const int bits = 32 - __builtin_clz(number);
    if (!words_reserve(e, WORDS_PER_ESCAPE)) return 0;
    put_once(e, (escaped >> 8 & 1) * half, half);
    for (int i = 0; i < bits; i++) put_once(e, (number >> i & 1) * half, half);
    for (int i = 1; i < bits; i++) put_once(e, 0, half);
    return 1;
}

/* The symbols begin..end of a plane, which take turns from an even number on. Most are put in pairs, without a branch that nothing
 * could foresee. */
static int put_codes(Encoder *e, const Code *codes, const uint16_t *numbers, ptrdiff_t begin, ptrdiff_t end) {
    if (!words_reserve(e, (size_t)(end - begin) + 2)) return 0;
    while (end > begin) {
        if (e->both && end % 2 == 0 && end - begin >= 2) {
            uint16_t *word = e->words + e->count;
            uint32_t a = e->state[0], b = e->state[1];
            for (; end - begin >= 2; end -= 2) {
                const Code *first = &codes[numbers[end - 2]], *second = &codes[numbers[end - 1]];
                const uint32_t full_a = a >> 18 >= first->freq, full_b = b >> 18 >= second->freq;
                *word = (uint16_t)b;
                word += full_b;
                *word = (uint16_t)a;
                word += full_a;
                a = advanced(a >> (full_a << 4), first->start, first->freq, first->inverse);
                b = advanced(b >> (full_b << 4), second->start, second->freq, second->inverse);
            }
            e->count = (size_t)(word - e->words);
            e->state[0] = a;
            e->state[1] = b;
            continue;
        }
        const Code *code = &codes[numbers[--end]];
        put(e, (int)(end % 2), code->start, code->freq, code->inverse);
    }
    return 1;
}

static int put_plane(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, const Plane *plane,
                     Found *found) {
    for (int pass = PASSES; pass-- > 0;) {
        for (uint32_t i = 0; i < plane->escapes[pass]; i++)
            if (!put_escape(e, found->escaped[--found->count])) return 0;
        if (!put_codes(e, plan->codes, numbers, pass ? model->ends[pass - 1] : 0, model->ends[pass])) return 0;
    }
    return 1;
}

/* A plane with a prediction: all by the first state, and what follows an escape at once. */
static int put_predicted(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, Found *found) {
    for (ptrdiff_t k = model->height * model->width; k-- > 0;) {
        const Code *code = &plan->codes[numbers[k]];
        if (code->escape && !put_escape(e, found->escaped[--found->count])) return 0;
        if (!words_reserve(e, 1)) return 0;
        put(e, 0, code->start, code->freq, code->inverse);
    }
    return 1;
}

static int put_all(Encoder *e, const Plan *plan, const Model *model, const int16_t *planes, ptrdiff_t stride, Found *found) {
    e->state[0] = STATE_START;
    for (ptrdiff_t i = plan->channels; i-- > 0;) {
        const int channel = plan->order[i];
        const Plane *plane = &found->planes[i];
        const uint32_t one = plane->one & ~1u, flag = plane->one & 1;
        const uint16_t *numbers = (const uint16_t *)planes + channel * stride;
        const int8_t *w = plan->mean_w + 4 * channel;
        if (flag && (w[0] || w[1] || w[2] || w[3] ? !put_predicted(e, plan, model, numbers, found)
                                                  : !put_plane(e, plan, model, numbers, plane, found)))
            return 0;
        if (!words_reserve(e, 5)) return 0; /* one of the flag, and four of the states after the last one */
        put_once(e, flag ? 0 : one, flag ? one : PROB_SCALE - one);
    }
    for (int turn = e->both; turn >= 0; turn--) {
        e->words[e->count++] = (uint16_t)(e->state[turn] >> 16);
        e->words[e->count++] = (uint16_t)e->state[turn];
    }
    return 1;
}

#endif
