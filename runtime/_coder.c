/* The entropy coder in C: the same bytes as purecoder.py, which is its specification in Python.
 *
 * rANS with a 32-bit state and 16-bit words, contexts from symbols already coded (contexts.py). Only the limited API
 * of Python 3.10 is used; all work on bulk data runs without the GIL, where the caller's arrays lie. An array that another
 * thread changes meanwhile gives a wrong result, but no access outside of a buffer. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PROB_BITS 14
#define PROB_SCALE (1u << PROB_BITS)
#define STATE_START (1u << 16)
#define CONTEXTS 24
#define MAX_SYMBOL 255
#define MAX_PREFIX 9
#define WORDS_PER_SYMBOL 36 /* at most, whatever int16 it is: itself, up to 33 bits of Exp-Golomb, its sign */
#define SLOT_BITS 7         /* the upper bits of a slot index `first` */
#define TILE 64             /* positions transposed at a time, so that a tile stays in the cache */

#define TOO_SHORT "the compressed data ends too early"
#define BAD_LENGTH "the compressed data has an impossible length"
#define BAD_NUMBER "the compressed data holds an impossible number"
#define BAD_SYMBOL "the compressed data holds a symbol out of range"
#define BAD_END "the compressed data does not end where it should"
#define NO_MEMORY "out of memory"

/* ---- the plan: the tables of one set, prepared ---- */

typedef struct {
    const uint16_t *start; /* of -R..R, of the escape, and the end */
    const uint16_t *first; /* the symbol at the beginning of each range of 2^SLOT_BITS... slots */
    uint16_t zero_start, zero_freq;
    int32_t radius;
} Entry;

typedef struct {
    Py_ssize_t channels;
    uint16_t *order;
    int8_t *mean_w;
    uint8_t *ctx_w, *table_of, *dead;
    Entry *entries;
    uint16_t *start, *first;
} Plan;

static void plan_free(Plan *plan) {
    if (!plan) return;
    free(plan->order);
    free(plan->mean_w);
    free(plan->ctx_w);
    free(plan->table_of);
    free(plan->dead);
    free(plan->entries);
    free(plan->start);
    free(plan->first);
    free(plan);
}

static void plan_destroy(PyObject *capsule) { plan_free(PyCapsule_GetPointer(capsule, "edgepress.plan")); }

static void *duplicate(const void *data, Py_ssize_t size) {
    void *copy = malloc((size_t)size);
    if (copy) memcpy(copy, data, (size_t)size);
    return copy;
}

/* Fills the entries from radii and frequencies; 0 when they are not what EntropyTables guarantees. */
static int plan_bank(Plan *plan, const uint8_t *radius, Py_ssize_t bank, const uint8_t *freq, Py_ssize_t values) {
    uint16_t *start = plan->start, *first = plan->first;
    for (Py_ssize_t m = 0; m < bank; m++) {
        Entry *entry = &plan->entries[m];
        int count = 2 * radius[m] + 2;
        uint32_t sum = 0;
        if (count > values) return 0;
        entry->start = start;
        entry->first = first;
        entry->radius = radius[m];
        for (int i = 0; i < count; i++, freq += 2) {
            uint16_t f;
            memcpy(&f, freq, 2);
            if (f == 0 || sum + f > PROB_SCALE) return 0;
            for (uint32_t slot = (sum + (1u << SLOT_BITS) - 1) >> SLOT_BITS; slot << SLOT_BITS < sum + f; slot++)
                first[slot] = (uint16_t)i;
            *start++ = (uint16_t)sum;
            sum += f;
        }
        if (sum != PROB_SCALE) return 0;
        *start++ = (uint16_t)sum;
        entry->zero_start = entry->start[radius[m]];
        entry->zero_freq = (uint16_t)(entry->start[radius[m] + 1] - entry->zero_start);
        first += PROB_SCALE >> SLOT_BITS;
        values -= count;
    }
    return values == 0;
}

static PyObject *prepare(PyObject *self, PyObject *args) {
    const char *order, *mean_w, *ctx_w, *table_of, *radius, *dead, *freq;
    Py_ssize_t n_order, n_mean, n_ctx, n_table, bank, n_dead, n_freq;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#y#y#y#y#y#", &order, &n_order, &mean_w, &n_mean, &ctx_w, &n_ctx, &table_of,
                          &n_table, &radius, &bank, &dead, &n_dead, &freq, &n_freq))
        return NULL;
    Py_ssize_t channels = n_order / 2;
    Plan *plan = calloc(1, sizeof *plan);
    if (!plan) return PyErr_NoMemory();
    plan->channels = channels;
    plan->order = duplicate(order, n_order);
    plan->mean_w = duplicate(mean_w, n_mean);
    plan->ctx_w = duplicate(ctx_w, n_ctx);
    plan->table_of = duplicate(table_of, n_table);
    plan->dead = duplicate(dead, n_dead);
    plan->entries = calloc((size_t)bank, sizeof *plan->entries);
    plan->start = calloc((size_t)(n_freq / 2 + bank), 2);
    plan->first = calloc((size_t)bank, 2 * (PROB_SCALE >> SLOT_BITS));
    if (!plan->order || !plan->mean_w || !plan->ctx_w || !plan->table_of || !plan->dead || !plan->entries ||
        !plan->start || !plan->first) {
        plan_free(plan);
        return PyErr_NoMemory();
    }
    int good = channels > 0 && bank > 0 && n_mean == 4 * channels && n_ctx == 6 * channels &&
               n_table == CONTEXTS * channels && n_dead == bank &&
               plan_bank(plan, (const uint8_t *)radius, bank, (const uint8_t *)freq, n_freq / 2);
    for (Py_ssize_t c = 0; good && c < channels; c++) good = plan->order[c] < channels;
    for (Py_ssize_t i = 0; good && i < n_table; i++) good = plan->table_of[i] < bank;
    PyObject *capsule = good ? PyCapsule_New(plan, "edgepress.plan", plan_destroy) : NULL;
    if (!capsule) plan_free(plan);
    if (!good) PyErr_SetString(PyExc_ValueError, "inconsistent entropy tables");
    return capsule;
}

/* ---- the context model ---- */

typedef struct {
    Py_ssize_t height, width;
    int32_t *fast, *slow;   /* maps of activity, [height * width] */
    int32_t *known, *above; /* of one row: 16 * activity and prediction without the left neighbour */
    uint8_t *mag;           /* magnitudes of the plane, a border of zeros above, left and right */
    const int8_t *mean_w;   /* of the channel */
    const uint8_t *ctx_w;
    int predicted;
    uint32_t flag_ones[4], flag_context;
} Model;

static void model_free(Model *model) {
    free(model->fast);
    free(model->slow);
    free(model->known);
    free(model->above);
    free(model->mag);
}

static int model_init(Model *model, Py_ssize_t height, Py_ssize_t width) {
    size_t positions = (size_t)height * (size_t)width;
    memset(model, 0, sizeof *model);
    model->height = height;
    model->width = width;
    model->fast = calloc(positions, sizeof(int32_t));
    model->slow = calloc(positions, sizeof(int32_t));
    model->known = calloc((size_t)width, sizeof(int32_t));
    model->above = calloc((size_t)width, sizeof(int32_t));
    model->mag = calloc((size_t)(height + 1) * (size_t)(width + 2), 1);
    for (int i = 0; i < 4; i++) model->flag_ones[i] = 2048;
    return model->fast && model->slow && model->known && model->above && model->mag;
}

static void model_channel(Model *model, const Plan *plan, int channel) {
    model->mean_w = plan->mean_w + 4 * channel;
    model->ctx_w = plan->ctx_w + 6 * channel;
    model->predicted = model->mean_w[0] || model->mean_w[1] || model->mean_w[2] || model->mean_w[3];
}

static uint32_t flag_one(const Model *model) { return model->flag_ones[model->flag_context] << 2; }

static void flag_update(Model *model, int flag) {
    uint32_t *p = &model->flag_ones[model->flag_context];
    *p = flag ? *p + ((4096 - *p) >> 4) : *p - (*p >> 4);
    *p = *p < 32 ? 32 : *p > 4064 ? 4064 : *p;
    model->flag_context = (model->flag_context << 1 | (uint32_t)flag) & 3;
}

static uint8_t *mag_row(const Model *model, Py_ssize_t y) { return model->mag + (y + 1) * (model->width + 2) + 1; }

/* Prepares `known` for row y; the rows above it are coded. */
static void model_known(Model *model, Py_ssize_t y) {
    const Py_ssize_t width = model->width;
    const int32_t *restrict fast = model->fast + y * width, *restrict slow = model->slow + y * width;
    const uint8_t *restrict top = mag_row(model, y - 1);
    const int32_t w0 = 16 * model->ctx_w[0], w1 = 16 * model->ctx_w[1], w2 = model->ctx_w[2], w3 = model->ctx_w[3];
    const int32_t w4 = model->ctx_w[4], w5 = 16 * model->ctx_w[5];
    int32_t *restrict known = model->known;
    for (Py_ssize_t x = 0; x < width; x++)
        known[x] = w2 * fast[x] + w3 * slow[x] + w5 + w0 * top[x] + w1 * (top[x - 1] + top[x + 1]);
    if (w4) {
        const int32_t *restrict up = y > 0 ? slow - width : slow;
        const int32_t *restrict down = y + 1 < model->height ? slow + width : slow;
        const Py_ssize_t last = width - 1;
        known[0] += w4 * (slow[0] + slow[width > 1] + up[0] + down[0]) >> 2;
        for (Py_ssize_t x = 1; x < last; x++) known[x] += w4 * (slow[x - 1] + slow[x + 1] + up[x] + down[x]) >> 2;
        if (last) known[last] += w4 * (slow[last - 1] + slow[last] + up[last] + down[last]) >> 2;
    }
}

/* Prepares `above` for row y, which predicted channels need. */
static void model_above(Model *model, const int16_t *restrict row, Py_ssize_t y) {
    const Py_ssize_t width = model->width;
    int32_t *restrict above = model->above;
    if (!model->predicted) return;
    if (y == 0) {
        for (Py_ssize_t x = 0; x < width; x++) above[x] = 32;
        return;
    }
    const int16_t *restrict before = row - width;
    const int32_t t = model->mean_w[1], tl = model->mean_w[2], tr = model->mean_w[3];
    const Py_ssize_t last = width - 1;
    above[0] = (t + tl) * before[0] + tr * before[width > 1] + 32;
    for (Py_ssize_t x = 1; x < last; x++) above[x] = t * before[x] + tl * before[x - 1] + tr * before[x + 1] + 32;
    if (last) above[last] = (t + tr) * before[last] + tl * before[last - 1] + 32;
}

/* In the first row the left neighbour stands for the top ones, too. */
static int32_t left_weight(const Model *model, Py_ssize_t y) {
    const int8_t *w = model->mean_w;
    return y ? w[0] : w[0] + w[1] + w[2] + w[3];
}

static inline int32_t predict(int32_t weight, int32_t left, int32_t above) {
    int32_t mean = (weight * left + above) >> 6;
    return mean < -MAX_SYMBOL ? -MAX_SYMBOL : mean > MAX_SYMBOL ? MAX_SYMBOL : mean;
}

static inline uint32_t context_of(int32_t activity) {
    uint32_t t = activity < 3 ? 3u : (uint32_t)activity, octave = 31u - (uint32_t)__builtin_clz(t);
    uint32_t bucket = 2 * octave - 3 + (t >> (octave - 1) & 1);
    return bucket < CONTEXTS - 1 ? bucket : CONTEXTS - 1;
}

static void model_update(Model *model, int coded) {
    for (Py_ssize_t y = 0; y < model->height; y++) {
        int32_t *restrict fast = model->fast + y * model->width, *restrict slow = model->slow + y * model->width;
        const uint8_t *restrict mag = mag_row(model, y);
        if (coded)
            for (Py_ssize_t x = 0; x < model->width; x++) {
                fast[x] += (mag[x] << 4) - (fast[x] >> 2);
                slow[x] += (mag[x] << 4) - (slow[x] >> 4);
            }
        else
            for (Py_ssize_t x = 0; x < model->width; x++) {
                fast[x] -= fast[x] >> 2;
                slow[x] -= slow[x] >> 4;
            }
    }
}

/* ---- encoding ---- */

static int any_symbol(const int16_t *plane, Py_ssize_t positions) {
    for (Py_ssize_t begin = 0; begin < positions; begin += 256) {
        Py_ssize_t end = positions - begin < 256 ? positions : begin + 256;
        int any = 0;
        for (Py_ssize_t i = begin; i < end; i++) any |= plane[i];
        if (any) return 1;
    }
    return 0;
}

/* A stream is written from its end, so that a first pass, in the order of decoding, finds the bank entry of every symbol, and a
 * second one, backwards, codes them. What is kept in between is one byte for each symbol. */

typedef struct {
    uint8_t *entries; /* of the symbols of planes that are not all zero, in the order of decoding */
    uint32_t *ones;   /* of each plane: the frequency of a flag that is 1, and the flag itself in the lowest bit */
    size_t count, capacity;
} Found;

typedef struct {
    uint16_t *words; /* the last one comes first */
    size_t count, capacity;
    uint32_t state;
} Encoder;

static int found_reserve(Found *found, size_t more) {
    if (found->count + more <= found->capacity) return 1;
    size_t capacity = found->count + found->count / 2 + more;
    uint8_t *grown = realloc(found->entries, capacity);
    if (!grown) return 0;
    found->entries = grown;
    found->capacity = capacity;
    return 1;
}

static int words_reserve(Encoder *e, size_t more) {
    if (e->count + more <= e->capacity) return 1;
    size_t capacity = 2 * e->count + more;
    uint16_t *grown = capacity <= SIZE_MAX / sizeof *grown ? realloc(e->words, capacity * sizeof *grown) : NULL;
    if (!grown) return 0;
    e->words = grown;
    e->capacity = capacity;
    return 1;
}

/* The residual of a symbol; the symbols of `row` to the left of x and of the rows above are known to the decoder. */
static inline int32_t residual_at(const Model *model, const int16_t *row, Py_ssize_t y, Py_ssize_t x, int32_t weight) {
    if (!model->predicted) return row[x];
    int32_t left = x ? row[x - 1] : y ? row[-model->width] : 0;
    return row[x] - predict(weight, left, model->above[x]);
}

/* What symbols were made of, for an encoder that may still change them. */
typedef struct {
    const int8_t *latent; /* [positions][channels] */
    const uint16_t *steps;
    int32_t zero_point;
} Source;

/* Whether a symbol of 1 or -1 is better left out: its value is nearer to zero than the bits that it takes here are worth. */
static inline int too_dear(const Plan *plan, const Source *source, int channel, Py_ssize_t position, uint8_t entry) {
    const int32_t v = source->latent[position * plan->channels + channel] - source->zero_point;
    return (v < 0 ? -v : v) * 4096 < (128 + plan->dead[entry]) * (int32_t)source->steps[channel];
}

/* `source` is NULL for symbols that stay as they are. */
static void find_entries(Model *model, const Plan *plan, int channel, int16_t *plane, const Source *source, uint8_t *out) {
    const Py_ssize_t width = model->width;
    const uint8_t *table_of = plan->table_of + CONTEXTS * channel;
    model_channel(model, plan, channel);
    if (model->predicted) source = NULL; /* where the prediction is not zero, neither is the cheapest symbol */
    for (Py_ssize_t y = 0; y < model->height; y++) {
        int16_t *row = plane + y * width;
        uint8_t *mag = mag_row(model, y);
        model_known(model, y);
        model_above(model, row, y);
        const int32_t straight = 16 * model->ctx_w[0], weight = left_weight(model, y);
        int32_t magnitude = 0;
        for (Py_ssize_t x = 0; x < width; x++) {
            const uint8_t entry = table_of[context_of((model->known[x] + straight * magnitude) >> 4)];
            *out++ = entry;
            if (source && (row[x] == 1 || row[x] == -1) && too_dear(plan, source, channel, y * width + x, entry)) row[x] = 0;
            int32_t residual = residual_at(model, row, y, x, weight), size = residual < 0 ? -residual : residual;
            magnitude = size > MAX_SYMBOL ? MAX_SYMBOL : size;
            mag[x] = (uint8_t)magnitude;
        }
    }
}

static int find_all(const Plan *plan, int16_t *symbols, const Source *source, Model *model, Found *found) {
    const Py_ssize_t positions = model->height * model->width;
    found->ones = malloc((size_t)plan->channels * sizeof *found->ones);
    if (!found->ones || !found_reserve(found, 1)) return 0; /* never NULL, also where every plane is zero */
    for (Py_ssize_t i = 0; i < plan->channels; i++) {
        int channel = plan->order[i];
        int16_t *plane = symbols + channel * positions;
        int flag = any_symbol(plane, positions);
        if (flag) {
            if (!found_reserve(found, (size_t)positions)) return 0;
            find_entries(model, plan, channel, plane, source, found->entries + found->count);
            if (source) flag = any_symbol(plane, positions);
            if (flag) found->count += (size_t)positions;
        }
        found->ones[i] = flag_one(model) | (uint32_t)flag; /* a frequency is a multiple of 4 */
        flag_update(model, flag);
        model_update(model, flag);
    }
    return 1;
}

static inline void put(Encoder *e, uint32_t start, uint32_t freq) {
    if (e->state >> 18 >= freq) {
        e->words[e->count++] = (uint16_t)e->state;
        e->state >>= 16;
    }
    e->state = (e->state / freq << PROB_BITS) + e->state % freq + start;
}

/* What follows an escape symbol, backwards: the sign, then Exp-Golomb bits of the excess over the radius. */
static void put_escape(Encoder *e, int32_t residual, int32_t radius) {
    const uint32_t half = PROB_SCALE / 2;
    uint32_t number = (uint32_t)((residual < 0 ? -residual : residual) - radius);
    int bits = 32 - __builtin_clz(number);
    put(e, (residual < 0) * half, half);
    for (int i = 0; i < bits; i++) put(e, (number >> i & 1) * half, half);
    for (int i = 1; i < bits; i++) put(e, 0, half);
}

static int put_plane(Encoder *e, Model *model, const Plan *plan, int channel, const int16_t *plane, const uint8_t *end) {
    const Py_ssize_t width = model->width;
    model_channel(model, plan, channel);
    for (Py_ssize_t y = model->height; y-- > 0;) {
        const int16_t *row = plane + y * width;
        const int32_t weight = left_weight(model, y);
        if (!words_reserve(e, WORDS_PER_SYMBOL * (size_t)width)) return 0;
        Encoder local = *e;
        model_above(model, row, y);
        for (Py_ssize_t x = width; x-- > 0;) {
            const Entry *entry = &plan->entries[*--end];
            const int32_t residual = residual_at(model, row, y, x, weight), radius = entry->radius;
            int32_t index = residual + radius;
            if (residual > radius || residual < -radius) {
                index = 2 * radius + 1;
                put_escape(&local, residual, radius);
            }
            const uint32_t start = entry->start[index];
            put(&local, start, entry->start[index + 1] - start);
        }
        *e = local;
    }
    return 1;
}

static int put_all(Encoder *e, const Plan *plan, const int16_t *symbols, Model *model, const Found *found) {
    const Py_ssize_t positions = model->height * model->width;
    const uint8_t *end = found->entries + found->count;
    e->state = STATE_START;
    for (Py_ssize_t i = plan->channels; i-- > 0;) {
        int channel = plan->order[i];
        uint32_t one = found->ones[i] & ~1u;
        if (found->ones[i] & 1) {
            if (!put_plane(e, model, plan, channel, symbols + channel * positions, end)) return 0;
            end -= positions;
        }
        if (!words_reserve(e, 3)) return 0; /* one of the flag, and two of the state after the last one */
        put(e, found->ones[i] & 1 ? 0 : one, found->ones[i] & 1 ? one : PROB_SCALE - one);
    }
    e->words[e->count++] = (uint16_t)(e->state >> 16);
    e->words[e->count++] = (uint16_t)e->state;
    return 1;
}

/* ---- decoding ---- */

typedef struct {
    const uint8_t *next, *end;
    uint32_t state;
    const char *error;
} Decoder;

static inline void advance(Decoder *d, uint32_t start, uint32_t freq) {
    uint32_t state = freq * (d->state >> PROB_BITS) + (d->state & (PROB_SCALE - 1)) - start;
    if (state < STATE_START) {
        if (d->next == d->end) {
            d->error = TOO_SHORT;
            return;
        }
        state = state << 16 | d->next[0] | (uint32_t)d->next[1] << 8;
        d->next += 2;
    }
    d->state = state;
}

static int decode_bit(Decoder *d, uint32_t one) {
    int bit = (d->state & (PROB_SCALE - 1)) < one;
    advance(d, bit ? 0 : one, bit ? one : PROB_SCALE - one);
    return bit;
}

static int raw_bit(Decoder *d) { return !decode_bit(d, PROB_SCALE / 2); }

static int32_t decode_escape(Decoder *d, int32_t radius) {
    int zeros = 0;
    while (!d->error && !raw_bit(d))
        if (++zeros > MAX_PREFIX) d->error = BAD_NUMBER;
    int32_t number = 1;
    while (!d->error && zeros-- > 0) number = number << 1 | raw_bit(d);
    return raw_bit(d) ? -(radius + number) : radius + number;
}

static inline int32_t decode_residual(Decoder *d, const Entry *entry) {
    uint32_t slot = d->state & (PROB_SCALE - 1);
    if (slot - entry->zero_start < entry->zero_freq) { /* most symbols, so that the branch is foreseen */
        advance(d, entry->zero_start, entry->zero_freq);
        return 0;
    }
    const uint16_t *start = entry->start;
    uint32_t index = entry->first[slot >> SLOT_BITS];
    while (start[index + 1] <= slot) index++;
    advance(d, start[index], (uint32_t)start[index + 1] - start[index]);
    if (index <= 2 * (uint32_t)entry->radius) return (int32_t)index - entry->radius;
    return decode_escape(d, entry->radius);
}

static void decode_plane(Decoder *d, Model *model, const Plan *plan, int channel, int16_t *plane) {
    const Py_ssize_t width = model->width;
    const uint8_t *table_of = plan->table_of + CONTEXTS * channel;
    Decoder local = *d;
    model_channel(model, plan, channel);
    for (Py_ssize_t y = 0; y < model->height && !local.error; y++) {
        int16_t *row = plane + y * width;
        uint8_t *mag = mag_row(model, y);
        model_known(model, y);
        model_above(model, row, y);
        const int32_t straight = 16 * model->ctx_w[0], weight = left_weight(model, y);
        int32_t left = y ? row[-width] : 0, magnitude = 0, widest = 0;
        for (Py_ssize_t x = 0; x < width && !local.error; x++) {
            const Entry *entry = &plan->entries[table_of[context_of((model->known[x] + straight * magnitude) >> 4)]];
            int32_t mean = model->predicted ? predict(weight, left, model->above[x]) : 0;
            int32_t residual = decode_residual(&local, entry);
            int32_t size = residual < 0 ? -residual : residual;
            left = mean + residual;
            widest |= (left + MAX_SYMBOL) | (MAX_SYMBOL - left); /* negative once one was out of range */
            magnitude = size > MAX_SYMBOL ? MAX_SYMBOL : size;
            mag[x] = (uint8_t)magnitude;
            row[x] = (int16_t)left;
        }
        if (widest < 0 && !local.error) local.error = BAD_SYMBOL;
    }
    *d = local;
}

static const char *decode_all(const Plan *plan, const uint8_t *data, Py_ssize_t size, Model *model, int16_t *symbols) {
    const Py_ssize_t positions = model->height * model->width;
    if (size < 4 || size % 2) return BAD_LENGTH;
    Decoder d = {data + 4, data + size, 0, NULL};
    for (int i = 0; i < 4; i++) d.state |= (uint32_t)data[i] << 8 * i;
    for (Py_ssize_t i = 0; i < plan->channels && !d.error; i++) {
        int channel = plan->order[i];
        int16_t *plane = symbols + channel * positions;
        int flag = decode_bit(&d, flag_one(model));
        flag_update(model, flag);
        if (flag)
            decode_plane(&d, model, plan, channel, plane);
        else
            memset(plane, 0, (size_t)positions * sizeof *plane);
        model_update(model, flag);
    }
    if (d.error) return d.error;
    return d.state == STATE_START && d.next == d.end ? NULL : BAD_END;
}

/* ---- the module ---- */

/* How many values C planes of H x W have, or -1 with an exception when that is not a sensible number. */
static Py_ssize_t volume(Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width) {
    const Py_ssize_t most = PY_SSIZE_T_MAX / 16; /* so that sizes in bytes cannot overflow */
    if (channels > 0 && height > 0 && width > 0 && width < most / height && channels <= most / (height * width))
        return channels * height * width;
    PyErr_SetString(PyExc_ValueError, "the latent has an impossible size");
    return -1;
}

static PyObject *mismatch(void) {
    PyErr_SetString(PyExc_ValueError, "sizes do not match");
    return NULL;
}

/* The words of a stream, first to last, little-endian. */
static PyObject *as_bytes(const Encoder *e) {
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * e->count));
    if (!result) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(result);
    for (size_t i = e->count; i-- > 0;) {
        *out++ = (uint8_t)e->words[i];
        *out++ = (uint8_t)(e->words[i] >> 8);
    }
    return result;
}

/* The stream of symbols, which only change where there is a `source`. */
static PyObject *encoded(const Plan *plan, int16_t *symbols, const Source *source, Py_ssize_t height, Py_ssize_t width) {
    Model model;
    Found found = {NULL, NULL, 0, 0};
    Encoder encoder = {NULL, 0, 0, 0};
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = model_init(&model, height, width) && find_all(plan, symbols, source, &model, &found) &&
           put_all(&encoder, plan, symbols, &model, &found);
    model_free(&model);
    free(found.entries);
    free(found.ones);
    Py_END_ALLOW_THREADS;
    PyObject *result = done ? as_bytes(&encoder) : PyErr_NoMemory();
    free(encoder.words);
    return result;
}

static PyObject *encode(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *symbols;
    Py_ssize_t size, height, width;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#nn", &capsule, &symbols, &size, &height, &width)) return NULL;
    const Plan *plan = PyCapsule_GetPointer(capsule, "edgepress.plan");
    if (!plan) return NULL;
    const Py_ssize_t values = volume(plan->channels, height, width);
    if (values < 0) return NULL;
    if (size != 2 * values) return mismatch();
    return encoded(plan, (int16_t *)symbols, NULL, height, width);
}

static PyObject *decode(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *data, *error = NO_MEMORY;
    Py_ssize_t size, height, width;
    Model model;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#nn", &capsule, &data, &size, &height, &width)) return NULL;
    const Plan *plan = PyCapsule_GetPointer(capsule, "edgepress.plan");
    if (!plan) return NULL;
    Py_ssize_t values = volume(plan->channels, height, width);
    PyObject *result = values < 0 ? NULL : PyByteArray_FromStringAndSize(NULL, 2 * values);
    if (!result) return NULL;
    int16_t *symbols = (int16_t *)PyByteArray_AsString(result);
    Py_BEGIN_ALLOW_THREADS;
    if (model_init(&model, height, width))
        error = decode_all(plan, (const uint8_t *)data, size, &model, symbols);
    model_free(&model);
    Py_END_ALLOW_THREADS;
    if (!error) return result;
    Py_DECREF(result);
    if (!strcmp(error, NO_MEMORY)) return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, error);
    return NULL;
}

/* Whether `size` bytes are a usable step16 (1/16 of an int8 step, uint16) for each channel. */
static int good_steps(const char *steps, Py_ssize_t size, Py_ssize_t channels) {
    if (channels < 1 || size != 2 * channels) return 0;
    for (Py_ssize_t c = 0; c < channels; c++)
        if (((const uint16_t *)steps)[c] < 16) return 0;
    return 1;
}

/* Symbols [channels][positions] of a latent [positions][channels]. */
static void quantize_all(const Source *source, Py_ssize_t channels, Py_ssize_t positions, int round256, int16_t *symbols) {
    for (Py_ssize_t begin = 0; begin < positions; begin += TILE) {
        const Py_ssize_t end = positions - begin < TILE ? positions : begin + TILE;
        for (Py_ssize_t c = 0; c < channels; c++) {
            const int32_t step16 = source->steps[c];
            /* floor((4096 m + round256 step16) / (256 step16)): the half keeps the product away from whole numbers by
               more than a double can err, so that the result is that of the integer division. */
            const double unit = 1.0 / (256.0 * step16), offset = (double)round256 * step16 + 0.5;
            for (Py_ssize_t i = begin; i < end; i++) {
                const int32_t v = source->latent[i * channels + c] - source->zero_point, magnitude = v < 0 ? -v : v;
                const int32_t s = (int32_t)((4096.0 * magnitude + offset) * unit);
                symbols[c * positions + i] = (int16_t)(v < 0 ? -s : s);
            }
        }
    }
}

static PyObject *quantize(PyObject *self, PyObject *args) {
    const char *latent, *steps;
    Py_ssize_t size, n_steps;
    int zero_point, round256;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#ii", &latent, &size, &steps, &n_steps, &zero_point, &round256)) return NULL;
    const Py_ssize_t channels = n_steps / 2;
    if (!good_steps(steps, n_steps, channels) || size % channels) return mismatch();
    PyObject *result = PyByteArray_FromStringAndSize(NULL, 2 * size);
    if (!result) return NULL;
    const Source source = {(const int8_t *)latent, (const uint16_t *)steps, zero_point};
    int16_t *symbols = (int16_t *)PyByteArray_AsString(result);
    Py_BEGIN_ALLOW_THREADS;
    quantize_all(&source, channels, size / channels, round256, symbols);
    Py_END_ALLOW_THREADS;
    return result;
}

static PyObject *encode_latent(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *latent, *steps;
    Py_ssize_t size, n_steps, height, width;
    int zero_point, round256;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#y#iinn", &capsule, &latent, &size, &steps, &n_steps, &zero_point, &round256, &height,
                          &width))
        return NULL;
    const Plan *plan = PyCapsule_GetPointer(capsule, "edgepress.plan");
    if (!plan) return NULL;
    const Py_ssize_t values = volume(plan->channels, height, width);
    if (values < 0) return NULL;
    if (size != values || !good_steps(steps, n_steps, plan->channels)) return mismatch();
    int16_t *symbols = malloc(2 * (size_t)values);
    if (!symbols) return PyErr_NoMemory();
    const Source source = {(const int8_t *)latent, (const uint16_t *)steps, zero_point};
    Py_BEGIN_ALLOW_THREADS;
    quantize_all(&source, plan->channels, height * width, round256, symbols);
    Py_END_ALLOW_THREADS;
    PyObject *result = encoded(plan, symbols, &source, height, width);
    free(symbols);
    return result;
}

/* The values of some symbols of one channel; `count` is at most TILE. */
static void reconstruct(const int16_t *restrict symbols, Py_ssize_t count, int32_t step16, const int8_t *recon,
                        int32_t zero_point, int8_t *restrict values) {
    const int32_t one = recon[0], more = recon[1];
    if (!any_symbol(symbols, count)) {
        memset(values, zero_point, (size_t)count);
        return;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        const int32_t symbol = symbols[i], size = symbol < 0 ? -symbol : symbol;
        const int32_t clipped = size < MAX_SYMBOL ? size : MAX_SYMBOL;
        /* (255 * 128 + 128) * 65535 + 1024 just fits; a symbol of zero has no shift and gives zero. */
        const int32_t shift = size == 0 ? 0 : size == 1 ? one : more;
        const int32_t value = ((clipped * 128 - shift) * step16 + 1024) >> 11;
        const int32_t v = symbol < 0 ? zero_point - value : zero_point + value;
        values[i] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
    }
}

static PyObject *dequantize(PyObject *self, PyObject *args) {
    const char *symbols_bytes, *recon, *steps;
    Py_ssize_t size, n_recon, n_steps;
    int zero_point;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#y#i", &symbols_bytes, &size, &recon, &n_recon, &steps, &n_steps, &zero_point))
        return NULL;
    const Py_ssize_t channels = n_steps / 2;
    if (!good_steps(steps, n_steps, channels) || n_recon != 2 * channels || size % (2 * channels)) return mismatch();
    PyObject *result = PyByteArray_FromStringAndSize(NULL, size / 2);
    if (!result) return NULL;
    int8_t *latent = (int8_t *)PyByteArray_AsString(result);
    const int16_t *symbols = (const int16_t *)symbols_bytes;
    const Py_ssize_t positions = size / 2 / channels;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t begin = 0; begin < positions; begin += TILE) {
        const Py_ssize_t end = positions - begin < TILE ? positions : begin + TILE;
        for (Py_ssize_t c = 0; c < channels; c++) {
            int8_t values[TILE];
            reconstruct(symbols + c * positions + begin, end - begin, ((const uint16_t *)steps)[c],
                        (const int8_t *)recon + 2 * c, zero_point, values);
            for (Py_ssize_t i = begin; i < end; i++) latent[i * channels + c] = values[i - begin];
        }
    }
    Py_END_ALLOW_THREADS;
    return result;
}

static PyMethodDef methods[] = {
    {"prepare", prepare, METH_VARARGS, "prepare(order, mean_w, ctx_w, table_of, bank_radius, bank_dead, bank_freq) -> plan"},
    {"encode", encode, METH_VARARGS, "encode(plan, symbols, height, width) -> bytes"},
    {"decode", decode, METH_VARARGS, "decode(plan, data, height, width) -> bytearray of int16"},
    {"encode_latent", encode_latent, METH_VARARGS,
     "encode_latent(plan, latent, steps, zero_point, round256, height, width) -> bytes"},
    {"quantize", quantize, METH_VARARGS, "quantize(latent, steps, zero_point, round256) -> bytearray"},
    {"dequantize", dequantize, METH_VARARGS, "dequantize(symbols, recon, steps, zero_point) -> bytearray"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_coder", "The entropy coder in C; see edgepress.runtime.coder.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__coder(void) { return PyModuleDef_Init(&module); }
