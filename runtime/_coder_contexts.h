/* The contexts of many positions at a time. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_CONTEXTS_H
#define EDGEPRESS_CODER_CONTEXTS_H

#include "_coder_vector.h"

#define FIRST_OCTAVE 265 /* the half octave of 48 */

/* Exponent and upper bit of a number as a float: two per octave. */
static inline int32_t half_octave(int32_t value) {
    const float number = (float)value;
    int32_t bits;
    memcpy(&bits, &number, 4);
    return bits >> 22;
}

/* The context for a half octave of 16 * activity: one for all below 64, then one for each. */
static inline int32_t context_in(int32_t half) {
    const int32_t bucket = half - FIRST_OCTAVE;
    return bucket < 0 ? 0 : bucket < CONTEXTS - 1 ? bucket : CONTEXTS - 1;
}

static inline int32_t context_of(int32_t activity) { return context_in(half_octave(activity)); }

/* What a position's activity is made of: averages of the planes before, and the weights of them all. */
typedef struct {
    const uint16_t *fast, *slow, *around;
    int32_t w_fast, w_slow, w_around, w_beside, one;
} Activity;

VECTOR static void contexts_alone(const Activity *given, ptrdiff_t size, uint8_t *restrict contexts) {
    const uint16_t *restrict fast = given->fast, *restrict slow = given->slow, *restrict around = given->around;
    const int32_t w_fast = given->w_fast, w_slow = given->w_slow, w_around = given->w_around, one = given->one;
    for (ptrdiff_t i = 0; i < size; i++)
        contexts[i] = (uint8_t)context_of(w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one);
}

/* The same with the magnitudes at four distances. */
VECTOR static void contexts_beside(const Activity *given, ptrdiff_t size, const uint8_t *restrict mag, const ptrdiff_t *to,
                                   uint8_t *restrict contexts) {
    const uint16_t *restrict fast = given->fast, *restrict slow = given->slow, *restrict around = given->around;
    const uint8_t *restrict a = mag + to[0], *restrict b = mag + to[1], *restrict c = mag + to[2], *restrict d = mag + to[3];
    const int32_t w_fast = given->w_fast, w_slow = given->w_slow, w_around = given->w_around, one = given->one;
    const int32_t w_beside = given->w_beside;
    for (ptrdiff_t i = 0; i < size; i++) {
        const int32_t beside = a[i] + b[i] + c[i] + d[i];
        const int32_t known = w_fast * fast[i] + w_slow * slow[i] + w_around * around[i] + one;
        contexts[i] = (uint8_t)context_of(known + w_beside * beside);
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define SUMS_OF_TWO __builtin_cpu_supports("avx512bw")

/* Both, 32 positions at a time, where no average is above 2^15: so few bits can be multiplied and added by twos. `to` is NULL for
 * positions alone. */
__attribute__((target("avx512bw"))) static void contexts_by_two(const Activity *given, ptrdiff_t size, const uint8_t *mag,
                                                                const ptrdiff_t *to, uint8_t *contexts) {
    const __m512i before = _mm512_set1_epi32(given->w_fast | given->w_slow << 16);
    const __m512i near = _mm512_set1_epi32(given->w_around | given->w_beside << 16);
    const __m512i one = _mm512_set1_epi32(given->one);
    for (ptrdiff_t i = 0; i < size; i += 32) {
        const __m512i fast = _mm512_loadu_si512(given->fast + i), slow = _mm512_loadu_si512(given->slow + i);
        const __m512i around = _mm512_loadu_si512(given->around + i);
        __m512i beside = _mm512_setzero_si512(), half[2];
        for (int k = 0; to && k < 4; k++) {
            const __m256i there = _mm256_loadu_si256((const __m256i *)(mag + to[k] + i));
            beside = _mm512_add_epi16(beside, _mm512_cvtepu8_epi16(there));
        }
        for (int k = 0; k < 2; k++) {
            const __m512i past = k ? _mm512_unpackhi_epi16(fast, slow) : _mm512_unpacklo_epi16(fast, slow);
            const __m512i now = k ? _mm512_unpackhi_epi16(around, beside) : _mm512_unpacklo_epi16(around, beside);
            const __m512i sum = _mm512_add_epi32(_mm512_madd_epi16(past, before), _mm512_madd_epi16(now, near));
            const __m512 number = _mm512_cvtepi32_ps(_mm512_add_epi32(sum, one));
            half[k] = _mm512_srli_epi32(_mm512_castps_si512(number), 22);
        }
        const __m512i bucket = _mm512_subs_epu16(_mm512_packs_epi32(half[0], half[1]), _mm512_set1_epi16(FIRST_OCTAVE));
        const __m512i found = _mm512_min_epu16(bucket, _mm512_set1_epi16(CONTEXTS - 1));
        _mm256_storeu_si256((__m256i *)(contexts + i), _mm512_cvtepi16_epi8(found));
    }
}

#else
#define SUMS_OF_TWO 0
#define contexts_by_two(given, size, mag, to, contexts)
#endif

#endif
