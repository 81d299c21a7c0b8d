/* Loops for vector units, and tiles, in which maps and latents are turned into each other. Part of _coder.c. */

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

#define TILE 16 /* columns, and channels, that are transposed at a time */

typedef uint8_t Bytes __attribute__((vector_size(TILE)));

/* By turns the bytes of the lower, or of the upper, halves of two vectors. */
#ifdef __clang__
#define LOWER(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define UPPER(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOWER(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define UPPER(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

/* Half of a transposition's way: twice as cards are shuffled. */
static inline void shuffle_twice(const Bytes *from, Bytes *to) {
    Bytes once[TILE];
    for (int i = 0; i < TILE / 2; i++) {
        once[2 * i] = LOWER(from[i], from[i + TILE / 2]);
        once[2 * i + 1] = UPPER(from[i], from[i + TILE / 2]);
    }
    for (int i = 0; i < TILE / 2; i++) {
        to[2 * i] = LOWER(once[i], once[i + TILE / 2]);
        to[2 * i + 1] = UPPER(once[i], once[i + TILE / 2]);
    }
}

/* Rows for columns. */
static inline void transpose(Bytes *rows) {
    Bytes half[TILE];
    shuffle_twice(rows, half);
    shuffle_twice(half, rows);
}

/* In which order the columns of a tile are taken, so that even and odd ones come to lie side by side. */
static const ptrdiff_t TILE_ORDER[TILE] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};

/* Channels that tiles are moved for together: as many as a line of the cache has of a latent. */
#define TILE_CHANNELS 64

/* Whether there is one among the next flags of a tile, of which `left` are there. */
static inline int any_used(const uint8_t *used, ptrdiff_t left) {
    uint64_t any[TILE / 8] = {0};
    memcpy(any, used, left < TILE ? (size_t)left : TILE);
    return (any[0] | any[1]) != 0;
}

#endif
