/* Coarse values of a latent brought nearer to what they were: refine.py in C, which is its specification. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_REFINE_H
#define EDGEPRESS_CODER_REFINE_H

#include "_coder_vector.h"

#define REFINE_WEIGHTS 4 /* of a channel: of straight and diagonal neighbours where nothing else is coded, and where something is */
#define FAR_AWAY 1000    /* in the place of a neighbour that is not there */

/* Which channels have weights; returns whether any has. */
static int refined_channels(const uint8_t *weights, ptrdiff_t channels, uint8_t *refined) {
    int any = 0;
    for (ptrdiff_t c = 0; c < channels; c++) {
        uint32_t all;
        memcpy(&all, weights + REFINE_WEIGHTS * c, REFINE_WEIGHTS);
        refined[c] = all ? 0xFF : 0;
        any |= all != 0;
    }
    return any;
}

/* At which positions of a latent [positions][channels] a channel that is not refined holds anything but zero. */
VECTOR static void find_busy(const int8_t *latent, int8_t zero_point, const uint8_t *restrict refined, ptrdiff_t positions,
                             ptrdiff_t channels, uint8_t *restrict busy) {
    for (ptrdiff_t i = 0; i < positions; i++, latent += channels) {
        uint8_t any = 0;
        for (ptrdiff_t c = 0; c < channels; c++) any |= (uint8_t)((latent[c] ^ zero_point) & ~refined[c]);
        busy[i] = any != 0;
    }
}

/* A row of values, with one more on either side, refined in `width` places; above and below are the rows beside it. */
VECTOR static void refine_row(const int16_t *above, const int16_t *row, const int16_t *below, ptrdiff_t width, int16_t limit,
                              const uint8_t *weights, const uint8_t *restrict busy, int8_t *restrict out) {
    const int16_t *rows[3] = {above, row, below};
    const int32_t alone[2] = {weights[0], weights[1]}, among[2] = {weights[2], weights[3]};
    for (ptrdiff_t x = 0; x < width; x++) {
        int32_t sums[2] = {0, 0};
        for (int i = 0; i < 3; i++)
            for (int j = -1; j < 2; j++) {
                const int16_t distance = (int16_t)(rows[i][x + j] - row[x]), size = (int16_t)(distance < 0 ? -distance : distance);
                sums[i != 1 && j != 0] += size <= limit ? distance : 0;
            }
        const int32_t straight = busy[x] ? among[0] : alone[0], diagonal = busy[x] ? among[1] : alone[1];
        const int32_t value = row[x] + ((sums[0] * straight + sums[1] * diagonal + 64) >> 7);
        out[x] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}

/* Changes a latent [height][width][channels]; 0 without memory. */
static int refine_all(int8_t *latent, int32_t zero_point, ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels,
                      const uint16_t *steps, const uint8_t *weights) {
    const ptrdiff_t pitch = width + 2, positions = height * width;
    const size_t plane_size = (size_t)((height + 2) * pitch) * sizeof(int16_t);
    uint8_t *memory = malloc(plane_size + (size_t)(channels + positions + width));
    if (!memory) return 0;
    int16_t *plane = (int16_t *)(void *)memory;
    uint8_t *refined = memory + plane_size, *busy = refined + channels;
    int8_t *made = (int8_t *)(busy + positions);
    if (refined_channels(weights, channels, refined)) {
        find_busy(latent, (int8_t)zero_point, refined, positions, channels, busy);
        for (ptrdiff_t i = 0; i < (height + 2) * pitch; i++) plane[i] = FAR_AWAY;
    }
    for (ptrdiff_t c = 0; c < channels; c++) {
        if (!refined[c]) continue;
        const int32_t near = 3 * (int32_t)steps[c] >> 5;
        for (ptrdiff_t y = 0; y < height; y++)
            for (ptrdiff_t x = 0; x < width; x++) plane[(y + 1) * pitch + x + 1] = latent[(y * width + x) * channels + c];
        for (ptrdiff_t y = 0; y < height; y++) {
            const int16_t *row = plane + (y + 1) * pitch + 1;
            refine_row(row - pitch, row, row + pitch, width, (int16_t)(near < 255 ? near : 255), weights + REFINE_WEIGHTS * c,
                       busy + y * width, made);
            for (ptrdiff_t x = 0; x < width; x++) latent[(y * width + x) * channels + c] = made[x];
        }
    }
    free(memory);
    return 1;
}

#endif
