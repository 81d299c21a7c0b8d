/* The entropy coder in C: the same bytes as purecoder.py, which is its specification in Python, with masking.py; and what decoders do
 * behind it, the same as refine.py and smoothing.py.
 *
 * rANS with a 32-bit state and 16-bit words, contexts from symbols already coded (contexts.py). This file is the module; the work
 * is done in _coder_plan.h (tables), _coder_grade.h (a quality), _coder_masking.h (what errors hide), _coder_model.h, _coder_contexts.h
 * and _coder_wave.h (contexts), _coder_encode.h with _coder_quantize.h, _coder_predict.h, _coder_lookup.h and _coder_lanes.h, and
 * _coder_decode.h; then in _coder_refine.h (what a latent holds) and, for the pixels that come of it in the end, _coder_smooth.h. Only
 * the limited API of Python 3.10 is used; all work on bulk data runs without the GIL, where the caller's arrays lie. An array that
 * another thread changes meanwhile gives a wrong result, but no access outside of a buffer. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_coder_decode.h"
#include "_coder_encode.h"
#include "_coder_refine.h"
#include "_coder_smooth.h"

static void plan_destroy(PyObject *capsule) { plan_free(PyCapsule_GetPointer(capsule, "edgepress.plan")); }

static PyObject *prepare(PyObject *self, PyObject *args) {
    const char *order, *mean_w, *ctx_w, *table_of, *radius, *dead, *freq;
    Py_ssize_t n_order, n_mean, n_ctx, n_table, bank, n_dead, n_freq;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#y#y#y#y#y#", &order, &n_order, &mean_w, &n_mean, &ctx_w, &n_ctx, &table_of,
                          &n_table, &radius, &bank, &dead, &n_dead, &freq, &n_freq))
        return NULL;
    const Py_ssize_t channels = n_order / 2;
    int bad = !(channels > 0 && bank > 0 && n_mean == 4 * channels && n_ctx == PASSES * WEIGHTS * channels &&
                n_table == CONTEXTS * channels && n_dead == bank && n_freq > 0);
    Plan *plan = bad ? NULL
                     : plan_make(order, mean_w, ctx_w, table_of, (const uint8_t *)radius, dead, freq,
                                 channels, bank, n_freq / 2, &bad);
    if (bad) PyErr_SetString(PyExc_ValueError, "inconsistent entropy tables");
    if (!plan) return bad ? NULL : PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(plan, "edgepress.plan", plan_destroy);
    if (!capsule) plan_free(plan);
    return capsule;
}

/* A grade and the plan that it is for, which it keeps. */
typedef struct {
    PyObject *plan;
    Grade *grade;
} Prepared;

static void grade_destroy(PyObject *capsule) {
    Prepared *prepared = PyCapsule_GetPointer(capsule, "edgepress.grade");
    Py_DECREF(prepared->plan);
    grade_free(prepared->grade);
    free(prepared);
}

/* Whether `size` bytes are a usable step16 (1/16 of an int8 step, uint16) for each channel. */
static int good_steps(const char *steps, Py_ssize_t size, Py_ssize_t channels) {
    if (channels < 1 || size != 2 * channels) return 0;
    for (Py_ssize_t c = 0; c < channels; c++)
        if (((const uint16_t *)steps)[c] < 16) return 0;
    return 1;
}

static int good_offsets(int zero_point, int round256) {
    return zero_point >= -128 && zero_point <= 127 && round256 >= 0 && round256 <= 255;
}

static PyObject *mismatch(void) {
    PyErr_SetString(PyExc_ValueError, "sizes do not match");
    return NULL;
}

static PyObject *prepare_grade(PyObject *self, PyObject *args) {
    PyObject *owner;
    const char *steps, *recon, *weights;
    Py_ssize_t n_steps, n_recon, n_weights;
    int zero_point, round256;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#y#iiy#", &owner, &steps, &n_steps, &recon, &n_recon, &zero_point, &round256, &weights,
                          &n_weights))
        return NULL;
    const Plan *plan = PyCapsule_GetPointer(owner, "edgepress.plan");
    if (!plan) return NULL;
    if (!good_steps(steps, n_steps, plan->channels) || n_recon != n_steps || !good_offsets(zero_point, round256) ||
        n_weights != n_steps || !masking_fits(weights, plan->channels))
        return mismatch();
    Prepared *prepared = malloc(sizeof *prepared);
    if (!prepared) return PyErr_NoMemory();
    prepared->plan = owner;
    prepared->grade = grade_make(plan, steps, recon, zero_point, round256, weights);
    PyObject *capsule = prepared->grade ? PyCapsule_New(prepared, "edgepress.grade", grade_destroy) : PyErr_NoMemory();
    if (capsule) {
        Py_INCREF(owner);
        return capsule;
    }
    grade_free(prepared->grade);
    free(prepared);
    return NULL;
}

/* The grade and the plan in a capsule; NULL with an exception when it is none. */
static const Grade *grade_of(PyObject *capsule, const Plan **plan) {
    const Prepared *prepared = PyCapsule_GetPointer(capsule, "edgepress.grade");
    if (!prepared) return NULL;
    *plan = PyCapsule_GetPointer(prepared->plan, "edgepress.plan");
    return prepared->grade;
}

/* How many values C planes of H x W have, or -1 with an exception when that is not a sensible number. */
static Py_ssize_t volume(Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width) {
    const Py_ssize_t most = PY_SSIZE_T_MAX / 128; /* so that sizes in bytes, with borders, cannot overflow */
    if (channels > 0 && height > 0 && width > 0 && width < most / height && channels <= most / (height * width))
        return channels * height * width;
    PyErr_SetString(PyExc_ValueError, "the latent has an impossible size");
    return -1;
}

/* The words of a stream, first to last, little-endian. */
VECTOR static void from_the_end(const uint16_t *restrict words, ptrdiff_t count, char *restrict out) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint16_t word = words[count - 1 - i];
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap16(word);
#endif
        memcpy(out + 2 * i, &word, 2);
    }
}

static PyObject *as_bytes(const Encoder *e) {
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * e->count));
    if (result) from_the_end(e->words, (ptrdiff_t)e->count, PyBytes_AsString(result));
    return result;
}

/* The stream of symbols [channels][height][width], or, with a grade, of a latent [height][width][channels]. */
static PyObject *encoded(const Plan *plan, const int16_t *symbols, const Grade *grade, const int8_t *latent, Py_ssize_t height,
                         Py_ssize_t width) {
    Model model;
    Found found = {NULL, NULL, 0, 0};
    Encoder encoder = {NULL, 0, 0, {0}, 0};
    Preview preview = {0};
    Source source = {symbols, grade, NULL, 0, NULL, NULL, NULL};
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = model_init(&model, height, width) && source_init(&source, &model, plan->channels);
    if (done && grade) source_fill(&source, latent, plan->channels, &model);
    done = done && find_all(plan, &source, &model, &preview, &found) && put_all(&encoder, plan, &model, &source, &found);
    source_free(&source);
    preview_free(&preview);
    model_free(&model);
    found_free(&found);
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
    return encoded(plan, (const int16_t *)symbols, NULL, NULL, height, width);
}

static PyObject *quantize(PyObject *self, PyObject *args) {
    const char *latent, *steps;
    Py_ssize_t size, n_steps;
    int zero_point, round256;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#ii", &latent, &size, &steps, &n_steps, &zero_point, &round256)) return NULL;
    const Py_ssize_t channels = n_steps / 2;
    if (!good_steps(steps, n_steps, channels) || size % channels || !good_offsets(zero_point, round256)) return mismatch();
    PyObject *result = PyByteArray_FromStringAndSize(NULL, 2 * size);
    int8_t *values = malloc((size_t)(size / channels) + 1);
    if (result && values) {
        int16_t *symbols = (int16_t *)PyByteArray_AsString(result);
        const Py_ssize_t positions = size / channels;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t c = 0; c < channels; c++) {
            for (Py_ssize_t i = 0; i < positions; i++) values[i] = ((const int8_t *)latent)[i * channels + c];
            symbols_of(values, zero_point, rounding_of(((const uint16_t *)steps)[c], (uint32_t)round256), positions,
                       symbols + c * positions);
        }
        Py_END_ALLOW_THREADS;
    } else {
        Py_CLEAR(result);
        PyErr_NoMemory();
    }
    free(values);
    return result;
}

static PyObject *encode_latent(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *latent;
    const Plan *plan;
    Py_ssize_t size, height, width;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#nn", &capsule, &latent, &size, &height, &width)) return NULL;
    const Grade *grade = grade_of(capsule, &plan);
    if (!grade) return NULL;
    const Py_ssize_t values = volume(plan->channels, height, width);
    if (values < 0) return NULL;
    if (size != values) return mismatch();
    return encoded(plan, NULL, grade, (const int8_t *)latent, height, width);
}

/* Decodes into a sink; returns what is wrong, or NULL. */
static const char *decoded(const Plan *plan, const char *data, Py_ssize_t size, Py_ssize_t height, Py_ssize_t width, Sink *sink) {
    const char *error = NO_MEMORY;
    Model model;
    Work work = {0};
    Py_BEGIN_ALLOW_THREADS;
    const ptrdiff_t channels = plan->channels;
    int ready = model_init(&model, height, width) && work_init(&work, &model);
    if (ready) {
        const size_t bytes = sink->grade ? (size_t)(channels * (sink->stride = model.size + BETWEEN)) : 1;
        sink->planes = malloc(bytes);
        sink->used = calloc((size_t)channels, 1);
        ready = sink->planes && sink->used;
    }
    if (ready && !sink->grade) memset(sink->symbols, 0, 2 * (size_t)(channels * height * width));
    if (ready) error = decode_all(plan, (const uint8_t *)data, size, &model, &work, sink);
    free(sink->planes);
    free(sink->used);
    work_free(&work);
    model_free(&model);
    Py_END_ALLOW_THREADS;
    return error;
}

/* The exception for what is wrong. */
static PyObject *failed(const char *error) {
    if (!strcmp(error, NO_MEMORY)) return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, error);
    return NULL;
}

static PyObject *decode(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *data;
    Py_ssize_t size, height, width;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#nn", &capsule, &data, &size, &height, &width)) return NULL;
    const Plan *plan = PyCapsule_GetPointer(capsule, "edgepress.plan");
    if (!plan) return NULL;
    const Py_ssize_t values = volume(plan->channels, height, width);
    PyObject *result = values < 0 ? NULL : PyByteArray_FromStringAndSize(NULL, 2 * values);
    if (!result) return NULL;
    Sink sink = {(int16_t *)PyByteArray_AsString(result), NULL, NULL, NULL, NULL, 0};
    const char *error = decoded(plan, data, size, height, width, &sink);
    if (!error) return result;
    Py_DECREF(result);
    return failed(error);
}

/* Writes to `latent`, which the caller knows to be writable: the limited API has no buffers that say so. */
static PyObject *decode_latent(PyObject *self, PyObject *args) {
    PyObject *capsule;
    const char *data, *latent;
    const Plan *plan;
    Py_ssize_t size, room, height, width;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy#y#nn", &capsule, &data, &size, &latent, &room, &height, &width)) return NULL;
    const Grade *grade = grade_of(capsule, &plan);
    if (!grade) return NULL;
    const Py_ssize_t values = volume(plan->channels, height, width);
    if (values < 0) return NULL;
    if (room != values) return mismatch();
    Sink sink = {NULL, grade, (int8_t *)latent, NULL, NULL, 0};
    const char *error = decoded(plan, data, size, height, width, &sink);
    if (error) return failed(error);
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *dequantize(PyObject *self, PyObject *args) {
    const char *symbols, *recon, *steps;
    Py_ssize_t size, n_recon, n_steps;
    int zero_point;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#y#i", &symbols, &size, &recon, &n_recon, &steps, &n_steps, &zero_point)) return NULL;
    const Py_ssize_t channels = n_steps / 2;
    if (!good_steps(steps, n_steps, channels) || n_recon != n_steps || size % n_steps || !good_offsets(zero_point, 0))
        return mismatch();
    PyObject *result = PyByteArray_FromStringAndSize(NULL, size / 2);
    if (!result) return NULL;
    const Py_ssize_t positions = size / n_steps;
    int8_t *latent = (int8_t *)PyByteArray_AsString(result), *values = malloc((size_t)positions + 1);
    const int done = values != NULL;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t c = 0; done && c < channels; c++) {
        values_of((const int16_t *)symbols + c * positions, positions, ((const uint16_t *)steps)[c], ((const int8_t *)recon)[2 * c],
                  ((const int8_t *)recon)[2 * c + 1], zero_point, values);
        for (Py_ssize_t i = 0; i < positions; i++) latent[i * channels + c] = values[i];
    }
    free(values);
    Py_END_ALLOW_THREADS;
    if (done) return result;
    Py_DECREF(result);
    return PyErr_NoMemory();
}

/* Changes `latent`, which the caller knows to be writable. */
static PyObject *refine(PyObject *self, PyObject *args) {
    const char *latent, *steps, *weights, *alone;
    Py_ssize_t size, n_steps, n_weights, n_alone, height, width;
    int zero_point, done;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#iy#y#y#nn", &latent, &size, &zero_point, &steps, &n_steps, &weights, &n_weights, &alone, &n_alone,
                          &height, &width))
        return NULL;
    const Py_ssize_t channels = n_steps / 2, values = volume(channels, height, width);
    if (values < 0) return NULL;
    if (size != values || n_steps != 2 * channels || n_weights != REFINE_WEIGHTS * channels || n_alone != channels ||
        !good_offsets(zero_point, 0))
        return mismatch();
    Py_BEGIN_ALLOW_THREADS;
    done = refine_all((int8_t *)latent, zero_point, height, width, channels, (const uint16_t *)steps, (const uint8_t *)weights,
                      (const uint8_t *)alone);
    Py_END_ALLOW_THREADS;
    if (!done) return PyErr_NoMemory();
    Py_INCREF(Py_None);
    return Py_None;
}

/* Changes `pixels`, which the caller knows to be writable. */
static PyObject *smooth(PyObject *self, PyObject *args) {
    const char *pixels;
    Py_ssize_t size, height, width, block;
    int limit;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#nnni", &pixels, &size, &height, &width, &block, &limit)) return NULL;
    const Py_ssize_t values = volume(COLOURS, height, width);
    if (values < 0) return NULL;
    if (size != values || block < 2 * REACH || block % (2 * REACH) || height % block || width % block || limit < 1 ||
        limit > MAX_LIMIT)
        return mismatch();
    Py_BEGIN_ALLOW_THREADS;
    smooth_all((uint8_t *)pixels, height, width, block, limit);
    Py_END_ALLOW_THREADS;
    Py_INCREF(Py_None);
    return Py_None;
}

static PyMethodDef methods[] = {
    {"prepare", prepare, METH_VARARGS, "prepare(order, mean_w, ctx_w, table_of, bank_radius, bank_dead, bank_freq) -> plan"},
    {"prepare_grade", prepare_grade, METH_VARARGS, "prepare_grade(plan, steps, recon, zero_point, round256, weights) -> grade"},
    {"encode", encode, METH_VARARGS, "encode(plan, symbols, height, width) -> bytes"},
    {"decode", decode, METH_VARARGS, "decode(plan, data, height, width) -> bytearray of int16"},
    {"encode_latent", encode_latent, METH_VARARGS, "encode_latent(grade, latent, height, width) -> bytes"},
    {"decode_latent", decode_latent, METH_VARARGS, "decode_latent(grade, data, latent, height, width): into an array of int8"},
    {"quantize", quantize, METH_VARARGS, "quantize(latent, steps, zero_point, round256) -> bytearray"},
    {"dequantize", dequantize, METH_VARARGS, "dequantize(symbols, recon, steps, zero_point) -> bytearray"},
    {"refine", refine, METH_VARARGS, "refine(latent, zero_point, steps, weights, alone, height, width): in place"},
    {"smooth", smooth, METH_VARARGS, "smooth(pixels, height, width, block, limit): in place"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_coder", "The entropy coder in C; see edgepress.runtime.coder.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__coder(void) { return PyModuleDef_Init(&module); }
