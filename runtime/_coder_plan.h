/* The plan: the tables of one set, as encoder and decoder want them. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_PLAN_H
#define EDGEPRESS_CODER_PLAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* States of the arithmetic coder, which take turns by the number of a symbol. All but the first begin with a word that would
 * else be written, which so costs nothing: the second at once, the others when so many words are written that a small stream
 * is none the longer. */
#define STATES 4
static const ptrdiff_t WORDS_BEFORE[STATES] = {0, 0, 128, 128};
static const uint32_t TURNS[STATES + 1] = {0, 0, 1, 1, 3}; /* by how many states there are: the bits of the number that count */

#define PROB_BITS 14
#define PROB_SCALE (1u << PROB_BITS)
#define STATE_START (1u << 16)
#define CONTEXTS 24
#define PASSES 3
#define WEIGHTS 6 /* of a pass */
#define MAX_SYMBOL 255
#define MAX_RADIUS 127  /* so that a residual's place in its entry is a byte */
#define ESCAPE INT16_MIN /* in the place of the residual that follows it */
#define MAX_CODES 65535 /* of all entries together, so that a code has a 16-bit number */
#define SLOT_BITS 5     /* the upper bits of a slot index `first` */

/* Where the slots of a residual, or of the escape, begin; they end where the next span begins. */
typedef struct {
    uint16_t start;
    int16_t residual;
} Span;

/* In one piece, so that its address is all that a loop has to know of it. */
typedef struct {
    uint8_t first[PROB_SCALE >> SLOT_BITS]; /* of each range of 2^SLOT_BITS slots, the place of the span that has its beginning */
    int32_t radius;
    uint32_t zero;      /* where a residual of 0 begins, and from bit 16 on its frequency */
    uint16_t zero_code; /* the number of its code */
    Span spans[];       /* of -R..R and of the escape, and where that ends */
} Entry;

/* What the encoder wants to know of a span, beside the inverse of its frequency. */
typedef struct {
    uint32_t limit;       /* from here on a state is too large for it: frequency << 18 */
    uint16_t start, rest; /* `rest`: PROB_SCALE less the frequency */
} Code;

typedef struct {
    ptrdiff_t channels;
    uint16_t *order;
    int8_t *mean_w;
    uint8_t *ctx_w, *table_of, *dead;
    void *entries;
    size_t entries_size;
    const Entry **bank;     /* where each begins */
    const Entry **entry_of; /* by channel and context */
    uint32_t *zero_of;      /* `zero` of those, for the decoder */
    Code *codes;
    uint64_t *inverses; /* of the codes, see `advanced` in _coder_encode.h */
} Plan;

static void plan_free(Plan *plan) {
    if (!plan) return;
    free(plan->order);
    free(plan->mean_w);
    free(plan->ctx_w);
    free(plan->table_of);
    free(plan->dead);
    free(plan->entries);
    free(plan->bank);
    free(plan->entry_of);
    free(plan->zero_of);
    free(plan->codes);
    free(plan->inverses);
    free(plan);
}

/* Whether the symbols of a channel are predicted from their neighbours. */
static int is_predicted(const Plan *plan, ptrdiff_t channel) {
    const int8_t *w = plan->mean_w + 4 * channel;
    return w[0] || w[1] || w[2] || w[3];
}

static void *duplicate(const void *data, ptrdiff_t size) {
    void *copy = malloc((size_t)size + 1);
    if (copy) memcpy(copy, data, (size_t)size);
    return copy;
}

/* Frequencies below 2^14, and so all that an entry or a flag can have. */
static Code code_of(uint32_t start, uint32_t freq) {
    const Code code = {freq << 18, (uint16_t)start, (uint16_t)(PROB_SCALE - freq)};
    return code;
}

static uint64_t inverse_of(uint32_t freq) { return ((uint64_t)1 << 46) / freq + 1; }

/* The escape is the last of its entry. */
static int is_escape(const Code *code) { return code->start == code->rest; }

/* How many bytes an entry of so many spans takes. */
static size_t entry_size(int count) { return sizeof(Entry) + ((size_t)count + 1) * sizeof(Span); }

/* Fills the entries from radii and frequencies; 0 when they are not what EntropyTables guarantees. */
static int plan_bank(Plan *plan, const uint8_t *radius, ptrdiff_t bank, const uint8_t *freq, ptrdiff_t values) {
    ptrdiff_t number = 0;
    uint8_t *room = plan->entries;
    if (values > MAX_CODES) return 0;
    for (ptrdiff_t m = 0; m < bank; m++) {
        Entry *entry = (Entry *)room;
        const int count = 2 * radius[m] + 2;
        uint32_t start = 0;
        if (radius[m] > MAX_RADIUS || count > values - number) return 0;
        room += entry_size(count);
        plan->bank[m] = entry;
        entry->radius = radius[m];
        entry->zero_code = (uint16_t)(number + radius[m]);
        for (int i = 0; i < count; i++, freq += 2, number++) {
            uint16_t f;
            memcpy(&f, freq, 2);
            if (f == 0 || start + f > PROB_SCALE) return 0;
            for (uint32_t slot = (start + (1u << SLOT_BITS) - 1) >> SLOT_BITS; slot << SLOT_BITS < start + f; slot++)
                entry->first[slot] = (uint8_t)i;
            const Span span = {(uint16_t)start, i < count - 1 ? (int16_t)(i - radius[m]) : ESCAPE};
            entry->spans[i] = span;
            plan->codes[number] = code_of(start, f);
            plan->inverses[number] = inverse_of(f);
            if (i == radius[m]) entry->zero = start | (uint32_t)f << 16;
            start += f;
        }
        entry->spans[count].start = (uint16_t)start;
        if (start != PROB_SCALE) return 0;
    }
    return values == number;
}

/* What the entries are for; 0 when there are none for a channel. */
static int plan_channels(Plan *plan, ptrdiff_t bank) {
    for (ptrdiff_t i = 0; i < CONTEXTS * plan->channels; i++) {
        if (plan->table_of[i] >= bank) return 0;
        plan->entry_of[i] = plan->bank[plan->table_of[i]];
        plan->zero_of[i] = plan->entry_of[i]->zero;
    }
    return 1;
}

/* The plan of the arrays of one table set; NULL with `*bad` 1 when they do not fit together, 0 without memory. */
static Plan *plan_make(const void *order, const void *mean_w, const void *ctx_w, const void *table_of,
                       const uint8_t *radius, const void *dead, const void *freq, ptrdiff_t channels, ptrdiff_t bank,
                       ptrdiff_t values, int *bad) {
    Plan *plan = calloc(1, sizeof *plan);
    *bad = 0;
    if (!plan) return NULL;
    plan->channels = channels;
    plan->order = duplicate(order, 2 * channels);
    plan->mean_w = duplicate(mean_w, 4 * channels);
    plan->ctx_w = duplicate(ctx_w, PASSES * WEIGHTS * channels);
    plan->table_of = duplicate(table_of, CONTEXTS * channels);
    plan->dead = duplicate(dead, bank);
    plan->entries_size = (size_t)bank * sizeof(Entry) + ((size_t)bank + (size_t)values) * sizeof(Span);
    plan->entries = calloc(plan->entries_size, 1);
    plan->bank = calloc((size_t)bank, sizeof *plan->bank);
    plan->entry_of = calloc((size_t)(CONTEXTS * channels), sizeof *plan->entry_of);
    plan->zero_of = calloc((size_t)(CONTEXTS * channels), sizeof *plan->zero_of);
    plan->codes = calloc((size_t)values, sizeof *plan->codes);
    plan->inverses = calloc((size_t)values, sizeof *plan->inverses);
    if (!plan->order || !plan->mean_w || !plan->ctx_w || !plan->table_of || !plan->dead || !plan->entries || !plan->bank ||
        !plan->entry_of || !plan->zero_of || !plan->codes || !plan->inverses) {
        plan_free(plan);
        return NULL;
    }
    int good = plan_bank(plan, radius, bank, freq, values) && plan_channels(plan, bank);
    for (ptrdiff_t c = 0; good && c < channels; c++) good = plan->order[c] < channels;
    if (good) return plan;
    plan_free(plan);
    *bad = 1;
    return NULL;
}

#endif
