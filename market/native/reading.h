/* From Python objects, each of which is checked before anything is changed. */
#pragma once
#include "search.h"

static int ascending(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;
    return (x > y) - (x < y);
}

static bool is_a(PyObject *object, bool right, const char *name, const char *type)
{
    if (!right)
        PyErr_Format(PyExc_TypeError, "%s must be %s, not %R", name, type, (PyObject *)Py_TYPE(object));
    return right;
}

static bool read_number(PyObject *object, const char *name, u64 most, u64 *number)
{
    if (!is_a(object, PyLong_Check(object), name, "an int"))
        return false;
    *number = PyLong_AsUnsignedLongLong(object);
    if ((*number == UINT64_MAX && PyErr_Occurred()) || *number > most) {
        PyErr_Format(PyExc_ValueError, "%s must be from 0 to %llu", name, (unsigned long long)most);
        return false;
    }
    return true;
}

static bool read_fields(PyObject *tuple, const Field *fields, int size, u64 *values)
{
    bool right = PyTuple_Check(tuple) && PyTuple_Size(tuple) == size;
    if (!is_a(tuple, right, "the argument", fields == row_fields ? "a Row" : "a Query"))
        return false;
    for (int i = 0; i < size; i++)
        if (fields[i].most && !read_number(PyTuple_GetItem(tuple, i), fields[i].name, fields[i].most, &values[i]))
            return false;
    return true;
}

/* The ints of a set or tuple that are from 0 to `most`, ascending, each once; no other can be equal to anything here.
 * Returns how many, -1 on an error. */
static Py_ssize_t read_numbers(PyObject *object, u64 most, u64 **numbers)
{
    Py_ssize_t size = PyObject_Size(object), count = 0, unique = 0;
    PyObject *iterator = size < 0 || (u64)size > UINT32_MAX ? NULL : PyObject_GetIter(object), *item;
    u64 *found = iterator ? malloc(((size_t)size + 1) * sizeof(u64)) : NULL;
    if (!found && !PyErr_Occurred())
        iterator ? (void)PyErr_NoMemory() : PyErr_SetString(PyExc_ValueError, "too many in one set");
    while (!PyErr_Occurred() && (item = PyIter_Next(iterator))) {
        if (is_a(item, PyLong_Check(item) && count < size, "what is in a set or tuple", "an int")) {
            u64 value = PyLong_AsUnsignedLongLong(item);
            if (value == UINT64_MAX && PyErr_Occurred())
                PyErr_Clear();
            else if (value <= most)
                found[count++] = value;
        }
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    if (PyErr_Occurred()) {
        free(found);
        return -1;
    }
    qsort(found, (size_t)count, sizeof(u64), ascending);
    for (Py_ssize_t i = 0; i < count; i++)
        if (!unique || found[unique - 1] != found[i])
            found[unique++] = found[i];
    *numbers = found;
    return unique;
}

/* The row as an offer that is in no block yet. Its images are malloc'ed, its id and the row itself borrowed. */
static bool read_row(PyObject *row, Offer *o)
{
    u64 v[ROW_SIZE];
    if (!read_fields(row, row_fields, ROW_SIZE, v))
        return false;
    PyObject *id = PyTuple_GetItem(row, R_id), *images = PyTuple_GetItem(row, R_images);
    if (!is_a(id, PyBytes_Check(id), "id", "bytes") || !is_a(images, PyAnySet_Check(images), "images", "a set"))
        return false;
    if (!v[R_speed]) {
        PyErr_SetString(PyExc_ValueError, "speed must be above 0");
        return false;
    }
    *o = (Offer){
        .terms = {v[R_price], v[R_opening], (u32)v[R_speed], (u32)v[R_link], (u16)v[R_perf], (u16)v[R_reputation],
                  (u16)v[R_latency], (u16)v[R_failure]},
        .tie = v[R_tie], .expires = v[R_expires], .provider = v[R_provider], .venue = v[R_venue],
        .region = v[R_region], .jurisdiction = v[R_jurisdiction], .runtimes = v[R_runtimes], .flags = v[R_flags],
        .vram = (u32)v[R_vram], .cpu = (u32)v[R_cpu], .memory = (u32)v[R_memory], .disk = (u32)v[R_disk],
        .cuda = (u32)v[R_cuda], .driver = (u32)v[R_driver], .notice = (u32)v[R_notice], .rtt_us = (u32)v[R_rtt_us],
        .reputation = (u16)v[R_reputation], .handle = (u32)v[R_handle], .klass = (u16)v[R_klass],
        .free = (u16)v[R_free], .id = PyBytes_AsString(id), .id_size = (size_t)PyBytes_Size(id), .row = row,
    };
    Py_ssize_t n_images = PySet_Size(images) ? read_numbers(images, ANY, &o->images) : 0;
    o->n_images = (u32)n_images;
    return n_images >= 0;
}

static u32 bits(u64 value) { return value ? 64 - (u32)__builtin_clzll(value) : 0; }

static u32 larger(u32 a, u32 b) { return a > b ? a : b; }

/* Whether every score a row can have fits into 128 bits. A product has at most as many bits as its factors together. */
static bool has_room(const u64 *v)
{
    u64 mib = v[Q_image_mib] + v[Q_moved_mib], weights = v[Q_w_speed] + v[Q_w_reliability] + v[Q_w_latency];
    u32 compute = bits(MAX_PRICE) + bits(v[Q_slots]) + bits(v[Q_max_ms]);
    u32 bytes = mib ? bits(v[Q_waiting]) + bits(mib) + bits(MAX_LINK) - 10 : 0;
    u32 spent_and_risk = larger(compute, bytes) + 3;
    u32 total = larger(spent_and_risk, bits(MAX_OPENING) + bits(NANO_MS_PER_UNIT)) + 1;
    u32 others = bits(v[Q_reference]) + bits(v[Q_slots]) + bits(v[Q_work_ms]) + bits(1000 * weights);
    return larger(total + bits(1000 * v[Q_w_cost]), others) + 1 <= 128;
}

static void free_query(Query *q)
{
    free(q->classes);
    free(q->allow);
    free(q->deny);
    q->classes = NULL;
    q->allow = q->deny = NULL;
}

static bool read_sets(PyObject *tuple, Query *q)
{
    PyObject *classes = PyTuple_GetItem(tuple, Q_classes), *allow = PyTuple_GetItem(tuple, Q_allow),
             *deny = PyTuple_GetItem(tuple, Q_deny);
    q->allows = allow != Py_None;
    if (!is_a(classes, PyTuple_Check(classes), "classes", "a tuple")
        || !is_a(deny, PyAnySet_Check(deny), "deny", "a set")
        || !is_a(allow, !q->allows || PyAnySet_Check(allow), "allow", "a set or None"))
        return false;
    u64 *numbers = NULL;
    Py_ssize_t n_classes = read_numbers(classes, MAX_CLASS, &numbers), n_allow = 0, n_deny = 0;
    if (n_classes > (Py_ssize_t)(sizeof q->few_classes / sizeof *q->few_classes)
        && !(q->classes = malloc((size_t)n_classes * sizeof *q->classes))) {
        PyErr_NoMemory();
        n_classes = -1;
    }
    for (Py_ssize_t i = 0; i < n_classes; i++)
        (q->classes ? q->classes : q->few_classes)[i] = (u16)numbers[i];
    free(numbers);
    if (n_classes >= 0 && q->allows)
        n_allow = read_numbers(allow, INT64_MAX, &q->allow);
    if (n_classes >= 0 && n_allow >= 0 && PySet_Size(deny))
        n_deny = read_numbers(deny, INT64_MAX, &q->deny);
    q->n_classes = (u16)n_classes;
    q->n_allow = (u32)n_allow;
    q->n_deny = (u32)n_deny;
    q->picky = q->allows || n_deny;
    return n_classes >= 0 && n_allow >= 0 && n_deny >= 0;
}

/* No row has figures above 32 bits, or a bit in common with nothing. */
static bool is_impossible(const u64 *v)
{
    static const int at_most_32_bits[] = {Q_vram, Q_cpu, Q_memory, Q_disk, Q_cuda, Q_driver, Q_notice, Q_reputation};
    for (u32 i = 0; i < sizeof at_most_32_bits / sizeof *at_most_32_bits; i++)
        if (v[at_most_32_bits[i]] > UINT32_MAX)
            return true;
    return !v[Q_venue] || !v[Q_regions] || !v[Q_jurisdictions];
}

/* Compiles a Query. Whatever comes of it, `free_query` frees it. */
static bool read_query(PyObject *tuple, Query *q)
{
    u64 v[QUERY_SIZE];
    *q = (Query){0};
    if (!read_fields(tuple, query_fields, QUERY_SIZE, v))
        return false;
    if (!v[Q_slots] || !has_room(v)) {
        PyErr_SetString(PyExc_ValueError, v[Q_slots] ? "the scores could be too large" : "slots must be above 0");
        return false;
    }
    *q = (Query){
        .tie = v[Q_tie], .now = v[Q_now], .venue = v[Q_venue], .max_price = v[Q_max_price],
        .max_price_32 = in_32_bits(v[Q_max_price]), .now_32 = coarse_time(v[Q_now]), .slots = v[Q_slots],
        .vram = (u32)v[Q_vram], .vram_max = in_32_bits(v[Q_vram_max]), .cpu = (u32)v[Q_cpu],
        .memory = (u32)v[Q_memory], .disk = (u32)v[Q_disk], .cuda = (u32)v[Q_cuda], .driver = (u32)v[Q_driver],
        .notice = (u32)v[Q_notice], .reputation = (u32)v[Q_reputation], .max_rtt_us = in_32_bits(v[Q_max_rtt_us]),
        .regions = v[Q_regions], .jurisdictions = v[Q_jurisdictions], .runtimes = v[Q_runtimes], .barred = v[Q_barred],
        .paced = v[Q_paced], .max_ms = v[Q_max_ms], .ms = v[Q_work_ms] < v[Q_max_ms] ? v[Q_work_ms] : v[Q_max_ms],
        .work_1000 = v[Q_work_ms] * 1000, .image = v[Q_image], .image_mib = v[Q_image_mib],
        .moved_mib = v[Q_moved_mib], .waiting = v[Q_waiting],
        .fetches = v[Q_waiting] && (v[Q_image_mib] || v[Q_moved_mib]), .cost_1000 = v[Q_w_cost] * 1000,
        .opening_cost = v[Q_w_cost] * 1000 * NANO_MS_PER_UNIT, .w_speed = v[Q_w_speed],
        .w_reliability = v[Q_w_reliability], .w_latency = v[Q_w_latency],
    };
    if (q->w_speed || q->w_reliability || q->w_latency)
        q->going = (u128)v[Q_reference] * v[Q_slots] * v[Q_work_ms];
    q->need = need_of(q);
    if (!read_sets(tuple, q))
        return false;
    if (is_impossible(v))
        q->n_classes = 0;
    return true;
}

static PyObject *from_score(u128 score)
{
    if (!(score >> 64))
        return PyLong_FromUnsignedLongLong((u64)score);
    char digits[33];
    snprintf(digits, sizeof digits, "%llx%016llx", (unsigned long long)(score >> 64), (unsigned long long)score);
    return PyLong_FromString(digits, NULL, 16);
}
