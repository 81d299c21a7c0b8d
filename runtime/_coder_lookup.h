/* What tables say for contexts, 16 at a time, and what few symbols become, 32 at a time, where a processor can. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_LOOKUP_H
#define EDGEPRESS_CODER_LOOKUP_H

#include "_coder_grade.h"
#include "_coder_model.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* All of a table is in two registers. */
__attribute__((target("avx512f"))) static void look_up_wide(const uint8_t *restrict table, const uint8_t *restrict contexts,
                                                            ptrdiff_t count, uint8_t *restrict found) {
    const __m512i low = _mm512_loadu_si512(table), high = _mm512_maskz_loadu_epi32((1 << (CONTEXTS - 16)) - 1, table + 64);
    for (ptrdiff_t i = 0; i < count; i += 16) {
        const __m512i here = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(contexts + i)));
        _mm512_storeu_si512(found + 4 * i, _mm512_permutex2var_epi32(low, here, high));
    }
}

/* What few symbols become, 32 at a time. */
__attribute__((target("avx512bw"))) static void few_values(const int16_t *restrict symbols, ptrdiff_t size,
                                                           const int16_t *restrict values, int8_t *restrict out) {
    const __m512i table = _mm512_loadu_si512(values);
    for (ptrdiff_t i = 0; i < size; i += FEW) {
        const __m512i found = _mm512_permutexvar_epi16(_mm512_loadu_si512(symbols + i), table); /* by the lower bits */
        _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtepi16_epi8(found));
    }
}

#define WIDE __builtin_cpu_supports("avx512f")
#define FEW_AT_ONCE __builtin_cpu_supports("avx512bw")
#else
#define WIDE 0
#define FEW_AT_ONCE 0
#define few_values(symbols, size, values, out)
#define look_up_wide(table, contexts, count, found)
#endif

/* What a table of CONTEXTS values of four bytes has for `count` contexts; both arrays have room for whole blocks. */
static void look_up(const void *table, const uint8_t *restrict contexts, ptrdiff_t count, void *restrict found) {
    if (WIDE) {
        look_up_wide(table, contexts, count, found);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++) memcpy((uint8_t *)found + 4 * i, (const uint8_t *)table + 4 * contexts[i], 4);
}

#endif
