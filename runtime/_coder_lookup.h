/* The prices of contexts, 16 at a time where a processor can. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_LOOKUP_H
#define EDGEPRESS_CODER_LOOKUP_H

#include "_coder_grade.h"
#include "_coder_model.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* All the prices of a plane are in two registers. */
__attribute__((target("avx512f"))) static void look_up_wide(const Price *restrict prices, const uint8_t *restrict contexts,
                                                            ptrdiff_t count, Price *restrict found) {
    const __m512i low = _mm512_loadu_si512(prices), high = _mm512_maskz_loadu_epi32((1 << (CONTEXTS - 16)) - 1, prices + 16);
    for (ptrdiff_t i = 0; i < count; i += 16) {
        const __m512i here = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(contexts + i)));
        _mm512_storeu_si512(found + i, _mm512_permutex2var_epi32(low, here, high));
    }
}

#define WIDE __builtin_cpu_supports("avx512f")
#else
#define WIDE 0
#define look_up_wide(prices, contexts, count, found)
#endif

/* The prices of `count` contexts, whole blocks. */
static void look_up(const Price *restrict prices, const uint8_t *restrict contexts, ptrdiff_t count, Price *restrict found) {
    if (WIDE) {
        look_up_wide(prices, contexts, count, found);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++) found[i] = prices[contexts[i]];
}

#endif
