/* libFuzzer's way into the C coder: every function of the module, called through its Python interface.
 *
 * The extension is included as it is, so that its static functions are instrumented; Python is embedded, so that the
 * checks of arguments and the reference counts are tried as well. The first byte of an input chooses what is done:
 *
 *   decode, with the tables of a package:   0 | set | height | width | stream
 *   encode and decode again, likewise:      1 | set | height | width | symbols (int16)
 *   the same with tables from the input:    2 | channels | bank | seed | height | width | tables | stream
 *   encode a latent:                        4 | set | height | width | zero point | rounding | steps | latent (int8)
 *   quantize and dequantize:                3 | channels | zero point | rounding | steps | shifts | latent (int8)
 *   smooth the borders of blocks:           5 | wrong | block | rows | columns | limit | pixels
 *   refine a latent:                        6 | wrong | channels | height | width | zero point | steps | weights | which are alone | latent (int8)
 *
 * Properties: nothing is read or written out of bounds (address sanitizer), nothing undefined is done (undefined-
 * behaviour sanitizer), errors are ValueErrors, and symbols that were decoded are found again after encoding them. */

#include "../../runtime/_coder.c"

#include <stdio.h>

#define MAX_SETS 256
#define MAX_VALUES 8192 /* of a latent: keeps one input short */

static struct {
    PyObject *plan;
    Py_ssize_t channels;
} sets[MAX_SETS];
static int set_count;

/* The rest of the input, taken from its beginning. */
typedef struct {
    const uint8_t *next;
    size_t left;
} Input;

static uint8_t take(Input *input) {
    if (!input->left) return 0;
    input->left--;
    return *input->next++;
}

static void fail(const char *what) {
    fprintf(stderr, "fuzz: %s\n", what);
    if (PyErr_Occurred()) PyErr_Print();
    abort();
}

/* An error must be a ValueError (or out of memory), and is cleared; anything else ends the run. */
static PyObject *checked(PyObject *result) {
    if (result) return result;
    if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_MemoryError))
        fail("an error that callers do not expect");
    PyErr_Clear();
    return NULL;
}

static PyObject *call(PyCFunction function, PyObject *arguments) {
    if (!arguments) fail("cannot build arguments");
    PyObject *result = checked(function(NULL, arguments));
    Py_DECREF(arguments);
    return result;
}

static void bytes_of(PyObject *object, const char **data, Py_ssize_t *size) {
    if (PyByteArray_Check(object)) {
        *data = PyByteArray_AsString(object);
        *size = PyByteArray_Size(object);
    } else {
        *data = PyBytes_AsString(object);
        *size = PyBytes_Size(object);
    }
}

static PyObject *code(PyCFunction function, PyObject *plan, const void *data, Py_ssize_t size, Py_ssize_t height,
                      Py_ssize_t width) {
    return call(function, Py_BuildValue("Oy#nn", plan, (const char *)data, size, height, width));
}

/* A latent of so many values from a stream, or NULL. */
static PyObject *latent_of(PyObject *grade, const void *data, Py_ssize_t size, Py_ssize_t values, Py_ssize_t height,
                           Py_ssize_t width) {
    PyObject *latent = PyBytes_FromStringAndSize(NULL, values); /* one of its own, and so writable, even of a single byte */
    if (!latent) fail("out of memory");
    memset(PyBytes_AsString(latent), 0, (size_t)values);
    PyObject *done = call(decode_latent, Py_BuildValue("Oy#Onn", grade, (const char *)data, size, latent, height, width));
    if (done) {
        Py_DECREF(done);
        return latent;
    }
    Py_DECREF(latent);
    return NULL;
}

/* Encodes symbols and decodes what came out: it must be the same symbols. */
static void there_and_back(PyObject *plan, const char *symbols, Py_ssize_t size, Py_ssize_t height, Py_ssize_t width) {
    const char *data, *again;
    Py_ssize_t length, count;
    PyObject *stream = code(encode, plan, symbols, size, height, width);
    if (!stream) fail("symbols in range cannot be encoded");
    bytes_of(stream, &data, &length);
    PyObject *decoded = code(decode, plan, data, length, height, width);
    if (!decoded) fail("what was encoded cannot be decoded");
    bytes_of(decoded, &again, &count);
    if (count != size || memcmp(again, symbols, (size_t)size)) fail("decoding gave other symbols than were encoded");
    Py_DECREF(decoded);
    Py_DECREF(stream);
}

static void try_decode(PyObject *plan, Py_ssize_t height, Py_ssize_t width, Input *input) {
    PyObject *symbols = code(decode, plan, input->next, (Py_ssize_t)input->left, height, width);
    if (!symbols) return;
    const char *data;
    Py_ssize_t size;
    bytes_of(symbols, &data, &size);
    for (Py_ssize_t i = 0; i < size / 2; i++)
        if (abs(((const int16_t *)data)[i]) > MAX_SYMBOL) fail("a decoded symbol is out of range");
    there_and_back(plan, data, size, height, width);
    Py_DECREF(symbols);
}

static void try_encode(PyObject *plan, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Input *input) {
    const Py_ssize_t values = channels * height * width;
    int16_t *symbols = calloc((size_t)values, 2);
    if (!symbols) fail("out of memory");
    for (Py_ssize_t i = 0; i < values && input->left; i++) {
        uint8_t low = take(input); /* small ones and zeros are the rule in real planes */
        int symbol = low < 192 ? low % 8 - 4 : (int)take(input) * 2 - MAX_SYMBOL;
        symbols[i] = (int16_t)(symbol > MAX_SYMBOL ? MAX_SYMBOL : symbol);
    }
    there_and_back(plan, (const char *)symbols, 2 * values, height, width);
    free(symbols);
}

/* Encodes a latent, of which ones may be left out; a stream must come out that decodes, to a latent and to symbols. */
static void try_latent(PyObject *plan, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Input *input) {
    const Py_ssize_t values = channels * height * width;
    const int zero_point = (int8_t)take(input), rounding = take(input);
    uint16_t *steps = malloc(2 * (size_t)channels);
    int8_t *recon = malloc(2 * (size_t)channels), *latent = calloc((size_t)values, 1);
    int16_t *weights = malloc(2 * (size_t)channels);
    if (!steps || !recon || !latent || !weights) fail("out of memory");
    for (Py_ssize_t c = 0; c < channels; c++) steps[c] = (uint16_t)(16 + 16 * take(input));
    for (Py_ssize_t c = 0; c < channels; c++) weights[c] = (int16_t)(steps[c] * (c % 3));
    for (Py_ssize_t c = 0; c < 2 * channels; c++) recon[c] = (int8_t)(37 * c + rounding);
    for (Py_ssize_t i = 0; i < values && input->left; i++) latent[i] = (int8_t)take(input);
    PyObject *grade = call(prepare_grade, Py_BuildValue("Oy#y#iiy#", plan, (char *)steps, 2 * channels, (char *)recon,
                                                        2 * channels, zero_point, rounding, (char *)weights, 2 * channels));
    if (!grade) fail("a grade is refused");
    PyObject *stream = code(encode_latent, grade, latent, values, height, width);
    if (!stream) fail("a latent cannot be encoded");
    const char *data;
    Py_ssize_t length;
    bytes_of(stream, &data, &length);
    PyObject *symbols = code(decode, plan, data, length, height, width);
    PyObject *decoded = latent_of(grade, data, length, values, height, width);
    if (!symbols || !decoded) fail("an encoded latent cannot be decoded");
    Py_DECREF(symbols);
    Py_DECREF(decoded);
    Py_DECREF(stream);
    Py_XDECREF(latent_of(grade, input->next, (Py_ssize_t)input->left, values, height, width));
    Py_DECREF(grade);
    free(latent);
    free(recon);
    free(weights);
    free(steps);
}

/* Tables from the input: arbitrary ones, or (even seeds) with frequencies and indices that are put right. */
static void try_tables(Input *input) {
    const int channels = take(input) % 8, bank = take(input) % 8, seed = take(input);
    const Py_ssize_t height = 1 + take(input) % 8, width = 1 + take(input) % 8;
    uint16_t order[8] = {0}, freq[8 * 512];
    int8_t mean_w[4 * 8];
    uint8_t ctx_w[PASSES * WEIGHTS * 8], table_of[CONTEXTS * 8], radius[8], dead[8];
    Py_ssize_t values = 0;
    for (int c = 0; c < channels; c++) order[c] = (uint16_t)(seed % 2 ? take(input) : (c + seed) % channels);
    for (int i = 0; i < 4 * channels; i++) mean_w[i] = (int8_t)take(input);
    for (int i = 0; i < PASSES * WEIGHTS * channels; i++) ctx_w[i] = take(input);
    for (int i = 0; i < CONTEXTS * channels; i++) {
        table_of[i] = take(input);
        if (seed % 2 == 0 && bank) table_of[i] %= (uint8_t)bank;
    }
    for (int m = 0; m < bank; m++) {
        radius[m] = take(input);
        if (seed % 2 == 0) radius[m] %= MAX_RADIUS + 1;
        dead[m] = (uint8_t)(37 * radius[m] + seed);
        const int count = 2 * radius[m] + 2;
        int rest = (int)PROB_SCALE - count;
        for (int i = 0; i < count; i++) {
            int more = seed % 2 ? (take(input) << 8 | take(input)) : (i + 1 < count ? take(input) * 8 : rest);
            if (seed % 2 == 0 && more > rest) more = rest;
            rest -= more;
            freq[values++] = (uint16_t)(seed % 2 ? more : 1 + more);
        }
    }
    PyObject *plan = call(prepare, Py_BuildValue("y#y#y#y#y#y#y#", (char *)order, (Py_ssize_t)(2 * channels), (char *)mean_w,
                                                 (Py_ssize_t)(4 * channels), (char *)ctx_w, (Py_ssize_t)(PASSES * WEIGHTS * channels),
                                                 (char *)table_of, (Py_ssize_t)(CONTEXTS * channels), (char *)radius,
                                                 (Py_ssize_t)bank, (char *)dead, (Py_ssize_t)bank, (char *)freq,
                                                 (Py_ssize_t)(2 * values)));
    if (seed % 2 == 0 && channels && bank && !plan) fail("good tables are refused");
    if (!plan) return;
    Input copy = *input;
    /* The callers guarantee a permutation; without one a plane may stay as it was allocated. */
    if (seed % 2 == 0) {
        try_decode(plan, height, width, &copy);
        copy = *input;
        try_latent(plan, channels, height, width, &copy);
        try_encode(plan, channels, height, width, input);
    } else {
        Py_XDECREF(code(decode, plan, copy.next, (Py_ssize_t)copy.left, height, width));
    }
    Py_DECREF(plan);
}

static void try_quantizer(Input *input) {
    const Py_ssize_t channels = 1 + take(input) % 8;
    const int zero_point = (int8_t)take(input), rounding = take(input);
    uint16_t steps[8];
    int8_t recon[16];
    for (Py_ssize_t c = 0; c < channels; c++) {
        steps[c] = take(input);
        steps[c] = (uint16_t)(steps[c] << 8 | take(input));
    }
    for (Py_ssize_t i = 0; i < 2 * channels; i++) recon[i] = (int8_t)take(input);
    const Py_ssize_t steps_size = 2 * channels;
    PyObject *symbols = call(quantize, Py_BuildValue("y#y#ii", (const char *)input->next, (Py_ssize_t)input->left,
                                                     (char *)steps, steps_size, zero_point, rounding));
    if (!symbols) return;
    const char *data;
    Py_ssize_t size;
    bytes_of(symbols, &data, &size);
    PyObject *latent = call(dequantize, Py_BuildValue("y#y#y#i", data, size, (char *)recon, 2 * channels, (char *)steps,
                                                      steps_size, zero_point));
    if (!latent || PyByteArray_Size(latent) != (Py_ssize_t)input->left) fail("the latent does not come back");
    Py_DECREF(latent);
    Py_DECREF(symbols);
    /* Symbols of any size, too: a stream decides on them, not the quantizer. */
    if (input->left % 2 == 0)
        Py_XDECREF(call(dequantize, Py_BuildValue("y#y#y#i", (const char *)input->next, (Py_ssize_t)input->left,
                                                  (char *)recon, 2 * channels, (char *)steps, steps_size, zero_point)));
}

/* Pixels of whole blocks, repeated where the input ends: flat ones are what is smoothed. Or sizes that do not fit. */
static void try_smooth(Input *input) {
    const int wrong = take(input);
    const Py_ssize_t block = 2 * REACH * (1 + take(input) % 2), rows = 1 + take(input) % 3, columns = 1 + take(input) % 3;
    const Py_ssize_t height = rows * block, width = columns * block, size = COLOURS * height * width;
    const int limit = 1 + (take(input) << 8 | take(input)) % MAX_LIMIT;
    PyObject *pixels = PyBytes_FromStringAndSize(NULL, size);
    if (!pixels) fail("out of memory");
    uint8_t *values = (uint8_t *)PyBytes_AsString(pixels);
    for (Py_ssize_t i = 0; i < size; i++) values[i] = input->left || i < COLOURS ? take(input) : values[i - COLOURS];
    PyObject *done = wrong % 4 ? call(smooth, Py_BuildValue("Onnni", pixels, height, width, block, limit))
                               : call(smooth, Py_BuildValue("Onnni", pixels, height + (wrong & 16), width * (1 + (wrong >> 5)),
                                                            block + (wrong & 8), limit - (wrong & 4) * MAX_LIMIT));
    if (!done && wrong % 4) fail("an image of whole blocks is refused");
    Py_XDECREF(done);
    Py_DECREF(pixels);
}

/* A latent of any size, of which the last position is repeated where the input ends. Or sizes that do not fit. */
static void try_refine(Input *input) {
    const int wrong = take(input);
    const Py_ssize_t channels = 1 + take(input) % 40, height = 1 + take(input) % 24, width = 1 + take(input) % 24;
    const Py_ssize_t size = channels * height * width, less = wrong % 4 ? 0 : 1;
    const int zero_point = (int8_t)take(input);
    uint16_t steps[40];
    uint8_t weights[REFINE_WEIGHTS * 40], alone[40];
    for (Py_ssize_t c = 0; c < channels; c++) {
        steps[c] = take(input);
        steps[c] = (uint16_t)(steps[c] << 8 | take(input));
    }
    for (Py_ssize_t i = 0; i < REFINE_WEIGHTS * channels; i++) weights[i] = take(input);
    for (Py_ssize_t c = 0; c < channels; c++) alone[c] = take(input) % 2;
    PyObject *latent = PyBytes_FromStringAndSize(NULL, size);
    if (!latent) fail("out of memory");
    uint8_t *values = (uint8_t *)PyBytes_AsString(latent);
    for (Py_ssize_t i = 0; i < size; i++) values[i] = input->left || i < channels ? take(input) : values[i - channels];
    PyObject *done = call(refine, Py_BuildValue("Oiy#y#y#nn", latent, zero_point, (char *)steps, 2 * channels - less * (wrong & 4) / 4,
                                                (char *)weights, REFINE_WEIGHTS * channels - less * (wrong & 8) / 8, (char *)alone, channels,
                                                height + less * (wrong & 16), width * (1 - less * (wrong & 32) / 16)));
    if (!done && !less) fail("a latent cannot be refined");
    Py_XDECREF(done);
    Py_DECREF(latent);
}

/* The tables of packages, as tests/fuzz/seeds.py writes them: seven arrays a set, each after its length (uint32). */
static void load_tables(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("EDGEPRESS_FUZZ_TABLES names no file: run `make fuzz`");
    uint32_t size[7];
    char *array[7];
    while (set_count < MAX_SETS && fread(&size[0], 4, 1, file) == 1) {
        for (int i = 0; i < 7; i++) {
            if (i && fread(&size[i], 4, 1, file) != 1) fail("the file of tables is cut short");
            array[i] = malloc(size[i]);
            if (!array[i] || fread(array[i], 1, size[i], file) != size[i]) fail("the file of tables is cut short");
        }
        PyObject *plan = call(prepare, Py_BuildValue("y#y#y#y#y#y#y#", array[0], (Py_ssize_t)size[0], array[1],
                                                     (Py_ssize_t)size[1], array[2], (Py_ssize_t)size[2], array[3],
                                                     (Py_ssize_t)size[3], array[4], (Py_ssize_t)size[4], array[5],
                                                     (Py_ssize_t)size[5], array[6], (Py_ssize_t)size[6]));
        if (!plan) fail("the tables of a package are refused");
        sets[set_count].plan = plan;
        sets[set_count++].channels = size[0] / 2;
        for (int i = 0; i < 7; i++) free(array[i]);
    }
    fclose(file);
    if (!set_count) fail("no tables");
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    /* malloc for all objects: Python's own allocator would hide overruns from the sanitizer. */
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    PyConfig config;
    PyStatus status = Py_PreInitialize(&before);
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) Py_ExitStatusException(status);
    const char *path = getenv("EDGEPRESS_FUZZ_TABLES");
    if (!path) fail("EDGEPRESS_FUZZ_TABLES is not set: run `make fuzz`");
    load_tables(path);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input input = {data, size};
    const int what = take(&input) % 7;
    if (what == 2) {
        try_tables(&input);
    } else if (what == 3) {
        try_quantizer(&input);
    } else if (what == 5) {
        try_smooth(&input);
    } else if (what == 6) {
        try_refine(&input);
    } else {
        const int set = take(&input) % set_count;
        const Py_ssize_t most = MAX_VALUES / sets[set].channels;
        Py_ssize_t height = 1 + take(&input), width = 1 + take(&input);
        if (height > most) height = most;
        if (height * width > most) width = most / height;
        if (what == 4)
            try_latent(sets[set].plan, sets[set].channels, height, width, &input);
        else if (what == 0)
            try_decode(sets[set].plan, height, width, &input);
        else
            try_encode(sets[set].plan, sets[set].channels, height, width, &input);
    }
    return 0;
}
