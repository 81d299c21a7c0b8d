/* Latents on their way to symbols: quantization, and maps of channels. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_QUANTIZE_H
#define EDGEPRESS_CODER_QUANTIZE_H

#include "_coder_grade.h"
#include "_coder_model.h"

/* What makes magnitudes those of symbols: (magnitude * inverse + round) >> 16, the inverse being 2^20 / step16, rounded up. That has
 * 17 bits, and without the last of them, 16. */
typedef struct {
    uint16_t nearly, round; /* inverse - 1 */
} Rounding;

static Rounding rounding_of(uint32_t step16, uint32_t round256) {
    const uint32_t inverse = ((1u << 20) + step16 - 1) / step16;
    const Rounding rounding = {(uint16_t)(inverse - 1), (uint16_t)(round256 << 8)};
    return rounding;
}

static inline uint16_t quantized(uint16_t magnitude, Rounding rounding) {
    const uint16_t low = low_half(magnitude, rounding.nearly);
    const uint16_t carry = (uint16_t)(low + (magnitude + rounding.round)) < low;
    return (uint16_t)(high_half(magnitude, rounding.nearly) + carry);
}

/* The symbols of values. */
VECTOR static void symbols_of(const int8_t *restrict values, int32_t zero_point, Rounding rounding, ptrdiff_t size,
                              int16_t *restrict symbols) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const int16_t value = (int16_t)(values[i] - zero_point);
        const int16_t symbol = (int16_t)quantized((uint16_t)(value < 0 ? -value : value), rounding);
        symbols[i] = (int16_t)(value < 0 ? -symbol : symbol);
    }
}

static inline uint8_t distance_of(int8_t a, int8_t b) { return (uint8_t)(a > b ? a - b : b - a); }

static inline uint8_t larger_of(uint8_t a, uint8_t b) { return a > b ? a : b; }

/* The largest magnitude of each channel of a latent [positions][channels]. Two positions at a time, since what has just been stored
 * is not there again at once. */
VECTOR static void largest_of(const int8_t *latent, int8_t zero_point, ptrdiff_t positions, ptrdiff_t channels,
                              uint8_t *restrict largest) {
    memset(largest, 0, (size_t)channels);
    for (ptrdiff_t i = 0; i < positions; i += 2) {
        const int8_t *restrict values = latent + i * channels, *restrict next = values + (i + 1 < positions ? channels : 0);
        for (ptrdiff_t c = 0; c < channels; c++) {
            const uint8_t both = larger_of(distance_of(values[c], zero_point), distance_of(next[c], zero_point));
            largest[c] = larger_of(both, largest[c]);
        }
    }
}

/* Which channels of a latent have symbols that are not zero. */
static void find_used(const int8_t *latent, const Grade *grade, ptrdiff_t positions, ptrdiff_t channels, uint8_t *used) {
    largest_of(latent, (int8_t)grade->zero_point, positions, channels, used);
    for (ptrdiff_t c = 0; c < channels; c++) used[c] = quantized(used[c], rounding_of(grade->steps[c], grade->round256)) != 0;
}

/* A tile of `wide` columns and `deep` channels goes into maps `stride` bytes apart, and zeros to the right of it, which there is room for
 * (model_init). */
static inline void tile_to_maps(const int8_t *from, ptrdiff_t channels, ptrdiff_t deep, ptrdiff_t wide, int8_t zero_point,
                                ptrdiff_t stride, int8_t *even, int8_t *odd) {
    Bytes tile[TILE];
    memset(tile, zero_point, sizeof tile);
    for (int i = 0; i < TILE; i++)
        if (TILE_ORDER[i] < wide) memcpy(&tile[i], from + TILE_ORDER[i] * channels, (size_t)deep);
    transpose(tile);
    for (ptrdiff_t d = 0; d < deep; d++, even += stride, odd += stride) {
        memcpy(even, &tile[d], TILE / 2);
        memcpy(odd, (const int8_t *)&tile[d] + TILE / 2, TILE / 2);
    }
}

/* The maps, `stride` bytes apart, of a latent [positions][channels]; only those of tiles with one that is `used`. Before, they are all
 * zeros, as their borders stay. */
VECTOR static void to_maps(const int8_t *latent, ptrdiff_t channels, const Model *model, const uint8_t *used, int8_t zero_point,
                           ptrdiff_t stride, int8_t *maps) {
    const ptrdiff_t width = model->width;
    for (ptrdiff_t first = 0; first < channels; first += TILE_CHANNELS) {
        const ptrdiff_t last = channels - first < TILE_CHANNELS ? channels : first + TILE_CHANNELS;
        for (ptrdiff_t y = 0; y < model->height; y++)
            for (ptrdiff_t x = 0; x < width; x += TILE)
                for (ptrdiff_t c = first; c < last; c += TILE) {
                    const ptrdiff_t deep = last - c < TILE ? last - c : TILE, wide = width - x < TILE ? width - x : TILE;
                    const int8_t *from = latent + (y * width + x) * channels + c;
                    int8_t *even = maps + c * stride + row_of(model, y, 0) + x / 2;
                    int8_t *odd = maps + c * stride + row_of(model, y, 1) + x / 2;
                    if (!any_used(used + c, deep)) continue;
                    if (deep < TILE)
                        tile_to_maps(from, channels, deep, wide, zero_point, stride, even, odd);
                    else if (wide < TILE)
                        tile_to_maps(from, channels, TILE, wide, zero_point, stride, even, odd);
                    else /* as constants they make the loops disappear */
                        tile_to_maps(from, channels, TILE, TILE, zero_point, stride, even, odd);
                }
    }
}

#endif
