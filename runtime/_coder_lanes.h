/* Putting symbols by four states at once, each in a lane of a vector. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_LANES_H
#define EDGEPRESS_CODER_LANES_H

#include "_coder_plan.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* With products of 64 bits that are as fast as others, as AMD's are: else one state after the other is faster. */
#define LANES                                                                                                           \
    (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && \
     __builtin_cpu_supports("bmi2"))
#define FOR_LANES __attribute__((target("avx512dq,avx512vl,bmi2")))

/* The eight bytes of a table that each of the four numbers before `numbers` has, the last one first. */
FOR_LANES static inline __m256i four_of(const char *table, const uint16_t *numbers) {
    int64_t found[STATES];
    for (int i = 0; i < STATES; i++) memcpy(&found[i], table + 8 * (size_t)numbers[-1 - i], 8);
    return _mm256_set_epi64x(found[3], found[2], found[1], found[0]);
}

/* Puts `count` symbols, a multiple of four, the last one before `numbers`, by the states 3 to 0; returns behind the last word, where
 * there must be room for four more. It has no branch that a processor would have to foresee. */
FOR_LANES static uint16_t *put_lanes(const Plan *plan, const uint16_t *numbers, ptrdiff_t count, uint64_t *states, uint16_t *words) {
    /* By the states that write no word, a bit for each: what of four words is written. */
    static const uint64_t written[1 << STATES] = {
        0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFF0000, 0xFFFFFFFF0000FFFF, 0xFFFFFFFF00000000, 0xFFFF0000FFFFFFFF, 0xFFFF0000FFFF0000,
        0xFFFF00000000FFFF, 0xFFFF000000000000, 0x0000FFFFFFFFFFFF, 0x0000FFFFFFFF0000, 0x0000FFFF0000FFFF, 0x0000FFFF00000000,
        0x00000000FFFFFFFF, 0x00000000FFFF0000, 0x000000000000FFFF, 0x0000000000000000};
    const char *codes = (const char *)plan->codes, *inverses = (const char *)plan->inverses;
    __m256i state = _mm256_loadu_si256((const __m256i *)states);
    for (const uint16_t *begin = numbers - count; numbers > begin; numbers -= STATES) {
        const __m256i code = four_of(codes, numbers), inverse = four_of(inverses, numbers);
        const __m256i limit = _mm256_and_si256(code, _mm256_set1_epi64x(UINT32_MAX));
        const __m256i start = _mm256_and_si256(_mm256_srli_epi64(code, 32), _mm256_set1_epi64x(UINT16_MAX));
        const __m256d low = _mm256_castsi256_pd(_mm256_sub_epi64(state, limit)); /* by its sign */
        const int without = _mm256_movemask_pd(low);
        const uint64_t all = (uint64_t)_mm_cvtsi128_si64(_mm256_cvtepi64_epi16(state)), some = _pext_u64(all, written[without]);
        memcpy(words, &some, sizeof some);
        words += STATES - __builtin_popcount((unsigned)without);
        const __m256d less = _mm256_castsi256_pd(_mm256_srli_epi64(state, 16));
        state = _mm256_castpd_si256(_mm256_blendv_pd(less, _mm256_castsi256_pd(state), low));
        __m256i sum = _mm256_add_epi64(state, start);
        __asm__("" : "+x"(sum)); /* made while the products are: a compiler would add the state last */
        const __m256i quotient = _mm256_srli_epi64(_mm256_mullo_epi64(state, inverse), 46); /* see `advanced` */
        state = _mm256_add_epi64(sum, _mm256_mul_epu32(quotient, _mm256_srli_epi64(code, 48)));
    }
    _mm256_storeu_si256((__m256i *)states, state);
    return words;
}

#else
#define LANES 0
#define put_lanes(plan, numbers, count, states, words) ((void)(plan), (void)(numbers), (void)(count), (void)(states), (words))
#endif

#endif
