/* Loops for vector units, and the order of tiles. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_VECTOR_H
#define EDGEPRESS_CODER_VECTOR_H

#include "_coder_plan.h"

/* Loops over arrays, for the vector units that the processor turns out to have. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
#define VECTOR __attribute__((noinline, target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define VECTOR __attribute__((noinline, target_clones("avx2", "default")))
#endif
#else
#define VECTOR __attribute__((noinline))
#endif

#define LINE 64 /* bytes of a line of the cache, and of the widest vectors */

/* Where the first whole line begins in memory of LINE bytes more than are needed. Vectors that lie across two lines take twice as long. */
static inline uint8_t *line_up(void *memory) { return (uint8_t *)memory + (LINE - (uintptr_t)memory % LINE) % LINE; }

/* The upper and the lower half of a product. Most of what the encoder reckons with fits into 16 bits, of which a vector has twice
 * as many as of 32. */
static inline uint16_t high_half(uint16_t a, uint16_t b) { return (uint16_t)((uint32_t)a * b >> 16); }
static inline uint16_t low_half(uint16_t a, uint16_t b) { return (uint16_t)((uint32_t)a * b); }

#if defined(__SSE2__) || defined(__ARM_NEON)

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint64_t Words __attribute__((vector_size(16)));

/* By turns the bytes of the lower, or of the upper, halves of two vectors. */
#ifdef __clang__
#define LOWER(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define UPPER(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOWER(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define UPPER(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

/* The 8x8 bytes in eight words of eight, rows for columns: three times as cards are shuffled. */
static inline void transpose_8x8(uint64_t *rows) {
    Bytes four[4];
    for (int i = 0; i < 4; i++) four[i] = LOWER((Bytes)(Words){rows[i]}, (Bytes)(Words){rows[i + 4]});
    for (int i = 0; i < 2; i++) {
        const Bytes even = i ? UPPER(four[0], four[2]) : LOWER(four[0], four[2]);
        const Bytes odd = i ? UPPER(four[1], four[3]) : LOWER(four[1], four[3]);
        const Words lower = (Words)LOWER(even, odd), upper = (Words)UPPER(even, odd);
        rows[4 * i] = lower[0];
        rows[4 * i + 1] = lower[1];
        rows[4 * i + 2] = upper[0];
        rows[4 * i + 3] = upper[1];
    }
}

#else

#define SWAP(a, b, shift, mask)                                             \
    do {                                                                    \
        const uint64_t swapped_ = (rows[a] >> (shift) ^ rows[b]) & (mask);  \
        rows[a] ^= swapped_ << (shift);                                     \
        rows[b] ^= swapped_;                                                \
    } while (0)

/* The 8x8 bytes in eight words of eight, rows for columns (Warren: Hacker's Delight, 2012, 7-3). */
static inline void transpose_8x8(uint64_t *rows) {
    for (int i = 0; i < 8; i += 2) SWAP(i, i + 1, 8, 0x00FF00FF00FF00FF);
    for (int i = 0; i < 8; i += 4) {
        SWAP(i, i + 2, 16, 0x0000FFFF0000FFFF);
        SWAP(i + 1, i + 3, 16, 0x0000FFFF0000FFFF);
    }
    for (int i = 0; i < 4; i++) SWAP(i, i + 4, 32, 0x00000000FFFFFFFF);
}

#endif

/* In which order the columns of a tile are taken, so that even and odd ones come to lie side by side. */
static const ptrdiff_t TILE_ORDER[8] = {0, 2, 4, 6, 1, 3, 5, 7};

/* Channels that tiles are moved for together: as many as a line of the cache has of a latent. */
#define TILE_CHANNELS 64

/* Whether there is one among the next eight of `left` flags. */
static inline int any_used(const uint8_t *used, ptrdiff_t left) {
    uint64_t any = 0;
    memcpy(&any, used, left < 8 ? (size_t)left : 8);
    return any != 0;
}

#endif
