#include "records.h"

#include <stdlib.h>
#include <structmember.h>

#include "prefetch.h"
#include "uring.h"

/* ---------------------------------------------------------------- heat and counters */

PyObject *tfs_heat_list(heat *h, size_t limit) {
    limit = limit < HEAT_ROWS ? limit : HEAT_ROWS;
    heat_row *rows = PyMem_Calloc(limit ? limit : 1, sizeof *rows);
    if (!rows)
        return PyErr_NoMemory();
    size_t taken = tfs_heat_take(h, rows, limit);
    PyObject *list = PyList_New((Py_ssize_t)taken);
    for (size_t i = 0; list && i < taken; i++) {
        PyObject *row = Py_BuildValue("KKK", (unsigned long long)rows[i].ino,
                                      (unsigned long long)rows[i].reads,
                                      (unsigned long long)rows[i].bytes);
        if (row)
            PyList_SET_ITEM(list, (Py_ssize_t)i, row);
        else
            Py_CLEAR(list);
    }
    PyMem_Free(rows);
    return list;
}

static PyStructSequence_Field answered_fields[] = {
    {"ok", NULL}, {"errors", NULL}, {"seconds", NULL}, {"buckets", NULL}, {NULL, NULL},
};
static PyStructSequence_Desc answered_desc = {
    "tierfs.native._router.Answered", NULL, answered_fields, 4,
};
static PyStructSequence_Field counters_fields[] = {
    {"answered", NULL},    {"to_python", NULL}, {"flash_bytes", NULL}, {"disk_bytes", NULL},
    {"inodes", NULL},      {"dentries", NULL},   {"known_inodes", NULL},  {"memory", NULL},
    {"evictions", NULL},   {"heat_lost", NULL}, {"prefetched", NULL},
    {NULL, NULL},
};
static PyStructSequence_Desc counters_desc = {
    "tierfs.native._router.Counters", NULL, counters_fields, 11,
};

static PyObject *numbers(const _Atomic uint64_t *values, Py_ssize_t count) {
    PyObject *made = PyTuple_New(count);
    for (Py_ssize_t i = 0; made && i < count; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value)
            PyTuple_SET_ITEM(made, i, value);
        else
            Py_CLEAR(made);
    }
    return made;
}

/* A record of the fields, which it takes over; NULL where one of them is. */
static PyObject *record(PyTypeObject *type, PyObject **fields, Py_ssize_t count) {
    PyObject *made = PyStructSequence_New(type);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!fields[i])
            Py_CLEAR(made);
        if (made)
            PyStructSequence_SetItem(made, i, fields[i]);
        else
            Py_XDECREF(fields[i]);
    }
    return made;
}

static PyObject *answered_record(PyTypeObject *type, const counters *sum, size_t kind) {
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(sum->answered[kind].ok),
        PyLong_FromUnsignedLongLong(sum->answered[kind].errors),
        PyFloat_FromDouble((double)sum->answered[kind].nanoseconds * 1e-9),
        numbers(sum->answered[kind].buckets, BUCKETS + 1),
    };
    return record(type, fields, 4);
}

static PyObject *answered_tuple(PyTypeObject *type, const counters *sum) {
    PyObject *made = PyTuple_New(ANSWERS);
    for (size_t kind = 0; made && kind < ANSWERS; kind++) {
        PyObject *each = answered_record(type, sum, kind);
        if (each)
            PyTuple_SET_ITEM(made, (Py_ssize_t)kind, each);
        else
            Py_CLEAR(made);
    }
    return made;
}

PyObject *tfs_counters_record(PyTypeObject *router_type, router *r) {
    module_state *state = PyType_GetModuleState(router_type);
    counters sum = {0};
    for (unsigned i = 0; i <= MOST_WORKERS; i++)
        tfs_counters_add(&sum, &r->workers[i].own);
    tfs_counters_add(&sum, &r->pool_counters);
    tfs_uring_count(r->uring, &sum);
    table_counts held = tfs_table_count(r->table);
    PyObject *fields[] = {
        answered_tuple(state->answered, &sum),
        PyLong_FromUnsignedLongLong(sum.passed_on),
        PyLong_FromUnsignedLongLong(sum.flash_bytes),
        PyLong_FromUnsignedLongLong(sum.disk_bytes),
        PyLong_FromSize_t(held.inodes),
        PyLong_FromSize_t(held.entries),
        PyLong_FromSize_t(held.references),
        PyLong_FromSize_t(held.memory + tfs_listing_bytes(r->listing)),
        PyLong_FromUnsignedLongLong(held.evictions),
        PyLong_FromUnsignedLongLong(tfs_heat_lost(&r->heat)),
        PyLong_FromUnsignedLongLong(tfs_prefetch_count(r->prefetch)),
    };
    return record(state->counters, fields, 11);
}

/* ---------------------------------------------------------------- the module */

static PyObject *answer_names_tuple(void) {
    PyObject *made = PyTuple_New(ANSWERS);
    for (size_t i = 0; made && i < ANSWERS; i++)
        PyTuple_SET_ITEM(made, (Py_ssize_t)i, PyUnicode_FromString(tfs_answer_names[i]));
    return made;
}

static PyObject *bounds_tuple(void) {
    PyObject *made = PyTuple_New(BUCKETS);
    for (size_t i = 0; made && i < BUCKETS; i++)
        PyTuple_SET_ITEM(made, (Py_ssize_t)i, PyFloat_FromDouble(tfs_bucket_bounds[i]));
    return made;
}

static int add(PyObject *module, const char *name, PyObject *value) {
    int failed = value ? PyModule_AddObjectRef(module, name, value) : -1;
    Py_XDECREF(value);
    return failed;
}

int tfs_records_init(PyObject *module, PyType_Spec *router_spec) {
    module_state *state = PyModule_GetState(module);
    state->router = (PyTypeObject *)PyType_FromModuleAndSpec(module, router_spec, NULL);
    state->answered = PyStructSequence_NewType(&answered_desc);
    state->counters = PyStructSequence_NewType(&counters_desc);
    if (!state->router || !state->answered || !state->counters)
        return -1;
    if (PyModule_AddType(module, state->router) < 0 || PyModule_AddType(module, state->answered) < 0 ||
        PyModule_AddType(module, state->counters) < 0)
        return -1;
    if (add(module, "ANSWERED", answer_names_tuple()) < 0)
        return -1;
    return add(module, "BUCKETS", bounds_tuple());
}
