/* Between Python's values and the router's. */
#ifndef TIERFS_RECORDS_H
#define TIERFS_RECORDS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "router.h"

typedef struct {
    PyTypeObject *router, *answered, *counters;
} module_state;

extern PyType_Spec router_spec;

/* Makes the module's types and constants; -1 with an exception. */
int records_init(PyObject *module);

/* False with an exception. */
bool is_name(Py_ssize_t length);
bool parse_row(PyObject *row, attributes *out);
/* The length of all pairs packed, for which there are XATTRS_MAX bytes; 0 where they are too large; -1
   with an exception. */
Py_ssize_t pack_xattrs(PyObject *pairs, uint8_t *packed);
/* A page of (name, cookie, ino, mode), without its place; NULL with an exception. */
page *parse_page(PyObject *rows);
bool parse_statfs(PyObject *args, published_statfs *out);
bool parse_statfs_fields(PyObject *fields, struct fuse_statfs_out *out);
/* A list of (name, cookie, row) as records of a listing, as many as there is room for, with a reference each. */
bool put_lines(PyObject *lines, table *t, uint8_t *out, size_t room, size_t *length);
bool is_number(uint64_t ino);

/* New references, or NULL with an exception. */
PyObject *heat_list(heat *h, size_t limit);
PyObject *counters_record(PyTypeObject *router_type, router *r);

#endif
