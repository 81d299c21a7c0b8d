/* Coarse values of a latent brought nearer to what they were: refine.py in C, which is its specification. Part of _coder.c. */

#ifndef EDGEPRESS_CODER_REFINE_H
#define EDGEPRESS_CODER_REFINE_H

#include "_coder_vector.h"

#define REFINE_WEIGHTS 4 /* of a channel: of straight and diagonal neighbours where nothing else is coded, and where something is */
#define GROUP 16         /* channels that are refined at a time, be it for one of them */
#define FAR_AWAY 1000    /* in the place of a neighbour that is not there */

/* At which positions of a latent [positions][channels] a channel that is `alone`, 1 and else 0, holds anything but zero. */
VECTOR static void find_busy(const int8_t *latent, int8_t zero_point, const uint8_t *restrict alone, ptrdiff_t positions,
                             ptrdiff_t channels, uint8_t *restrict busy) {
    for (ptrdiff_t i = 0; i < positions; i++, latent += channels) {
        uint8_t any = 0;
        for (ptrdiff_t c = 0; c < channels; c++) any |= (uint8_t)((latent[c] ^ zero_point) & -alone[c]);
        busy[i] = any != 0;
    }
}

typedef int16_t Group __attribute__((vector_size(2 * GROUP)));
typedef int32_t Wide __attribute__((vector_size(4 * GROUP)));
typedef int8_t Narrow __attribute__((vector_size(GROUP)));

/* What is done to a group. */
typedef struct {
    Group limit; /* neighbours that are further away do not count */
    Wide weights[REFINE_WEIGHTS];
} Refining;

/* That of the channels from `first` on, of which `deep` are there. */
static Refining refining_of(const uint16_t *steps, const uint8_t *weights, ptrdiff_t first, ptrdiff_t deep) {
    Refining made;
    memset(&made, 0, sizeof made);
    for (ptrdiff_t c = 0; c < deep; c++) {
        const int32_t near = 3 * (int32_t)steps[first + c] >> 5;
        made.limit[c] = (int16_t)(near < 255 ? near : 255);
        for (int k = 0; k < REFINE_WEIGHTS; k++) made.weights[k][c] = weights[REFINE_WEIGHTS * (first + c) + k];
    }
    return made;
}

/* How far neighbours are from `here`, those that count: at `to` values from there, and as far in the other direction. */
#define NEAR(here, at, to, limit)                                                                               \
    __extension__({                                                                                             \
        Group one_, other_;                                                                                     \
        memcpy(&one_, (at) + (to), sizeof one_);                                                                \
        memcpy(&other_, (at) - (to), sizeof other_);                                                            \
        one_ -= (here);                                                                                         \
        other_ -= (here);                                                                                       \
        (one_ & (one_ <= (limit)) & (one_ >= -(limit))) + (other_ & (other_ <= (limit)) & (other_ >= -(limit))); \
    })

/* A row of a map of groups, whose rows are `pitch` values apart, into `deep` of each position's channels. */
VECTOR static void refine_row(const int16_t *at, ptrdiff_t pitch, ptrdiff_t width, const Refining *given, const uint8_t *busy,
                              ptrdiff_t deep, ptrdiff_t channels, int8_t *out) {
    const Group limit = given->limit;
    for (ptrdiff_t x = 0; x < width; x++, at += GROUP, out += channels) {
        const Wide *weights = given->weights + (busy[x] ? 2 : 0);
        Group here;
        memcpy(&here, at, sizeof here);
        const Group straight = NEAR(here, at, GROUP, limit) + NEAR(here, at, pitch, limit);
        const Group diagonal = NEAR(here, at, pitch + GROUP, limit) + NEAR(here, at, pitch - GROUP, limit);
        const Wide moved = __builtin_convertvector(straight, Wide) * weights[0] + __builtin_convertvector(diagonal, Wide) * weights[1];
        Wide value = __builtin_convertvector(here, Wide) + ((moved + 64) >> 7);
        value = (value & (value <= 127)) | (127 & (value > 127));
        value = (value & (value >= -128)) | (-128 & (value < -128));
        const Narrow made = __builtin_convertvector(value, Narrow);
        memcpy(out, &made, deep == GROUP ? GROUP : (size_t)deep);
    }
}

/* `deep` channels of a latent [height][width][channels] into a map of groups, which has a border. */
VECTOR static void take_group(const int8_t *latent, ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels, ptrdiff_t deep,
                              int16_t *map) {
    for (ptrdiff_t y = 0; y < height; y++)
        for (ptrdiff_t x = 0; x < width; x++, latent += channels) {
            Narrow values = {0};
            memcpy(&values, latent, deep == GROUP ? GROUP : (size_t)deep);
            const Group made = __builtin_convertvector(values, Group);
            memcpy(map + ((y + 1) * (width + 2) + x + 1) * GROUP, &made, sizeof made);
        }
}

/* Whether any of the weights of `count` channels is there. */
static int any_weight(const uint8_t *weights, ptrdiff_t count) {
    int any = 0;
    for (ptrdiff_t i = 0; i < REFINE_WEIGHTS * count; i++) any |= weights[i];
    return any;
}

/* Changes a latent [height][width][channels]; 0 without memory. */
static int refine_all(int8_t *latent, int32_t zero_point, ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels,
                      const uint16_t *steps, const uint8_t *weights, const uint8_t *alone) {
    const ptrdiff_t pitch = (width + 2) * GROUP, positions = height * width, values = (height + 2) * pitch;
    const size_t size = (size_t)values * sizeof(int16_t);
    uint8_t *memory = malloc(size + (size_t)positions);
    if (!memory) return 0;
    int16_t *map = (int16_t *)(void *)memory;
    uint8_t *busy = memory + size;
    find_busy(latent, (int8_t)zero_point, alone, positions, channels, busy);
    for (ptrdiff_t i = 0; i < values; i++) map[i] = FAR_AWAY;
    for (ptrdiff_t first = 0; first < channels; first += GROUP) {
        const ptrdiff_t deep = channels - first < GROUP ? channels - first : GROUP;
        if (!any_weight(weights + REFINE_WEIGHTS * first, deep)) continue;
        const Refining given = refining_of(steps, weights, first, deep);
        take_group(latent + first, height, width, channels, deep, map);
        for (ptrdiff_t y = 0; y < height; y++)
            refine_row(map + (y + 1) * pitch + GROUP, pitch, width, &given, busy + y * width, deep, channels,
                       latent + y * width * channels + first);
    }
    free(memory);
    return 1;
}

#endif
