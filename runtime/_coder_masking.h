/* How much of an error each position hides: masking.py in C. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_MASKING_H
#define EDGEPRESS_CODER_MASKING_H

#include "_coder_grade.h"
#include "_coder_model.h"

#define MASKING_SHIFT 12

/* The masking of a row of a latent [width][channels]; that of even columns side by side, and that of odd ones. */
VECTOR static void masking_row(const int8_t *latent, int32_t zero_point, ptrdiff_t width, ptrdiff_t channels,
                               const int16_t *restrict weights, uint8_t *even, uint8_t *odd) {
    for (ptrdiff_t x = 0; x < width; x++) {
        const int8_t *restrict values = latent + x * channels;
        int32_t sum = 0;
        for (ptrdiff_t c = 0; c < channels; c++) {
            const int16_t v = (int16_t)(values[c] - zero_point), size = (int16_t)(v < 0 ? -v : v);
            sum += size * weights[c];
        }
        const int32_t masking = (sum + (1 << (MASKING_SHIFT - 1))) >> MASKING_SHIFT;
        *(x % 2 ? odd++ : even++) = (uint8_t)(masking < MASKING_LARGEST ? masking : MASKING_LARGEST);
    }
}

/* The masking of a latent [positions][channels] into a map. */
static void masking_map(const int8_t *latent, const Grade *grade, ptrdiff_t channels, const Model *model, uint8_t *map) {
    const ptrdiff_t width = model->width;
    for (ptrdiff_t y = 0; y < model->height; y++)
        masking_row(latent + y * width * channels, grade->zero_point, width, channels, grade->weights,
                    map + row_of(model, y, 0), map + row_of(model, y, 1));
}

#endif
