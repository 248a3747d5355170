#include "rows.h"

#include <limits.h>
#include <stdlib.h>

#include "xattrs.h"

enum {
    ROW_FIELDS = 17,
    MOST_LISTED = 1 << 16, /* rows of a page */
};

/* ---------------------------------------------------------------- rows of the index */

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

/* 0 means that there is none (put_entry), and a free slot (references.c). */
bool tfs_is_number(uint64_t ino) {
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
    };
    return ok && tfs_is_number(out->ino);
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

bool tfs_is_name(Py_ssize_t length) {
    if (length > 0 && length <= NAME_MAX)
        return true;
    PyErr_Format(PyExc_ValueError, "a name has 1 to %d bytes, not %zd", NAME_MAX, length);
    return false;
}

/* One row into its place on the page, whose names have room for NAME_MAX bytes a row. */
static bool parse_listed(PyObject *row, page *into, uint32_t *names_end) {
    const char *name;
    Py_ssize_t length;
    unsigned long long cookie, ino;
    unsigned mode;
    if (!is_tuple(row, "a line of a listing") ||
        !PyArg_ParseTuple(row, "y#KKI", &name, &length, &cookie, &ino, &mode))
        return false;
    if (!tfs_is_name(length))
        return false;
    memcpy(into->names + *names_end, name, (size_t)length);
    into->entries[into->count++] = (listed){cookie, ino, mode, *names_end, (uint16_t)length};
    *names_end += (uint32_t)length;
    return true;
}

page *tfs_parse_page(PyObject *rows) {
    size_t count = (size_t)PyList_GET_SIZE(rows);
    uint32_t names_end = 0;
    page *made = count <= MOST_LISTED ? calloc(1, sizeof *made + count * sizeof(listed)) : NULL;
    if (!made || !(made->names = malloc(count * NAME_MAX + 1))) {
        free(made);
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!parse_listed(PyList_GET_ITEM(rows, (Py_ssize_t)i), made, &names_end)) {
            tfs_page_free(made);
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
    if (!is_tuple(fields, "what statvfs(3) tells") ||
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

bool tfs_parse_statfs(PyObject *args, published_statfs *out) {
    double valid_s;
    PyObject *fields;
    if (!PyArg_ParseTuple(args, "Od", &fields, &valid_s) || !tfs_parse_statfs_fields(fields, &out->reply))
        return false;
    out->until_ns = end_of(valid_s);
    return true;
}

/* ---------------------------------------------------------------- what a function returned */

/* Lines of (name, cookie, row) as a listing has them, with a reference for each but . and .. */
static bool put_line(PyObject *line, table *t, uint8_t *out, size_t room, size_t *length, bool *full) {
    const char *name;
    Py_ssize_t name_length;
    unsigned long long cookie;
    PyObject *row;
    attributes parsed;
    if (!is_tuple(line, "a line of a listing") ||
        !PyArg_ParseTuple(line, "y#KO", &name, &name_length, &cookie, &row) || !tfs_is_name(name_length) ||
        !tfs_parse_row(row, &parsed))
        return false;
    struct fuse_entry_out entry = cookie <= LISTING_DOTS ? (struct fuse_entry_out){0} : tfs_entry_out_of(&parsed);
    size_t size = tfs_listing_append(out + *length, room - *length, name, (size_t)name_length, cookie, parsed.ino,
                                 parsed.mode, &entry);
    *full = !size || (entry.nodeid && tfs_table_refer(t, parsed.ino, 1) < 0);
    *length += *full ? 0 : size;
    return true;
}

bool tfs_put_lines(PyObject *lines, table *t, uint8_t *out, size_t room, size_t *length) {
    bool full = false;
    *length = 0;
    if (!PyList_Check(lines)) {
        PyErr_SetString(PyExc_TypeError, "a listing is a list of lines");
        return false;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lines) && !full; i++)
        if (!put_line(PyList_GET_ITEM(lines, i), t, out, room, length, &full))
            return false;
    return true;
}
