/* A grade: what coding at one quality needs beside the plan, prepared once. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_GRADE_H
#define EDGEPRESS_CODER_GRADE_H

#include "_coder_vector.h"

/* What a context means for a plane, so that one look tells all: how its entry codes a zero; and its radius (7 bits) below how far
 * beyond half a step, in 1/256 of it, a value that became 1 or -1 must lie to be worth its bits (8), where nothing hides an error. */
typedef struct {
    uint16_t zero, rule;
} Price;

/* How much of an error a position hides, in 1/16 (masking.py). */
#define MASKING_NEUTRAL 16
#define MASKING_LARGEST 63

typedef struct {
    uint16_t *steps; /* by channel, in 1/16 of an int8 step */
    int8_t *recon;   /* by channel, how much nearer to zero 1 and larger symbols become, in 1/128 step */
    int32_t zero_point;
    uint32_t round256;
    int16_t *weights; /* by channel, what a magnitude adds to the masking of its position, in 1/2^12; they fit (masking_fits) */
    int masks;        /* whether any does */
    Price *prices;    /* by channel and context */
    int16_t *values;  /* by channel and the lower bits of a symbol that has no others: what it becomes */
} Grade;

#define FEW 32 /* such symbols: from -FEW / 2 on */

static void grade_free(Grade *grade) {
    if (!grade) return;
    free(grade->steps);
    free(grade->recon);
    free(grade->weights);
    free(grade->prices);
    free(grade->values);
    free(grade);
}

/* The values of a plane: (magnitude * 128 - shift) * step16 / 2^11, rounded, no more being multiplied than it takes to be clipped. So
 * the product's upper half has few bits, and all fits into 16. */
VECTOR static void values_of(const int16_t *restrict symbols, ptrdiff_t size, uint16_t step16, int16_t one, int16_t more,
                             int16_t zero_point, int8_t *restrict values) {
    const uint32_t enough = (257u << 11) / step16 + 1;
    const uint16_t most = (uint16_t)(enough < UINT16_MAX ? enough : UINT16_MAX);
    for (ptrdiff_t i = 0; i < size; i++) {
        const int16_t symbol = symbols[i], sign = symbol >> 15;
        const uint16_t magnitude = (uint16_t)((symbol ^ sign) - sign), any = (uint16_t)-(magnitude != 0);
        const uint16_t clipped = magnitude < MAX_SYMBOL ? magnitude : MAX_SYMBOL;
        const uint16_t nearer = (uint16_t)(clipped * 128 - (magnitude == 1 ? one : more)) & any;
        const uint16_t factor = nearer < most ? nearer : most, low = low_half(factor, step16);
        const uint16_t value = (uint16_t)((uint16_t)(high_half(factor, step16) << 5) + (low >> 11) + (low >> 10 & 1));
        const int16_t v = (int16_t)(zero_point + ((value ^ sign) - sign));
        values[i] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
    }
}

/* The values of `size` symbols of a channel. */
static void grade_values(const Grade *grade, ptrdiff_t channel, const int16_t *symbols, ptrdiff_t size, int8_t *values) {
    values_of(symbols, size, grade->steps[channel], grade->recon[2 * channel], grade->recon[2 * channel + 1],
              grade->zero_point, values);
}

static Price price_of(const Plan *plan, ptrdiff_t i) {
    const uint8_t number = plan->table_of[i];
    const Entry *entry = plan->bank[number];
    const Price price = {entry->zero_code, (uint16_t)(entry->radius | plan->dead[number] << 7)};
    return price;
}

static inline uint16_t radius_of(Price price) { return price.rule & 0x7F; }
static inline uint16_t dead_of(Price price) { return (uint16_t)(price.rule >> 7); }

/* Whether weights are such that no sum over the channels of a position overflows. */
static int masking_fits(const void *weights, ptrdiff_t channels) {
    int64_t sum = 0;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const int16_t weight = ((const int16_t *)weights)[c];
        if (weight < 0) return 0;
        sum += weight;
    }
    return sum < INT32_MAX / 256;
}

static void grade_fill(Grade *grade, const Plan *plan) {
    int16_t symbols[FEW];
    int8_t values[FEW];
    for (int i = 0; i < FEW; i++) symbols[i] = (int16_t)(i < FEW / 2 ? i : i - FEW);
    for (ptrdiff_t c = 0; c < plan->channels; c++) {
        grade_values(grade, c, symbols, FEW, values);
        for (int i = 0; i < FEW; i++) grade->values[c * FEW + i] = values[i];
    }
    for (ptrdiff_t i = 0; i < CONTEXTS * plan->channels; i++) grade->prices[i] = price_of(plan, i);
    for (ptrdiff_t c = 0; c < plan->channels; c++) grade->masks |= grade->weights[c] > 0;
}

/* NULL without memory. */
static Grade *grade_make(const Plan *plan, const void *steps, const void *recon, int zero_point, int round256,
                         const void *weights) {
    const ptrdiff_t channels = plan->channels;
    Grade *grade = calloc(1, sizeof *grade);
    if (!grade) return NULL;
    grade->zero_point = zero_point;
    grade->round256 = (uint32_t)round256;
    grade->steps = duplicate(steps, 2 * channels);
    grade->recon = duplicate(recon, 2 * channels);
    grade->weights = duplicate(weights, 2 * channels);
    grade->prices = calloc((size_t)(CONTEXTS * channels), sizeof *grade->prices);
    grade->values = calloc((size_t)(FEW * channels), sizeof *grade->values);
    if (grade->steps && grade->recon && grade->weights && grade->prices && grade->values) {
        grade_fill(grade, plan);
        return grade;
    }
    grade_free(grade);
    return NULL;
}

#endif
