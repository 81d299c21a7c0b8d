/* The plan: the tables of one set, as encoder and decoder want them. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_PLAN_H
#define EDGEPRESS_CODER_PLAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PROB_BITS 14
#define PROB_SCALE (1u << PROB_BITS)
#define STATE_START (1u << 16)
#define CONTEXTS 24
#define MAX_SYMBOL 255
#define MAX_CODES 65535 /* of all entries together, so that a code has a 16-bit number */
#define SLOT_BITS 5     /* the upper bits of a slot index `first` */

typedef struct {
    const uint16_t *start; /* of -R..R, of the escape, and the end */
    const uint16_t *first; /* the symbol at the beginning of each range of 2^SLOT_BITS slots */
    uint16_t zero_start, near_start, near_freq; /* near: -1, 0 and 1 together, where there are such */
    uint16_t zero_code;                         /* the number of the code of a residual of 0 */
    int32_t radius;
} Entry;

/* A residual, or an escape, under one entry. */
typedef struct {
    uint64_t inverse; /* of the frequency, see `put` */
    uint16_t start, freq;
    int16_t escapes; /* the radius of the entry when this is its escape, else -1 */
} Code;

typedef struct {
    ptrdiff_t channels;
    uint16_t *order;
    int8_t *mean_w;
    uint8_t *ctx_w, *table_of, *dead;
    Entry *entries;
    uint16_t *start, *first;
    Code *codes;
    uint32_t *zeros; /* [channels][CONTEXTS]: frequency << 16 | start of a residual of 0 */
} Plan;

static void plan_free(Plan *plan) {
    if (!plan) return;
    free(plan->order);
    free(plan->mean_w);
    free(plan->ctx_w);
    free(plan->table_of);
    free(plan->dead);
    free(plan->entries);
    free(plan->start);
    free(plan->first);
    free(plan->codes);
    free(plan->zeros);
    free(plan);
}

static void *duplicate(const void *data, ptrdiff_t size) {
    void *copy = malloc((size_t)size + 1);
    if (copy) memcpy(copy, data, (size_t)size);
    return copy;
}

/* The entry's derived fields; its starts are there. */
static void entry_finish(Entry *entry, Code *codes, ptrdiff_t number) {
    const uint16_t *start = entry->start;
    const int32_t radius = entry->radius, count = 2 * radius + 2;
    entry->zero_start = start[radius];
    entry->zero_code = (uint16_t)(number + radius);
    entry->near_start = start[radius ? radius - 1 : 0];
    entry->near_freq = (uint16_t)(start[radius ? radius + 2 : 1] - entry->near_start);
    for (int i = 0; i < count; i++) {
        const uint32_t freq = (uint32_t)start[i + 1] - start[i];
        const Code code = {((uint64_t)1 << 46) / freq + 1, start[i], (uint16_t)freq,
                           (int16_t)(i == count - 1 ? radius : -1)};
        codes[number + i] = code;
    }
}

/* Fills the entries from radii and frequencies; 0 when they are not what EntropyTables guarantees. */
static int plan_bank(Plan *plan, const uint8_t *radius, ptrdiff_t bank, const uint8_t *freq, ptrdiff_t values) {
    uint16_t *start = plan->start, *first = plan->first;
    ptrdiff_t number = 0;
    if (values > MAX_CODES) return 0;
    for (ptrdiff_t m = 0; m < bank; m++) {
        Entry *entry = &plan->entries[m];
        const int count = 2 * radius[m] + 2;
        uint32_t sum = 0;
        if (count > values - number) return 0;
        entry->start = start;
        entry->first = first;
        entry->radius = radius[m];
        for (int i = 0; i < count; i++, freq += 2) {
            uint16_t f;
            memcpy(&f, freq, 2);
            if (f == 0 || sum + f > PROB_SCALE) return 0;
            for (uint32_t slot = (sum + (1u << SLOT_BITS) - 1) >> SLOT_BITS; slot << SLOT_BITS < sum + f; slot++)
                first[slot] = (uint16_t)i;
            *start++ = (uint16_t)sum;
            sum += f;
        }
        if (sum != PROB_SCALE) return 0;
        *start++ = (uint16_t)sum;
        entry_finish(entry, plan->codes, number);
        first += PROB_SCALE >> SLOT_BITS;
        number += count;
    }
    return values == number;
}

/* The plan of the arrays of one table set; NULL with `*bad` 1 when they do not fit together, 0 without memory. */
static Plan *plan_make(const void *order, const void *mean_w, const void *ctx_w, const uint8_t *table_of,
                       const uint8_t *radius, const void *dead, const void *freq, ptrdiff_t channels, ptrdiff_t bank,
                       ptrdiff_t values, int *bad) {
    Plan *plan = calloc(1, sizeof *plan);
    *bad = 0;
    if (!plan) return NULL;
    plan->channels = channels;
    plan->order = duplicate(order, 2 * channels);
    plan->mean_w = duplicate(mean_w, 4 * channels);
    plan->ctx_w = duplicate(ctx_w, 6 * channels);
    plan->table_of = duplicate(table_of, CONTEXTS * channels);
    plan->dead = duplicate(dead, bank);
    plan->entries = calloc((size_t)bank, sizeof *plan->entries);
    plan->start = calloc((size_t)(values + bank), 2);
    plan->first = calloc((size_t)bank, 2 * (PROB_SCALE >> SLOT_BITS));
    plan->codes = calloc((size_t)values, sizeof *plan->codes);
    plan->zeros = calloc((size_t)channels, CONTEXTS * sizeof *plan->zeros);
    if (!plan->order || !plan->mean_w || !plan->ctx_w || !plan->table_of || !plan->dead || !plan->entries ||
        !plan->start || !plan->first || !plan->codes || !plan->zeros) {
        plan_free(plan);
        return NULL;
    }
    int good = plan_bank(plan, radius, bank, freq, values);
    for (ptrdiff_t c = 0; good && c < channels; c++) good = plan->order[c] < channels;
    for (ptrdiff_t i = 0; good && i < CONTEXTS * channels; i++) {
        good = table_of[i] < bank;
        if (!good) break;
        const Code *zero = &plan->codes[plan->entries[table_of[i]].zero_code];
        plan->zeros[i] = (uint32_t)zero->freq << 16 | zero->start;
    }
    if (good) return plan;
    plan_free(plan);
    *bad = 1;
    return NULL;
}

#endif
