/* Encoding: latents to symbols, symbols to codes, codes to a stream. Part of _coder.c.
 *
 * A stream is written from its end, so that a first walk, in the order of decoding, finds the code of every symbol, and a second
 * one, backwards, writes them. */

#ifndef EDGEPRESS_CODER_ENCODE_H
#define EDGEPRESS_CODER_ENCODE_H

#include "_coder_model.h"

#define WORDS_PER_ESCAPE 18 /* at most: residuals are below 512, 17 bits of Exp-Golomb and the sign */

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

/* Maps, `stride` values apart, of a latent without its zero point; of `channels` only those in groups of eight with one that is `used`. */
VECTOR static void to_planes(const Source *source, ptrdiff_t channels, const Model *model, const uint8_t *used,
                             ptrdiff_t stride, int16_t *planes) {
    const ptrdiff_t width = model->width;
    for (ptrdiff_t c = 0; c < channels; c += 8) {
        const ptrdiff_t deep = channels - c < 8 ? channels - c : 8;
        uint64_t any = 0;
        memcpy(&any, used + c, (size_t)deep);
        if (!any) continue;
        for (ptrdiff_t y = 0; y < model->height; y++)
            for (ptrdiff_t x = 0; x < width; x += 8) {
                const ptrdiff_t wide = width - x < 8 ? width - x : 8;
                const int8_t *from = source->latent + (y * width + x) * channels + c;
                uint64_t tile[8] = {0};
                for (int i = 0; i < 8; i++)
                    if (TILE_ORDER[i] < wide) memcpy(&tile[i], from + TILE_ORDER[i] * channels, (size_t)deep);
                transpose_8x8(tile);
                for (int odd = 0; odd < 2; odd++) {
                    int16_t *out = planes + c * stride + row_of(model, y, odd) + x / 2;
                    const ptrdiff_t count = (wide + 1 - odd) / 2;
                    for (ptrdiff_t d = 0; d < deep; d++) {
                        int8_t values[8];
                        memcpy(values, &tile[d], 8);
                        for (ptrdiff_t i = 0; i < count; i++)
                            out[d * stride + i] = (int16_t)(values[4 * odd + i] - source->zero_point);
                    }
                }
            }
    }
}

/* The largest magnitude of each channel of a latent [positions][channels]. */
VECTOR static void largest_of(const Source *source, ptrdiff_t positions, ptrdiff_t channels, uint8_t *restrict largest) {
    memset(largest, 0, (size_t)channels);
    for (ptrdiff_t i = 0; i < positions; i++) {
        const int8_t *restrict values = source->latent + i * channels;
        for (ptrdiff_t c = 0; c < channels; c++) {
            const int16_t v = (int16_t)(values[c] - source->zero_point);
            const uint8_t size = (uint8_t)(v < 0 ? -v : v);
            largest[c] = size > largest[c] ? size : largest[c];
        }
    }
}

/* Magnitudes of the symbols of values of at most 255; returns whether there are any. `inverse` is 2^20 / step16, rounded up. */
VECTOR static int quantize_plane(const int16_t *restrict values, ptrdiff_t size, uint32_t inverse, uint32_t round256,
                                 uint8_t *restrict mag) {
    uint32_t any = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t v = values[i];
        const uint32_t s = ((uint32_t)(v < 0 ? -v : v) * inverse + (round256 << 8)) >> 16;
        mag[i] = (uint8_t)s;
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
    uint16_t *codes;
    Rows rows;
} Draft;

static int draft_init(Draft *draft, const Model *model) {
    draft->codes = calloc((size_t)model->size, sizeof *draft->codes);
    return draft->codes && rows_init(&draft->rows, model->width);
}

static void draft_free(Draft *draft) {
    free(draft->codes);
    free(draft->rows.memory);
}

/* What a context means for the plane, so that one look tells all: how its entry codes a zero (16 bits), its radius (7), and one more than
 * the magnitude up to which a value that became 1 or -1 is better left out, being nearer to zero than its bits are worth (9). */
typedef uint32_t Price;

static void prices_of(const Plan *plan, int channel, const Source *source, Price *prices) {
    for (int i = 0; i < CONTEXTS; i++) {
        const uint8_t number = plan->table_of[CONTEXTS * channel + i];
        const Entry *entry = &plan->entries[number];
        const int32_t dear = source ? ((128 + plan->dead[number]) * source->steps[channel] + 4095) >> 12 : 0;
        prices[i] = entry->zero_code | (uint32_t)entry->radius << 16 | (uint32_t)(dear < 256 ? dear : 256) << 23;
    }
}

static int32_t radius_of(Price price) { return price >> 16 & 0x7F; }

/* Codes of `count` positions side by side, a multiple of BLOCK. Returns 1 where any of the symbols is left, and 2 more where any
 * escapes. */
VECTOR static int find_codes(const Price *restrict prices, const uint8_t *restrict contexts, const int16_t *restrict values,
                             ptrdiff_t count, uint8_t *restrict mag, uint16_t *restrict codes) {
    int32_t left = 0, escapes = 0;
    for (ptrdiff_t begin = 0; begin < count; begin += BLOCK) {
        int32_t here[BLOCK]; /* looked up first, so that the rest is a loop for vector units */
        for (int i = 0; i < BLOCK; i++) here[i] = (int32_t)prices[contexts[begin + i]];
        for (int i = 0; i < BLOCK; i++) {
            const int32_t value = values[begin + i], sign = value >> 31, radius = here[i] >> 16 & 0x7F;
            const int32_t made = mag[begin + i], distance = (value ^ sign) - sign, price = here[i] >> 23 & 0x1FF;
            const int32_t size = made & ((made == 1 && distance < price) - 1);
            const int32_t escape = size > radius;
            left |= size;
            escapes |= escape;
            mag[begin + i] = (uint8_t)size;
            codes[begin + i] = (uint16_t)(here[i] + (escape ? radius + 1 : (size ^ sign) - sign));
        }
    }
    return (left != 0) | escapes << 1;
}

/* Finds the codes of a pass; returns whether any symbol is left, -1 without memory. */
static int find_pass(Model *model, int pass, const Price *prices, const int16_t *values, const Draft *draft, Plane *plane,
                     Found *found) {
    const ptrdiff_t begin = pass * model->part, parts = pass == 2 ? 2 : 1;
    model_contexts(model, pass);
    const int any = find_codes(prices, model->contexts + begin, values + begin, parts * model->part, model->mag + begin,
                               draft->codes + begin);
    plane->escapes[pass] = 0;
    for (ptrdiff_t k = pass ? model->ends[pass - 1] : 0; any & 2 && k < model->ends[pass]; k++) {
        const uint32_t i = model->at[k];
        const int32_t radius = radius_of(prices[model->contexts[i]]), size = model->mag[i];
        if (size <= radius) continue;
        if (!keep_escape(found, values[i] < 0 ? -size : size, radius)) return -1;
        plane->escapes[pass]++;
    }
    return any & 1;
}

/* The same for a whole plane with a prediction, codes row by row; nothing is left out: where the prediction is not zero,
 * neither is the cheapest symbol. */
static int find_predicted(Model *model, const Price *prices, const int16_t *values, Draft *draft, Found *found) {
    const int32_t straight = 16 * model->ctx_w[0];
    Rows *rows = &draft->rows;
    uint16_t *out = draft->codes;
    for (ptrdiff_t y = 0; y < model->height; y++) {
        const ptrdiff_t begin[2] = {row_of(model, y, 0), row_of(model, y, 1)};
        const int32_t weight = left_weight(model, y);
        rows_turn(rows, model, y);
        int32_t left = y ? rows->symbols_above[0] : 0, magnitude = 0;
        for (ptrdiff_t x = 0; x < model->width; x++) {
            const ptrdiff_t i = begin[x % 2] + x / 2;
            const int32_t size = model->mag[i], symbol = values[i] < 0 ? -size : size;
            const Price price = prices[context_of(rows->known[x] + straight * magnitude)];
            const int32_t residual = symbol - predict(weight, left, rows->predicted[x]);
            left = symbol;
            magnitude = residual < 0 ? -residual : residual;
            const int escape = magnitude > radius_of(price);
            if (escape && !keep_escape(found, residual, radius_of(price))) return -1;
            *out++ = (uint16_t)((price & 0xFFFF) + (uint32_t)(escape ? radius_of(price) + 1 : residual));
            magnitude = magnitude > MAX_SYMBOL ? MAX_SYMBOL : magnitude;
            rows->symbols[x] = (int16_t)symbol;
            rows->mag[x] = (uint8_t)magnitude;
        }
        PLACE(model->mag, rows->mag, y, model);
    }
    return 1;
}

/* Puts the codes of a plane in the place of its values. Returns whether it is to be coded, -1 without memory. Without a `source`
 * values are the symbols. */
static int find_plane(Model *model, const Plan *plan, int channel, int16_t *values, const Source *source, Draft *draft,
                      Plane *plane, Found *found) {
    const uint32_t inverse = source ? inverse_step(source->steps[channel]) : 1u << 16;
    const uint32_t offset = source ? (uint32_t)source->round256 : 0;
    const size_t before = found->count;
    Price prices[CONTEXTS];
    if (!quantize_plane(values, model->size, inverse, offset, model->mag)) return 0;
    model_channel(model, plan, channel);
    prices_of(plan, channel, source, prices);
    int any = 0;
    if (model->predicted) {
        any = find_predicted(model, prices, values, draft, found);
    } else {
        for (int pass = 0; pass < PASSES && any >= 0; pass++) {
            const int more = find_pass(model, pass, prices, values, draft, plane, found);
            any = more < 0 ? more : any | more;
        }
    }
    if (any > 0) memcpy(values, draft->codes, 2 * (size_t)model->size);
    if (any == 0) found->count = before;
    return any;
}

/* Planes are `stride` values apart; those that are not `used` are all zero. */
static int find_all(const Plan *plan, int16_t *planes, ptrdiff_t stride, const uint8_t *used, const Source *source, Model *model,
                    Found *found) {
    Draft draft = {0};
    found->planes = calloc((size_t)plan->channels, sizeof *found->planes);
    int flag = draft_init(&draft, model) && found->planes ? 0 : -1;
    for (ptrdiff_t i = 0; i < plan->channels && flag >= 0; i++) {
        const int channel = plan->order[i];
        Plane *plane = &found->planes[i];
        flag = used[channel] ? find_plane(model, plan, channel, planes + channel * stride, source, &draft, plane, found) : 0;
        if (flag < 0) break;
        plane->one = flag_one(model) | (uint32_t)flag;
        flag_update(model, flag);
        model_update(model, flag);
    }
    draft_free(&draft);
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
static inline uint32_t advanced(uint32_t state, const Code *code) {
    return state + code->start + (uint32_t)(state * code->inverse >> 46) * code->rest;
}

static void put(Encoder *e, int turn, const Code *code) {
    uint32_t state = e->state[e->both ? turn : 0];
    if (state >= code->limit) {
        if (e->both) {
            e->words[e->count++] = (uint16_t)state;
        } else {
            e->state[!turn] = STATE_START | (state & 0xFFFF);
            e->both = 1;
        }
        state >>= 16;
    }
    e->state[e->both ? turn : 0] = advanced(state, code);
}

static void put_once(Encoder *e, uint32_t start, uint32_t freq) {
    const Code code = code_of(start, freq);
    put(e, 0, &code);
}

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

/* `pairs` pairs of symbols, whose last one is before `at`, without a branch that nothing could foresee. Returns the place
 * behind the words. A function of its own, so that all it needs is in registers. */
static __attribute__((noinline)) uint16_t *put_pairs(uint32_t state[2], uint16_t *word, const Code *codes,
                                                     const uint16_t *numbers, const uint32_t *at, ptrdiff_t pairs) {
    uint32_t a = state[0], b = state[1];
    for (; pairs > 0; pairs--) {
        const Code *second = &codes[numbers[*--at]], *first = &codes[numbers[*--at]];
        *word = (uint16_t)b;
        word += b >= second->limit;
        b = b >= second->limit ? b >> 16 : b;
        *word = (uint16_t)a;
        word += a >= first->limit;
        a = a >= first->limit ? a >> 16 : a;
        a = advanced(a, first);
        b = advanced(b, second);
    }
    state[0] = a;
    state[1] = b;
    return word;
}

/* The symbols at[begin..end] of a plane, which take turns from an even number on. */
static int put_codes(Encoder *e, const Code *codes, const uint16_t *numbers, const uint32_t *at, ptrdiff_t begin,
                     ptrdiff_t end) {
    if (!words_reserve(e, (size_t)(end - begin) + 2)) return 0;
    while (end > begin) {
        const ptrdiff_t pairs = e->both && end % 2 == 0 ? (end - begin) / 2 : 0;
        if (pairs) {
            e->count = (size_t)(put_pairs(e->state, e->words + e->count, codes, numbers, at + end, pairs) - e->words);
            end -= 2 * pairs;
        } else {
            end--;
            put(e, (int)(end % 2), &codes[numbers[at[end]]]);
        }
    }
    return 1;
}

static int put_plane(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, const Plane *plane,
                     Found *found) {
    for (int pass = PASSES; pass-- > 0;) {
        for (uint32_t i = 0; i < plane->escapes[pass]; i++)
            if (!put_escape(e, found->escaped[--found->count])) return 0;
        if (!put_codes(e, plan->codes, numbers, model->at, pass ? model->ends[pass - 1] : 0, model->ends[pass])) return 0;
    }
    return 1;
}

/* A plane with a prediction: all by the first state, and what follows an escape at once. */
static int put_predicted(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, Found *found) {
    for (ptrdiff_t k = model->height * model->width; k-- > 0;) {
        const Code *code = &plan->codes[numbers[k]];
        if (is_escape(code) && !put_escape(e, found->escaped[--found->count])) return 0;
        if (!words_reserve(e, 1)) return 0;
        put(e, 0, code);
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
