/* Decoding: a stream to symbols or to a latent. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_DECODE_H
#define EDGEPRESS_CODER_DECODE_H

#include "_coder_grade.h"
#include "_coder_lookup.h"
#include "_coder_wave.h"

#define MAX_PREFIX 9
#define SPARSE 12 /* a plane with at most one in so many symbols that is not zero */

#define TOO_SHORT "the compressed data ends too early"
#define BAD_LENGTH "the compressed data has an impossible length"
#define BAD_NUMBER "the compressed data holds an impossible number"
#define BAD_SYMBOL "the compressed data holds a symbol out of range"
#define BAD_END "the compressed data does not end where it should"
#define NO_MEMORY "out of memory"

typedef struct {
    const uint8_t *next, *end;
    uint32_t state[STATES];
    int states; /* how many are still in use, see _coder_encode.h */
    int sparse; /* whether the last plane was */
    int few;    /* whether the last plane has but symbols from -FEW / 2 on */
    const char *error;
} Decoder;

static inline uint32_t word_at(const uint8_t *data) { return data[0] | (uint32_t)data[1] << 8; }

/* Where the last state ends, it is the word that symbol `number`, in state `turn`, needs; that goes on where it would be without it. */
static void end_state(Decoder *d, uint32_t turn, uint32_t number) {
    const uint32_t last = (uint32_t)--d->states, then = number & TURNS[d->states], state = d->state[turn];
    const uint32_t word = d->state[turn == last ? then : last];
    if (word >> 16 != 1) d->error = TOO_SHORT;
    if (turn != last) d->state[turn] = d->state[then];
    d->state[then] = state << 16 | (word & 0xFFFF);
}

/* Brings the state whose turn it is at symbol `number` back into its range. */
static void refill(Decoder *d, uint32_t number) {
    const uint32_t turn = number & TURNS[d->states], state = d->state[turn];
    const ptrdiff_t words = (d->end - d->next) / 2;
    if (state >= STATE_START) return;
    if (d->states > 1 && words == WORDS_BEFORE[d->states - 1]) {
        end_state(d, turn, number);
    } else if (words) {
        d->state[turn] = state << 16 | word_at(d->next);
        d->next += 2;
    } else {
        d->error = TOO_SHORT;
    }
    if (d->error) d->state[0] = STATE_START; /* for what is still decoded before anybody looks */
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

/* Takes a symbol out of a state, which may be too small then; returns its residual, or ESCAPE. */
static inline int16_t take_symbol(const Entry *entry, uint32_t *state) {
    const uint32_t slot = *state & (PROB_SCALE - 1);
    const Span *span = entry->spans + entry->first[slot >> SLOT_BITS];
    while (slot >= span[1].start) span++; /* hardly ever */
    *state = (uint32_t)(span[1].start - span->start) * (*state >> PROB_BITS) + (slot - span->start);
    return span->residual;
}

/* ---- planes ---- */

/* Room for one plane. */
typedef struct {
    uint32_t *zeros;  /* a map of how entries code a zero, where that is wanted */
    int16_t *symbols; /* a map; its borders stay zeros */
    Wave wave;
} Work;

static int work_init(Work *work, const Model *model) {
    const size_t size = (size_t)model->size;
    work->zeros = calloc(size, sizeof *work->zeros + sizeof *work->symbols);
    if (!work->zeros) return 0;
    work->symbols = (int16_t *)(work->zeros + size);
    return 1;
}

static void work_free(Work *work) {
    free(work->zeros);
    wave_free(&work->wave);
}

/* What a loop over symbols works on. */
typedef struct {
    const uint32_t *at;
    const uint8_t *contexts;
    const Entry *const *entries;
    int16_t *symbols;
    const uint32_t *zeros; /* NULL where other symbols are too frequent */
} Field;

/* Takes symbol at[k] out of a state, which may be too small then. */
#define TAKE_SYMBOL(state, k)                                                                \
    do {                                                                                     \
        const uint32_t here_ = at[k];                                                        \
        symbols[here_] = take_symbol(entries[contexts[here_]], &(state));                    \
    } while (0)

/* Brings a state back into its range without a branch, which no processor would foresee: compilers make one of two things that
 * depend on a comparison, or where what is chosen could be worked out later, which KEPT prevents. */
#define KEPT(value) __asm__("" : "+r"(value))
#define REFILL(state)                                                  \
    do {                                                               \
        uint32_t more_ = (state) << 16 | word_at(next);                \
        KEPT(more_);                                                   \
        next += ((uint64_t)(state) - STATE_START) >> 63 << 1;          \
        (state) = (state) < STATE_START ? more_ : (state);             \
    } while (0)

/* Takes as many symbols at a time as there are states, from symbol k on as long as there are words enough, and so many symbols;
 * returns how far that is. */
static inline __attribute__((always_inline)) ptrdiff_t take_many(int four, Decoder *d, ptrdiff_t k, ptrdiff_t end,
                                                                 const uint8_t *last, const Field *f) {
    const uint32_t *at = f->at + k, *stop = f->at + end - (four ? 4 : 2);
    const uint8_t *restrict contexts = f->contexts;
    const Entry *const *restrict entries = f->entries;
    int16_t *restrict symbols = f->symbols;
    const uint8_t *next = d->next;
    uint32_t s0 = d->state[0], s1 = d->state[1], s2 = d->state[2], s3 = d->state[3];
    for (; at <= stop && next <= last; at += four ? 4 : 2) {
        TAKE_SYMBOL(s0, 0);
        TAKE_SYMBOL(s1, 1);
        if (four) TAKE_SYMBOL(s2, 2);
        if (four) TAKE_SYMBOL(s3, 3);
        REFILL(s0);
        REFILL(s1);
        if (four) REFILL(s2);
        if (four) REFILL(s3);
    }
    d->next = next;
    d->state[0] = s0;
    d->state[1] = s1;
    d->state[2] = s2;
    d->state[3] = s3;
    return at - f->at;
}

/* Functions of their own, so that as much as can be of what their loops need is in registers. */
static __attribute__((noinline)) ptrdiff_t take_by_two(Decoder *d, ptrdiff_t k, ptrdiff_t end, const uint8_t *last, const Field *f) {
    return take_many(0, d, k, end, last, f);
}
static __attribute__((noinline)) ptrdiff_t take_by_four(Decoder *d, ptrdiff_t k, ptrdiff_t end, const uint8_t *last, const Field *f) {
    return take_many(1, d, k, end, last, f);
}

typedef uint32_t Lanes __attribute__((vector_size(4 * STATES)));

static inline int any_lane(Lanes lanes) {
    uint64_t halves[2];
    memcpy(halves, &lanes, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* The same where most symbols are zero, and in their places already: as long as a processor rightly foresees nothing else, all four
 * states go on at once. */
VECTOR static ptrdiff_t take_sparse(Decoder *d, ptrdiff_t k, ptrdiff_t end, const uint8_t *last, const Field *f) {
    const uint8_t *contexts = f->contexts;
    const Entry *const *entries = f->entries;
    const uint32_t *zeros = f->zeros;
    int16_t *symbols = f->symbols;
    const uint8_t *next = d->next;
    Lanes states;
    memcpy(&states, d->state, sizeof states);
    for (; k + STATES <= end; k += STATES) {
        const uint32_t *at = f->at + k;
        const Lanes zero = {zeros[at[0]], zeros[at[1]], zeros[at[2]], zeros[at[3]]};
        const Lanes freq = zero >> 16, beyond = (states & (PROB_SCALE - 1)) - (zero & 0xFFFF);
        const Lanes after = freq * (states >> PROB_BITS) + beyond;
        if (!any_lane((Lanes)(beyond >= freq) | (Lanes)(after < STATE_START))) {
            states = after;
            continue;
        }
        if (next > last) break;
        uint32_t s0 = states[0], s1 = states[1], s2 = states[2], s3 = states[3];
        TAKE_SYMBOL(s0, 0);
        TAKE_SYMBOL(s1, 1);
        TAKE_SYMBOL(s2, 2);
        TAKE_SYMBOL(s3, 3);
        REFILL(s0);
        REFILL(s1);
        REFILL(s2);
        REFILL(s3);
        states = (Lanes){s0, s1, s2, s3};
    }
    memcpy(d->state, &states, sizeof states);
    d->next = next;
    return k;
}

/* Takes what can be taken at once from symbol `begin` on; returns how far that is. */
static ptrdiff_t take_at_once(Decoder *d, ptrdiff_t begin, ptrdiff_t end, const Field *f) {
    if ((d->states != 2 && d->states != 4) || begin % d->states || begin + d->states > end) return begin;
    const ptrdiff_t words = WORDS_BEFORE[d->states - 1] + d->states; /* that must be left, or may be needed */
    if (d->end - d->next < 2 * words) return begin;
    const uint8_t *last = d->end - 2 * words;
    if (d->states == 2) return take_by_two(d, begin, end, last, f);
    return (f->zeros ? take_sparse : take_by_four)(d, begin, end, last, f);
}

/* Finds how the entries of part of a map code a zero, and puts zeros there. */
static void expect_zeros(const Model *model, ptrdiff_t first, ptrdiff_t size, const uint32_t *zero_of, Work *work) {
    look_up(zero_of, model->contexts + first, size, work->zeros + first);
    memset(work->symbols + first, 0, (size_t)size * sizeof *work->symbols);
}

/* What the escapes of a pass stand for, which comes behind it. */
static void take_escapes(Decoder *d, Model *model, ptrdiff_t begin, ptrdiff_t end, const Entry *const *entries,
                         int16_t *symbols) {
    for (ptrdiff_t k = begin; k < end && !d->error; k++) {
        const uint32_t i = model->at[k];
        if (symbols[i] != ESCAPE) continue;
        const int32_t residual = decode_escape(d, entries[model->contexts[i]]->radius);
        const int32_t magnitude = residual < 0 ? -residual : residual;
        if (magnitude > MAX_SYMBOL && !d->error) d->error = BAD_SYMBOL;
        symbols[i] = (int16_t)residual;
        model->mag[i] = (uint8_t)magnitude;
    }
}

/* The magnitudes of symbols; returns the bits of them all together. */
VECTOR static uint16_t magnitudes_of(const int16_t *restrict symbols, ptrdiff_t size, uint8_t *restrict mag) {
    uint16_t bits = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        const uint16_t magnitude = (uint16_t)(symbols[i] < 0 ? -symbols[i] : symbols[i]);
        mag[i] = (uint8_t)magnitude;
        bits |= magnitude;
    }
    return bits;
}

static void decode_pass(Decoder *d, Model *model, int pass, const Plan *plan, int channel, Work *work) {
    const ptrdiff_t begin = pass ? model->ends[pass - 1] : 0, end = model->ends[pass];
    const ptrdiff_t first = pass * model->part, size = (pass == 2 ? 2 : 1) * model->part;
    const Entry *const *entries = plan->entry_of + CONTEXTS * channel;
    int16_t *symbols = work->symbols;
    const Field field = {model->at, model->contexts, entries, symbols, d->sparse ? work->zeros : NULL};
    model_contexts(model, pass);
    if (d->sparse) expect_zeros(model, first, size, plan->zero_of + CONTEXTS * channel, work);
    for (ptrdiff_t k = begin; k < end && !d->error;) {
        const ptrdiff_t before = k;
        k = take_at_once(d, k, end, &field);
        if (k > before) continue;
        const uint32_t i = model->at[k], turn = (uint32_t)k & TURNS[d->states];
        symbols[i] = take_symbol(entries[model->contexts[i]], &d->state[turn]);
        refill(d, (uint32_t)k++);
    }
    const uint16_t bits = magnitudes_of(symbols + first, size, model->mag + first);
    if (bits >= FEW / 2) d->few = 0;
    if (bits & (uint16_t)ESCAPE) take_escapes(d, model, begin, end, entries, symbols);
}

/* ---- planes with a prediction ---- */

/* Takes symbol k + i of a wave out of a state, unless it is an escape. */
#define TAKE_STEP(state, i)                                                                  \
    do {                                                                                     \
        const Step *step_ = &steps[k + (i)];                                                 \
        const int32_t residual_ = take_symbol(wave->entries[wave_half(&here, step_)], &(state)); \
        REFILL(state);                                                                       \
        if (residual_ == ESCAPE) {                                                           \
            k += (i);                                                                        \
            goto out;                                                                        \
        }                                                                                    \
        wave_note(&here, step_, wave_predict(&here, step_) + residual_, residual_ < 0 ? -residual_ : residual_, symbols, mag); \
    } while (0)

/* Takes symbols by four states from symbol k on, as long as there are words enough, and so many symbols, up to an escape, whose
 * symbol is taken but not noted. Returns how far that is. */
static __attribute__((noinline)) ptrdiff_t take_wave(Decoder *d, ptrdiff_t k, ptrdiff_t end, const uint8_t *last,
                                                     const Wave *wave, uint8_t *restrict mag, int16_t *restrict symbols,
                                                     int *escaped) {
    const Wave here = *wave; /* a copy, which no store of a byte can change */
    const Step *steps = here.steps;
    uint32_t s0 = d->state[0], s1 = d->state[1], s2 = d->state[2], s3 = d->state[3];
    const uint8_t *next = d->next;
    *escaped = 1;
    for (; k + STATES <= end && next <= last; k += STATES) {
        TAKE_STEP(s0, 0);
        TAKE_STEP(s1, 1);
        TAKE_STEP(s2, 2);
        TAKE_STEP(s3, 3);
    }
    *escaped = 0;
out:
    d->next = next;
    d->state[0] = s0;
    d->state[1] = s1;
    d->state[2] = s2;
    d->state[3] = s3;
    return k;
}

/* What is behind the symbol of a step: the residual of an escape, and the symbol's place in the plane. */
static void end_step(Decoder *d, const Step *step, int32_t residual, int32_t radius, Model *model, Work *work) {
    if (residual == ESCAPE) residual = decode_escape(d, radius);
    const int32_t size = residual < 0 ? -residual : residual;
    wave_note(&work->wave, step, wave_predict(&work->wave, step) + residual, size > MAX_SYMBOL ? MAX_SYMBOL : size, work->symbols,
              model->mag);
}

/* Whether a prediction and a residual together are ever more than a symbol can be. */
VECTOR static int any_beyond(const int16_t *restrict symbols, ptrdiff_t size) {
    int beyond = 0;
    for (ptrdiff_t i = 0; i < size; i++) beyond |= (symbols[i] > MAX_SYMBOL) | (symbols[i] < -MAX_SYMBOL);
    return beyond;
}

static void decode_predicted(Decoder *d, Model *model, const Entry *const *entries, Work *work) {
    Wave *wave = &work->wave;
    const ptrdiff_t end = model->height * model->width, words = WORDS_BEFORE[STATES - 1] + STATES;
    if (!wave_init(wave, model)) {
        d->error = NO_MEMORY;
        return;
    }
    wave_channel(wave, model, entries);
    for (ptrdiff_t k = 0; k < end && !d->error; k++) {
        if (d->states == STATES && k % STATES == 0 && k + STATES <= end && d->end - d->next >= 2 * words) {
            int escaped;
            k = take_wave(d, k, end, d->end - 2 * words, wave, model->mag, work->symbols, &escaped);
            if (escaped) {
                const Step *step = &wave->steps[k];
                end_step(d, step, ESCAPE, wave->entries[wave_half(wave, step)]->radius, model, work);
                continue;
            }
            if (k == end) break;
        }
        const Step *step = &wave->steps[k];
        const Entry *entry = wave->entries[wave_half(wave, step)];
        const int32_t residual = take_symbol(entry, &d->state[(uint32_t)k & TURNS[d->states]]);
        refill(d, (uint32_t)k);
        end_step(d, step, residual, entry->radius, model, work);
    }
    if (!d->error && any_beyond(work->symbols, model->size)) d->error = BAD_SYMBOL;
}

static void decode_plane(Decoder *d, Model *model, const Plan *plan, int channel, Work *work) {
    model_channel(model, plan, channel);
    d->few = !model->predicted;
    if (model->predicted)
        decode_predicted(d, model, plan->entry_of + CONTEXTS * channel, work);
    else
        for (int pass = 0; pass < PASSES && !d->error; pass++) decode_pass(d, model, pass, plan, channel, work);
    d->sparse = SPARSE * count_nonzero(model->mag, model->size) < model->height * model->width;
}

/* ---- what becomes of them ---- */

/* Symbols [channels][positions], or, where there is a grade, values [positions][channels]. */
typedef struct {
    int16_t *symbols; /* all zero before */
    const Grade *grade;
    int8_t *latent;
    int8_t *planes; /* room for it as maps, of `stride` values each */
    uint8_t *used;  /* by channel, whether its map holds anything but zeros; the others are made only where they are looked at */
    ptrdiff_t stride;
} Sink;

static void deliver(const Decoder *d, const Model *model, const int16_t *symbols, ptrdiff_t channel, const Sink *sink) {
    if (sink->grade) {
        const Grade *grade = sink->grade;
        int8_t *values = sink->planes + channel * sink->stride;
        sink->used[channel] = 1;
        if (d->few && FEW_AT_ONCE)
            few_values(symbols, model->size, grade->values + FEW * channel, values);
        else
            grade_values(grade, channel, symbols, model->size, values);
        return;
    }
    int16_t *out = sink->symbols + channel * model->height * model->width;
    for (ptrdiff_t y = 0; y < model->height; y++)
        for (ptrdiff_t x = 0; x < model->width; x++) *out++ = symbols[row_of(model, y, x % 2) + x / 2];
}

/* A tile of maps, which have room for it, and what of it is there, `wide` columns and `deep` channels, to a latent. */
static inline void tile_to_latent(const int8_t *even, const int8_t *odd, ptrdiff_t stride, ptrdiff_t deep, ptrdiff_t wide,
                                  ptrdiff_t channels, int8_t *out) {
    Bytes tile[TILE] = {{0}};
    for (ptrdiff_t d = 0; d < deep; d++, even += stride, odd += stride) {
        memcpy(&tile[d], even, TILE / 2);
        memcpy((int8_t *)&tile[d] + TILE / 2, odd, TILE / 2);
    }
    transpose(tile);
    for (int i = 0; i < TILE; i++)
        if (TILE_ORDER[i] < wide) memcpy(out + TILE_ORDER[i] * channels, &tile[i], (size_t)deep);
}

/* The same of channels that are all zero. */
static inline void zeros_to_latent(int8_t zero_point, ptrdiff_t deep, ptrdiff_t wide, ptrdiff_t channels, int8_t *out) {
    for (ptrdiff_t i = 0; i < wide; i++) memset(out + i * channels, zero_point, (size_t)deep);
}

/* Maps of zeros beside those that are used, for tiles that have both. */
static void fill_unused(const Sink *sink, ptrdiff_t channels, const Model *model) {
    for (ptrdiff_t c = 0; c < channels; c++) {
        const ptrdiff_t first = c / TILE * TILE;
        if (!sink->used[c] && any_used(sink->used + first, channels - first))
            memset(sink->planes + c * sink->stride, sink->grade->zero_point, (size_t)model->size);
    }
}

/* Has what the tile after the next is written to come to the cache, of which the network that ran before has left nothing there. */
static inline void fetch_tile(const int8_t *out, ptrdiff_t channels) {
    for (int i = 0; i < TILE; i++) __builtin_prefetch(out + (2 * TILE + i) * channels, 1);
}

/* The maps become the latent. */
VECTOR static void to_latent(const Sink *sink, ptrdiff_t channels, const Model *model) {
    const ptrdiff_t width = model->width, stride = sink->stride;
    for (ptrdiff_t first = 0; first < channels; first += TILE_CHANNELS) {
        const ptrdiff_t last = channels - first < TILE_CHANNELS ? channels : first + TILE_CHANNELS;
        for (ptrdiff_t y = 0; y < model->height; y++)
            for (ptrdiff_t x = 0; x < width; x += TILE)
                for (ptrdiff_t c = first; c < last; c += TILE) {
                    const ptrdiff_t deep = last - c < TILE ? last - c : TILE, wide = width - x < TILE ? width - x : TILE;
                    const int8_t *even = sink->planes + c * stride + row_of(model, y, 0) + x / 2;
                    const int8_t *odd = sink->planes + c * stride + row_of(model, y, 1) + x / 2;
                    int8_t *out = sink->latent + (y * width + x) * channels + c;
                    if (c == first && y * width + x + 3 * TILE <= model->height * width) fetch_tile(out, channels);
                    if (!any_used(sink->used + c, deep))
                        zeros_to_latent((int8_t)sink->grade->zero_point, deep, wide, channels, out);
                    else if (deep < TILE)
                        tile_to_latent(even, odd, stride, deep, wide, channels, out);
                    else if (wide < TILE)
                        tile_to_latent(even, odd, stride, TILE, wide, channels, out);
                    else /* as constants they make the loops disappear */
                        tile_to_latent(even, odd, stride, TILE, TILE, channels, out);
                }
    }
}

/* Whether a stream can have so many bytes, and with how many states it begins then. */
static int states_of(ptrdiff_t size) {
    int states = 1;
    while (states < STATES && size >= 2 * WORDS_BEFORE[states] + 4 * (states + 1)) states++;
    const ptrdiff_t words = (size - 4 * states) / 2;
    const int most = states < STATES && words > WORDS_BEFORE[states];
    return size < 4 || size % 2 || most ? 0 : states;
}

/* Has the tables come to the cache, all at a time: the network that ran before has left little of them there. */
static void fetch_tables(const Plan *plan) {
    for (size_t i = 0; i < plan->entries_size; i += LINE) __builtin_prefetch((const char *)plan->entries + i);
    for (ptrdiff_t i = 0; i < CONTEXTS * plan->channels; i += LINE / (ptrdiff_t)sizeof *plan->entry_of)
        __builtin_prefetch(&plan->entry_of[i]);
}

static const char *decode_all(const Plan *plan, const uint8_t *data, ptrdiff_t size, Model *model, Work *work,
                              const Sink *sink) {
    const int states = states_of(size);
    if (!states) return BAD_LENGTH;
    fetch_tables(plan);
    Decoder d = {data + 4 * states, data + size, {0}, states, 1, 0, NULL};
    for (int i = 0; i < states; i++) d.state[i] = word_at(data + 4 * i) | word_at(data + 4 * i + 2) << 16;
    for (ptrdiff_t i = 0; i < plan->channels && !d.error; i++) {
        const int channel = plan->order[i], flag = decode_bit(&d, flag_one(model));
        flag_update(model, flag);
        if (flag) {
            decode_plane(&d, model, plan, channel, work);
            if (!d.error) deliver(&d, model, work->symbols, channel, sink);
        }
        model_update(model, flag);
    }
    if (d.error) return d.error;
    if (d.state[0] != STATE_START || d.states > 1 || d.next != d.end) return BAD_END;
    if (sink->grade) {
        fill_unused(sink, plan->channels, model);
        to_latent(sink, plan->channels, model);
    }
    return NULL;
}

#endif
