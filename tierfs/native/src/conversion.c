#include "conversion.h"

#include <limits.h>
#include <stdlib.h>
#include <structmember.h>

#include "prefetch.h"
#include "xattrs.h"

enum {
    ROW_FIELDS = 18,
    MOST_PAGE_ROWS = 1 << 16, /* rows of a listing_page */
};

/* ---------------------------------------------------------------- from Python */

/* Reads a number of 64 bits, also one that is negative or wider than a file may be. */
static uint64_t field(PyObject *row, Py_ssize_t at, bool *ok) {
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(PyTuple_GET_ITEM(row, at), &overflow);
    if (overflow) {
        PyErr_Format(PyExc_OverflowError, "field %zd of an inode does not fit in 64 bits", at);
        *ok = false;
    } else if (value == -1 && PyErr_Occurred()) {
        *ok = false;
    }
    return (uint64_t)value;
}

/* A time after 2262 wraps around, as in the index (tierfs/common/times.py). */
static int64_t time_field(PyObject *row, Py_ssize_t at, bool *ok) {
    unsigned long long value = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(row, at));
    if (value == (unsigned long long)-1 && PyErr_Occurred())
        *ok = false;
    return (int64_t)value;
}

/* 0 means a negative entry (put_dentry), and a free slot (lookup_counts.c). */
bool tfs_check_ino(uint64_t ino) {
    if (!ino)
        PyErr_SetString(PyExc_ValueError, "0 is no inode number");
    return ino;
}

bool tfs_parse_row(PyObject *row, attributes *out) {
    bool ok = true;
    if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != ROW_FIELDS) {
        PyErr_Format(PyExc_TypeError, "an inode is a tuple of %d fields", ROW_FIELDS);
        return false;
    }
    *out = (attributes){
        .ino = field(row, 0, &ok),
        .mode = (uint32_t)field(row, 1, &ok),
        .uid = (uint32_t)field(row, 2, &ok),
        .gid = (uint32_t)field(row, 3, &ok),
        .nlink = (uint32_t)field(row, 4, &ok),
        .size = field(row, 5, &ok),
        .rdev = (uint32_t)field(row, 6, &ok),
        .atime = time_field(row, 7, &ok),
        .mtime = time_field(row, 8, &ok),
        .ctime = time_field(row, 9, &ok),
        .prefix = field(row, 10, &ok),
        .version = field(row, 11, &ok),
        .sparse = field(row, 14, &ok) != 0,
        .btime = time_field(row, 16, &ok),
        .adopted = field(row, 17, &ok) != 0,
    };
    return ok && tfs_check_ino(out->ino);
}

/* When what is valid for a time from now on ends; 0, the past, if it never is. */
static uint64_t end_of(double valid_s) {
    double most = (double)(UINT64_MAX / 4) / 1e9;
    if (!(valid_s > 0))
        return 0; /* also for requests that were read before now */
    return now_ns() + (uint64_t)((valid_s < most ? valid_s : most) * 1e9);
}

/* PyArg_ParseTuple calls it an error of ours when it is none. */
static bool is_tuple(PyObject *given, const char *what) {
    if (!PyTuple_Check(given))
        PyErr_Format(PyExc_TypeError, "%s is a tuple", what);
    return PyTuple_Check(given);
}

Py_ssize_t tfs_pack_xattrs(PyObject *pairs, uint8_t *packed) {
    Py_ssize_t count = PySequence_Size(pairs);
    size_t at = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *name, *value;
        Py_ssize_t name_length, length;
        PyObject *pair = PySequence_GetItem(pairs, i);
        if (!pair)
            return -1;
        bool parsed = is_tuple(pair, "a pair of a name and a value") &&
                      PyArg_ParseTuple(pair, "y#y#", &name, &name_length, &value, &length);
        if (parsed)
            at = tfs_xattrs_pack(packed, at, name, (size_t)name_length, value, (size_t)length);
        Py_DECREF(pair);
        if (!parsed || !at)
            return parsed ? 0 : -1;
    }
    return count < 0 ? -1 : (Py_ssize_t)at;
}

bool tfs_check_name(Py_ssize_t length) {
    if (length > 0 && length <= NAME_MAX)
        return true;
    PyErr_Format(PyExc_ValueError, "a name has 1 to %d bytes, not %zd", NAME_MAX, length);
    return false;
}

/* One row into its place on the page, whose names have room for NAME_MAX bytes a row. */
static bool parse_page_row(PyObject *row, listing_page *into, uint32_t *names_end) {
    const char *name;
    Py_ssize_t length;
    unsigned long long cookie, ino;
    unsigned mode;
    if (!is_tuple(row, "a row of a listing") ||
        !PyArg_ParseTuple(row, "y#KKI", &name, &length, &cookie, &ino, &mode))
        return false;
    if (!tfs_check_name(length))
        return false;
    memcpy(into->names + *names_end, name, (size_t)length);
    into->entries[into->count++] = (listing_entry){cookie, ino, mode, *names_end, (uint16_t)length};
    *names_end += (uint32_t)length;
    return true;
}

listing_page *tfs_parse_page(PyObject *rows) {
    size_t count = (size_t)PyList_GET_SIZE(rows);
    uint32_t names_end = 0;
    listing_page *made = count <= MOST_PAGE_ROWS ? calloc(1, sizeof *made + count * sizeof(listing_entry)) : NULL;
    if (!made || !(made->names = malloc(count * NAME_MAX + 1))) {
        free(made);
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!parse_page_row(PyList_GET_ITEM(rows, (Py_ssize_t)i), made, &names_end)) {
            tfs_listing_page_free(made);
            return NULL;
        }
    }
    char *fitting = realloc(made->names, names_end + 1);
    made->names = fitting ? fitting : made->names;
    return made;
}

bool tfs_parse_statfs_fields(PyObject *fields, struct fuse_statfs_out *out) {
    unsigned long long blocks, bfree, bavail, files, ffree;
    unsigned bsize, namelen, frsize;
    if (!is_tuple(fields, "what statvfs(3) returns") ||
        !PyArg_ParseTuple(fields, "KKKKKIII", &blocks, &bfree, &bavail, &files, &ffree, &bsize, &namelen,
                          &frsize))
        return false;
    out->st = (struct fuse_kstatfs){
        .blocks = blocks,
        .bfree = bfree,
        .bavail = bavail,
        .files = files,
        .ffree = ffree,
        .bsize = bsize,
        .namelen = namelen,
        .frsize = frsize,
    };
    return true;
}

bool tfs_parse_statfs(PyObject *args, cached_statfs *out) {
    double valid_s;
    PyObject *fields;
    if (!PyArg_ParseTuple(args, "Od", &fields, &valid_s) || !tfs_parse_statfs_fields(fields, &out->reply))
        return false;
    out->until_ns = end_of(valid_s);
    return true;
}

/* ---------------------------------------------------------------- what an upcall returned */

/* A row of (name, cookie, inode) as a record of a listing, with a lookup for each but . and .. */
static bool parse_listing_row(PyObject *row_of, cache *c, uint8_t *out, size_t room, size_t *length, bool *full) {
    const char *name;
    Py_ssize_t name_length;
    unsigned long long cookie;
    PyObject *row;
    attributes parsed;
    if (!is_tuple(row_of, "a row of a listing") ||
        !PyArg_ParseTuple(row_of, "y#KO", &name, &name_length, &cookie, &row) || !tfs_check_name(name_length) ||
        !tfs_parse_row(row, &parsed))
        return false;
    struct fuse_entry_out entry = cookie <= LISTING_DOTS ? (struct fuse_entry_out){0} : tfs_entry_out(&parsed);
    size_t size = tfs_append_direntplus(out + *length, room - *length, name, (size_t)name_length, cookie, parsed.ino,
                                        parsed.mode, &entry);
    *full = !size || (entry.nodeid && tfs_cache_add_lookups(c, parsed.ino, 1) < 0);
    *length += *full ? 0 : size;
    return true;
}

bool tfs_parse_listing(PyObject *rows, cache *c, uint8_t *out, size_t room, size_t *length) {
    bool full = false;
    *length = 0;
    if (!PyList_Check(rows)) {
        PyErr_SetString(PyExc_TypeError, "a listing is a list of rows");
        return false;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows) && !full; i++)
        if (!parse_listing_row(PyList_GET_ITEM(rows, i), c, out, room, length, &full))
            return false;
    return true;
}

/* ---------------------------------------------------------------- to Python */

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

PyObject *tfs_first_reads_list(first_reads *f, size_t limit) {
    first_read rows[FIRST_ENDED];
    size_t taken = tfs_first_reads_take(f, rows, limit < FIRST_ENDED ? limit : FIRST_ENDED, now_ns());
    PyObject *list = PyList_New((Py_ssize_t)taken);
    for (size_t i = 0; list && i < taken; i++) {
        PyObject *row = Py_BuildValue("KK", (unsigned long long)rows[i].ino, (unsigned long long)rows[i].reach);
        if (row)
            PyList_SET_ITEM(list, (Py_ssize_t)i, row);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *attributed(const attribution_row *row) {
    return Py_BuildValue("IIINBBKKKKdddd", row->thread, row->process, row->session,
                         PyBytes_FromString(row->name), row->kind, row->tier,
                         (unsigned long long)row->directory, (unsigned long long)row->file,
                         (unsigned long long)row->requests, (unsigned long long)row->bytes,
                         (double)row->nanoseconds * 1e-9, (double)row->waited * 1e-9,
                         (double)row->began_ns * 1e-9, (double)row->ended_ns * 1e-9);
}

PyObject *tfs_attribution_list(attribution *a) {
    PyObject *list = PyList_New(0);
    for (size_t shard = 0; list && shard < ATTRIBUTION_SHARDS; shard++) {
        attribution_row *rows = tfs_attribution_take(a, shard);
        for (size_t i = 0; list && rows && i < ATTRIBUTION_ROWS; i++) {
            PyObject *row = rows[i].requests ? attributed(&rows[i]) : NULL;
            if (rows[i].requests && (!row || PyList_Append(list, row) < 0))
                Py_CLEAR(list);
            Py_XDECREF(row);
        }
        free(rows);
    }
    return list;
}

static PyStructSequence_Field answered_fields[] = {
    {"ok", NULL},      {"enodata", NULL}, {"erange", NULL}, {"einval", NULL},
    {"seconds", NULL}, {"buckets", NULL}, {NULL, NULL},
};
static PyStructSequence_Desc answered_desc = {
    "tierfs.native._router.Answered", NULL, answered_fields, 6,
};
static PyStructSequence_Field counters_fields[] = {
    {"answered", NULL},    {"to_python", NULL}, {"flash_bytes", NULL}, {"disk_bytes", NULL},
    {"inodes", NULL},      {"dentries", NULL},   {"known_inodes", NULL},  {"memory", NULL},
    {"evictions", NULL},   {"heat_lost", NULL}, {"prefetched", NULL},
    {"resent", NULL},      {NULL, NULL},
};
static PyStructSequence_Desc counters_desc = {
    "tierfs.native._router.Counters", NULL, counters_fields, 12,
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
        PyLong_FromUnsignedLongLong(sum->answered[kind].enodata),
        PyLong_FromUnsignedLongLong(sum->answered[kind].erange),
        PyLong_FromUnsignedLongLong(sum->answered[kind].einval),
        PyFloat_FromDouble((double)sum->answered[kind].nanoseconds * 1e-9),
        numbers(sum->answered[kind].buckets, BUCKETS + 1),
    };
    return record(type, fields, 6);
}

static PyObject *answered_tuple(PyTypeObject *type, const counters *sum) {
    PyObject *made = PyTuple_New(REQUEST_KINDS);
    for (size_t kind = 0; made && kind < REQUEST_KINDS; kind++) {
        PyObject *each = answered_record(type, sum, kind);
        if (each)
            PyTuple_SET_ITEM(made, (Py_ssize_t)kind, each);
        else
            Py_CLEAR(made);
    }
    return made;
}

PyObject *tfs_counters_record(PyTypeObject *router_type, router *r, const counters *sum) {
    module_state *state = PyType_GetModuleState(router_type);
    cache_stats held = tfs_cache_stats(r->cache);
    PyObject *fields[] = {
        answered_tuple(state->answered, sum),
        PyLong_FromUnsignedLongLong(sum->to_python),
        PyLong_FromUnsignedLongLong(sum->flash_bytes),
        PyLong_FromUnsignedLongLong(sum->disk_bytes),
        PyLong_FromSize_t(held.inodes),
        PyLong_FromSize_t(held.dentries),
        PyLong_FromSize_t(held.known_inodes),
        PyLong_FromSize_t(held.memory + tfs_listing_bytes(r->listing)),
        PyLong_FromUnsignedLongLong(held.evictions),
        PyLong_FromUnsignedLongLong(tfs_heat_lost(&r->heat)),
        PyLong_FromUnsignedLongLong(tfs_prefetch_count(r->prefetch)),
        PyLong_FromUnsignedLongLong(sum->resent),
    };
    return record(state->counters, fields, 12);
}

/* ---------------------------------------------------------------- the module */

static PyObject *request_names_tuple(void) {
    PyObject *made = PyTuple_New(REQUEST_KINDS);
    for (size_t i = 0; made && i < REQUEST_KINDS; i++)
        PyTuple_SET_ITEM(made, (Py_ssize_t)i, PyUnicode_FromString(tfs_request_names[i]));
    return made;
}

static PyObject *waited_names_tuple(void) {
    PyObject *made = PyTuple_New(WAITED_KINDS);
    for (size_t i = 0; made && i < WAITED_KINDS; i++)
        PyTuple_SET_ITEM(made, (Py_ssize_t)i, PyUnicode_FromString(tfs_waited_names[i]));
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

int tfs_module_types_init(PyObject *module, PyType_Spec *router_spec) {
    module_state *state = PyModule_GetState(module);
    state->router = (PyTypeObject *)PyType_FromModuleAndSpec(module, router_spec, NULL);
    state->answered = PyStructSequence_NewType(&answered_desc);
    state->counters = PyStructSequence_NewType(&counters_desc);
    if (!state->router || !state->answered || !state->counters)
        return -1;
    if (PyModule_AddType(module, state->router) < 0 || PyModule_AddType(module, state->answered) < 0 ||
        PyModule_AddType(module, state->counters) < 0)
        return -1;
    if (add(module, "ANSWERED", request_names_tuple()) < 0)
        return -1;
    if (add(module, "TIERS", waited_names_tuple()) < 0)
        return -1;
    return add(module, "BUCKETS", bounds_tuple());
}
