/* Encoding: latents to symbols, symbols to codes, codes to a stream. Part of _coder.c.
 *
 * A stream is written from its end, so that a first walk, in the order of decoding, finds the code of every symbol, and a second
 * one, backwards, writes them. */

#ifndef EDGEPRESS_CODER_ENCODE_H
#define EDGEPRESS_CODER_ENCODE_H

#include "_coder_lanes.h"
#include "_coder_lookup.h"
#include "_coder_masking.h"
#include "_coder_predict.h"
#include "_coder_quantize.h"

#define MOSTLY_ZEROS 6 /* a plane with at most one in so many residuals that is not zero writes few words */
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

/* ---- the first walk ---- */

typedef struct {
    uint32_t one;             /* the frequency of a flag that is 1, a multiple of 4, and the flag itself in the lowest bit */
    uint32_t escapes[PASSES]; /* how many there are behind each pass; with a prediction in the first, which is all of it */
    int sparse;               /* whether few of its symbols write a word, which lanes have no need to know */
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
    Price *prices; /* of the contexts of a pass, or of all */
    uint16_t *codes;
    void *memory;
} Draft;

static int draft_init(Draft *draft, const Model *model) {
    const size_t size = (size_t)model->size;
    draft->memory = calloc(size * sizeof *draft->prices + (size + BLOCK) * sizeof *draft->codes + LINE, 1);
    if (!draft->memory) return 0;
    draft->prices = (Price *)line_up(draft->memory);
    draft->codes = (uint16_t *)(draft->prices + size);
    return 1;
}

static void draft_free(Draft *draft) { free(draft->memory); }

/* A plane on its way to its codes: a map of its symbols, or NULL and one of the values that become symbols. */
typedef struct {
    const int16_t *symbols;
    const int8_t *values;
    int32_t zero_point;
    uint16_t step16;
    Rounding rounding;
    const uint8_t *masking;
    const Price *prices; /* by context */
} Given;

/* Codes, and magnitudes, of values side by side from `begin` on. Returns 1 where any of the symbols is left, and 2 more where any
 * escapes. */
VECTOR static int find_codes(const Given *given, ptrdiff_t begin, ptrdiff_t count, const Price *restrict prices,
                             uint8_t *restrict mag, uint16_t *restrict codes) {
    const int8_t *restrict values = given->values + begin;
    const uint8_t *restrict masking = given->masking + begin;
    const int32_t zero_point = given->zero_point;
    const uint16_t half = 128 * MASKING_NEUTRAL, step16 = given->step16;
    const Rounding rounding = given->rounding;
    uint16_t any = 0; /* bits of sizes, and from 8 on whether any escapes: one thing to be gathered from the lanes in the end */
    for (ptrdiff_t i = 0; i < count; i++) {
        const int16_t value = (int16_t)(values[i] - zero_point), sign = value >> 15;
        const uint16_t distance = (uint16_t)((value ^ sign) - sign), made = quantized(distance, rounding);
        const uint16_t dead = (uint16_t)(half + low_half(dead_of(prices[i]), masking[i])); /* in 1/65536 of a step16 */
        const uint16_t needed = (uint16_t)(high_half(dead, step16) + (low_half(dead, step16) != 0)); /* int8 steps, to be 1 */
        const uint16_t size = made & (uint16_t)(((made == 1) & (distance < needed)) - 1); /* && would keep it from being vectorized */
        const uint16_t radius = radius_of(prices[i]), escape = size > radius;
        any |= (uint16_t)(size | escape << 8);
        mag[i] = (uint8_t)size;
        codes[i] = (uint16_t)(prices[i].zero + (escape ? radius + 1 : (size ^ sign) - sign));
    }
    return ((any & 0xFF) != 0) | any >> 8 << 1;
}

static int is_negative(const Given *given, uint32_t i) {
    return given->symbols ? given->symbols[i] < 0 : given->values[i] < given->zero_point;
}

/* Keeps the escapes of a pass, whose prices are in the draft; 0 without memory. */
static int keep_escapes(const Model *model, int pass, const Given *given, const Draft *draft, Plane *plane, Found *found) {
    const ptrdiff_t first = pass * model->part;
    for (const Row *row = rows_of(model, pass), *end = rows_of(model, pass + 1); row < end; row++)
        for (uint32_t i = row->from; i < row->from + row->count; i++) {
            const int32_t radius = radius_of(draft->prices[i - first]), size = model->mag[i];
            if (size <= radius) continue;
            if (!keep_escape(found, is_negative(given, i) ? -size : size, radius)) return 0;
            plane->escapes[pass]++;
        }
    return 1;
}

/* Finds the codes of a pass; returns whether any symbol is left, -1 without memory. */
static int find_pass(Model *model, int pass, const Given *given, const Draft *draft, Plane *plane, Found *found) {
    const ptrdiff_t begin = pass * model->part, count = (pass == 2 ? 2 : 1) * model->part;
    uint16_t *codes = draft->codes + begin;
    model_contexts(model, pass);
    look_up(given->prices, model->contexts + begin, count, draft->prices);
    const int any = given->symbols ? 1 | codes_of(draft->prices, given->symbols + begin, count, codes) << 1
                                   : find_codes(given, begin, count, draft->prices, model->mag + begin, codes);
    plane->escapes[pass] = 0;
    if (any & 2 && !keep_escapes(model, pass, given, draft, plane, found)) return -1;
    return any & 1;
}

/* The same for a whole plane with a prediction; nothing is left out: where the prediction is not zero, neither is the cheapest
 * symbol. */
static int find_predicted(Model *model, Preview *preview, const Given *given, const Draft *draft, Plane *plane, Found *found) {
    const ptrdiff_t size = model->size, count = model->height * model->width;
    plane->escapes[0] = 0;
    if (!preview_init(preview, model)) return -1;
    if (given->symbols)
        memcpy(preview->symbols, given->symbols, (size_t)size * sizeof *preview->symbols);
    else
        symbols_of(given->values, given->zero_point, given->rounding, size, preview->symbols);
    residuals_of(preview->symbols, preview->inside, model->part, preview->to, model->mean_w, preview->residuals, model->mag);
    residuals_at_borders(preview, model->mean_w, model->mag);
    contexts_behind(model->fast, model->slow, model->around, model->mag, model->part, preview->to, model->ctx_w,
                    model->contexts);
    look_up(given->prices, model->contexts, size, draft->prices);
    const int any = codes_of(draft->prices, preview->residuals, size, draft->codes);
    for (ptrdiff_t k = 0; any && k < count; k++) {
        const uint32_t i = preview->order[k];
        const int32_t residual = preview->residuals[i], radius = radius_of(draft->prices[i]);
        if ((residual < 0 ? -residual : residual) <= radius) continue;
        if (!keep_escape(found, residual, radius)) return -1;
        plane->escapes[0]++;
    }
    return 1;
}

/* The codes of a map in the order of coding; both have room for a block more. */
VECTOR static void in_order(const Model *model, const Preview *preview, const uint16_t *restrict map, uint16_t *restrict codes) {
    if (model->predicted) {
        for (ptrdiff_t k = 0; k < model->height * model->width; k++) codes[k] = map[preview->order[k]];
        return;
    }
    for (const Row *row = model->rows, *end = rows_of(model, PASSES); row < end; codes += row++->count)
        for (uint32_t x = 0; x < row->count; x += BLOCK) memcpy(codes + x, map + row->from + x, BLOCK * sizeof *codes);
}

/* Finds the codes, in the draft, of a plane. Returns whether it is to be coded, -1 without memory. */
static int find_plane(Model *model, Preview *preview, const Plan *plan, int channel, const Given *given, Draft *draft, Plane *plane,
                      Found *found) {
    const size_t before = found->count;
    int any = 0;
    model_channel(model, plan, channel);
    if (model->predicted) {
        any = find_predicted(model, preview, given, draft, plane, found);
    } else {
        for (int pass = 0; pass < PASSES && any >= 0; pass++) {
            const int more = find_pass(model, pass, given, draft, plane, found);
            any = more < 0 ? more : any | more;
        }
    }
    if (any == 0) found->count = before;
    return any;
}

/* What is to be encoded. Its planes are `stride` codes apart, and first hold the values of the latent in half of the room. */
typedef struct {
    const int16_t *symbols; /* [channels][height][width], or NULL with a grade */
    const Grade *grade;
    uint16_t *planes;
    ptrdiff_t stride;
    uint8_t *masking; /* a map; not looked at with symbols */
    uint8_t *used;    /* which planes of the latent are not all zero */
    void *memory;
} Source;

static int source_init(Source *source, const Model *model, ptrdiff_t channels) {
    const size_t size = (size_t)model->size, stride = size + BETWEEN, count = (size_t)channels;
    source->memory = malloc(count * stride * sizeof *source->planes + size + count + LINE);
    if (!source->memory) return 0;
    source->planes = (uint16_t *)line_up(source->memory);
    source->stride = (ptrdiff_t)stride;
    source->masking = (uint8_t *)(source->planes + count * stride);
    source->used = source->masking + size;
    return 1;
}

static void source_free(Source *source) { free(source->memory); }

/* Maps of a latent [height][width][channels], and what of its errors is hidden. */
static void source_fill(Source *source, const int8_t *latent, ptrdiff_t channels, const Model *model) {
    const Grade *grade = source->grade;
    memset(source->masking, MASKING_NEUTRAL, (size_t)model->size);
    if (grade->masks) masking_map(latent, grade, channels, model, source->masking);
    find_used(latent, grade, model->height * model->width, channels, source->used);
    for (ptrdiff_t c = 0; c < channels; c++)
        if (any_used(source->used + c / TILE * TILE, channels - c / TILE * TILE))
            memset(source->planes + c * source->stride, grade->zero_point, (size_t)model->size);
    to_maps(latent, channels, model, source->used, (int8_t)grade->zero_point, 2 * source->stride, (int8_t *)source->planes);
}

/* A plane of a latent; returns whether it has symbols that are not zero. */
static int latent_plane(const Source *source, int channel, Given *given) {
    const Grade *grade = source->grade;
    if (!source->used[channel]) return 0;
    given->symbols = NULL;
    given->values = (const int8_t *)(source->planes + channel * source->stride);
    given->zero_point = grade->zero_point;
    given->step16 = grade->steps[channel];
    given->rounding = rounding_of(grade->steps[channel], grade->round256);
    given->masking = source->masking;
    given->prices = grade->prices + CONTEXTS * channel;
    return 1;
}

/* The same of symbols, whose magnitudes are noted, and whose prices are put into `own`. */
static int symbol_plane(const Source *source, const Plan *plan, int channel, Model *model, Price *own, Given *given) {
    const int16_t *symbols = source->symbols + channel * model->height * model->width;
    int16_t *map = (int16_t *)(source->planes + channel * source->stride);
    int any = 0;
    memset(map, 0, (size_t)model->size * sizeof *map);
    memset(model->mag, 0, (size_t)model->size);
    for (ptrdiff_t y = 0; y < model->height; y++)
        for (ptrdiff_t x = 0; x < model->width; x++) {
            const int16_t symbol = *symbols++;
            const ptrdiff_t i = row_of(model, y, x % 2) + x / 2;
            map[i] = symbol;
            model->mag[i] = (uint8_t)(symbol < 0 ? -symbol : symbol);
            any |= symbol;
        }
    for (int i = 0; i < CONTEXTS; i++) own[i] = price_of(plan, CONTEXTS * channel + i);
    given->symbols = map;
    given->prices = own;
    return any != 0;
}

/* Puts the codes of planes in their places. */
static int find_all(const Plan *plan, const Source *source, Model *model, Preview *preview, Found *found) {
    Draft draft = {0};
    Price own[CONTEXTS];
    found->planes = calloc((size_t)plan->channels, sizeof *found->planes);
    int flag = draft_init(&draft, model) && found->planes ? 0 : -1;
    for (ptrdiff_t i = 0; i < plan->channels && flag >= 0; i++) {
        const int channel = plan->order[i];
        Plane *plane = &found->planes[i];
        Given given;
        flag = source->grade ? latent_plane(source, channel, &given)
                             : symbol_plane(source, plan, channel, model, own, &given);
        if (flag) flag = find_plane(model, preview, plan, channel, &given, &draft, plane, found);
        if (flag < 0) break;
        if (flag) {
            in_order(model, preview, draft.codes, source->planes + channel * source->stride);
            plane->sparse = !LANES && MOSTLY_ZEROS * count_nonzero(model->mag, model->size) < model->height * model->width;
        }
        plane->one = flag_one(model) | (uint32_t)flag;
        flag_update(model, flag);
        model_update(model, flag);
    }
    draft_free(&draft);
    return flag >= 0;
}

/* ---- the second walk ---- */

typedef struct {
    uint16_t *words; /* the last one comes first */
    size_t count, capacity;
    uint32_t state[STATES];
    int states; /* how many there are by now */
} Encoder;

/* The inverse is floor(2^46 / freq) + 1: as the state is below freq * 2^18 by then, the product stays below 2^64, and its upper bits
 * are the quotient exactly. */
static inline uint32_t advanced(uint32_t state, const Code *code, uint64_t inverse) {
    return state + code->start + (uint32_t)(state * inverse >> 46) * code->rest;
}

/* One more state begins as the word that state `turn` would write, and symbol `number` goes on in the state that now has its turn,
 * which is returned. */
static uint32_t begin_state(Encoder *e, uint32_t turn, uint32_t number) {
    const uint32_t state = e->state[turn], word = STATE_START | (state & 0xFFFF), fresh = (uint32_t)e->states++;
    const uint32_t now = number & TURNS[e->states];
    if (now == fresh) {
        e->state[turn] = word;
    } else {
        e->state[turn] = e->state[now];
        e->state[fresh] = word;
    }
    e->state[now] = state;
    return now;
}

static void put(Encoder *e, uint32_t number, const Code *code, uint64_t inverse) {
    uint32_t turn = number & TURNS[e->states];
    if (e->state[turn] >= code->limit) {
        if (e->states < STATES && (ptrdiff_t)e->count == WORDS_BEFORE[e->states])
            turn = begin_state(e, turn, number);
        else
            e->words[e->count++] = (uint16_t)e->state[turn];
        e->state[turn] >>= 16;
    }
    e->state[turn] = advanced(e->state[turn], code, inverse);
}

static void put_once(Encoder *e, uint32_t start, uint32_t freq) {
    const Code code = code_of(start, freq);
    put(e, 0, &code, inverse_of(freq));
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

/* Puts a symbol. Where hardly any writes a word, `sparse`, a processor foresees that, and goes straight on; elsewhere nothing could
 * foresee it, so that there is no branch. */
#define PUT_SYMBOL(state)                                    \
    do {                                                     \
        const uint32_t number_ = *--numbers;                 \
        const Code *code_ = &codes[number_];                 \
        const int full_ = (state) >= code_->limit;           \
        if (!sparse || __builtin_expect(full_, 0)) {         \
            *word = (uint16_t)(state);                       \
            word += full_;                                   \
            (state) = full_ ? (state) >> 16 : (state);       \
        }                                                    \
        (state) = advanced(state, code_, inverses[number_]); \
    } while (0)

/* Puts as many symbols at a time as there are states: `count` of them, a multiple of that, the last one before `numbers`. */
static inline __attribute__((always_inline)) void put_many(int four, int sparse, Encoder *e, const Plan *plan,
                                                           const uint16_t *numbers, ptrdiff_t count) {
    const Code *codes = plan->codes;
    const uint64_t *inverses = plan->inverses;
    uint16_t *word = e->words + e->count;
    uint32_t s0 = e->state[0], s1 = e->state[1], s2 = e->state[2], s3 = e->state[3];
    for (const uint16_t *begin = numbers - count; numbers > begin;) {
        if (four) PUT_SYMBOL(s3);
        if (four) PUT_SYMBOL(s2);
        PUT_SYMBOL(s1);
        PUT_SYMBOL(s0);
    }
    e->count = (size_t)(word - e->words);
    e->state[0] = s0;
    e->state[1] = s1;
    e->state[2] = s2;
    e->state[3] = s3;
}

/* Functions of their own, so that all that their loops need is in registers, and aligned, so that they are as fast whatever is before. */
#define PUT(name, four, sparse)                                                                                      \
    static __attribute__((noinline, aligned(LINE))) void name(Encoder *e, const Plan *plan, const uint16_t *numbers, \
                                                              ptrdiff_t count) {                                     \
        put_many(four, sparse, e, plan, numbers, count);                                                             \
    }
PUT(put_by_two, 0, 0)
PUT(put_by_two_sparse, 0, 1)
PUT(put_by_four, 1, 0)
PUT(put_by_four_sparse, 1, 1)

/* The same by four at once, where LANES are. */
static void put_by_lanes(Encoder *e, const Plan *plan, const uint16_t *numbers, ptrdiff_t count) {
    uint64_t states[STATES];
    for (int i = 0; i < STATES; i++) states[i] = e->state[STATES - 1 - i];
    e->count = (size_t)(put_lanes(plan, numbers, count, states, e->words + e->count) - e->words);
    for (int i = 0; i < STATES; i++) e->state[i] = (uint32_t)states[STATES - 1 - i];
}

/* How many of `count` symbols that end with number `end` - 1 can be put at once. */
static ptrdiff_t at_once(const Encoder *e, ptrdiff_t count, ptrdiff_t end) {
    if ((e->states != 2 && e->states != 4) || end % e->states) return 0;
    const ptrdiff_t room = e->states == 2 ? WORDS_BEFORE[2] - (ptrdiff_t)e->count : count;
    const ptrdiff_t most = room < count ? room : count;
    return most / e->states * e->states;
}

/* The symbols `begin` to `end` of a plane. */
static int put_codes(Encoder *e, const Plan *plan, int sparse, const uint16_t *numbers, ptrdiff_t begin, ptrdiff_t end) {
    if (!words_reserve(e, (size_t)(end - begin) + STATES)) return 0; /* lanes write four at a time */
    while (end > begin) {
        const ptrdiff_t many = at_once(e, end - begin, end);
        if (!many) {
            end--;
            put(e, (uint32_t)end, &plan->codes[numbers[end]], plan->inverses[numbers[end]]);
            continue;
        }
        if (e->states == 2)
            (sparse ? put_by_two_sparse : put_by_two)(e, plan, numbers + end, many);
        else if (LANES)
            put_by_lanes(e, plan, numbers + end, many);
        else
            (sparse ? put_by_four_sparse : put_by_four)(e, plan, numbers + end, many);
        end -= many;
    }
    return 1;
}

static int put_plane(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, const Plane *plane,
                     Found *found) {
    ptrdiff_t end = model->ends[PASSES - 1];
    for (int pass = PASSES; pass-- > 0;) {
        if (!plane->escapes[pass]) continue; /* passes with nothing between them are put as one */
        if (!put_codes(e, plan, plane->sparse, numbers, model->ends[pass], end)) return 0;
        end = model->ends[pass];
        for (uint32_t i = 0; i < plane->escapes[pass]; i++)
            if (!put_escape(e, found->escaped[--found->count])) return 0;
    }
    return put_codes(e, plan, plane->sparse, numbers, 0, end);
}

/* A plane with a prediction, in which what an escape stands for follows at once. */
static int put_predicted(Encoder *e, const Plan *plan, const Model *model, const uint16_t *numbers, const Plane *plane,
                         Found *found) {
    ptrdiff_t end = model->height * model->width;
    uint32_t escapes = plane->escapes[0];
    for (ptrdiff_t k = end; escapes && k-- > 0;) {
        if (!is_escape(&plan->codes[numbers[k]])) continue;
        if (!put_codes(e, plan, plane->sparse, numbers, k + 1, end)) return 0;
        if (!put_escape(e, found->escaped[--found->count])) return 0;
        end = k + 1;
        escapes--;
    }
    return put_codes(e, plan, plane->sparse, numbers, 0, end);
}

static int put_all(Encoder *e, const Plan *plan, const Model *model, const Source *source, Found *found) {
    e->state[0] = STATE_START;
    e->states = 1;
    for (ptrdiff_t i = plan->channels; i-- > 0;) {
        const int channel = plan->order[i];
        const Plane *plane = &found->planes[i];
        const uint32_t one = plane->one & ~1u, flag = plane->one & 1;
        const uint16_t *numbers = source->planes + channel * source->stride;
        if (flag && (is_predicted(plan, channel) ? !put_predicted(e, plan, model, numbers, plane, found)
                                                 : !put_plane(e, plan, model, numbers, plane, found)))
            return 0;
        if (!words_reserve(e, 1 + 2 * STATES)) return 0; /* those of the states come after the last flag */
        put_once(e, flag ? 0 : one, flag ? one : PROB_SCALE - one);
    }
    for (int i = e->states; i-- > 0;) {
        e->words[e->count++] = (uint16_t)(e->state[i] >> 16);
        e->words[e->count++] = (uint16_t)e->state[i];
    }
    return 1;
}

#endif
