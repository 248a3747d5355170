/* Between values of Python and the router's structures. */
#ifndef TIERFS_CONVERSION_H
#define TIERFS_CONVERSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "router.h"

/* -------- from Python: false, NULL or -1 with an exception */

bool tfs_check_name(Py_ssize_t length);
bool tfs_check_ino(uint64_t ino);
bool tfs_parse_row(PyObject *row, attributes *out);
/* The length of all pairs packed, for which there are XATTRS_MAX bytes; 0 where they are too large. */
Py_ssize_t tfs_pack_xattrs(PyObject *pairs, uint8_t *packed);
/* A page of (name, cookie, ino, mode), without its place. */
listing_page *tfs_parse_page(PyObject *rows);
bool tfs_parse_statfs(PyObject *args, cached_statfs *out);
bool tfs_parse_statfs_fields(PyObject *fields, struct fuse_statfs_out *out);
/* A list of (name, cookie, inode) as fuse_direntplus records, as many as there is room for, with a lookup each. */
bool tfs_parse_listing(PyObject *rows, cache *c, uint8_t *out, size_t room, size_t *length);

/* -------- to Python: new references, or NULL with an exception */

PyObject *tfs_heat_list(heat *h, size_t limit);
PyObject *tfs_first_reads_list(first_reads *f, size_t limit);
PyObject *tfs_attribution_list(attribution *a);
/* `sum` is of all threads. */
PyObject *tfs_counters_record(PyTypeObject *router_type, router *r, const counters *sum);

/* -------- the module */

typedef struct {
    PyTypeObject *router, *answered, *counters;
} module_state;

/* Makes the module's types and constants; -1 with an exception. */
int tfs_module_types_init(PyObject *module, PyType_Spec *router_spec);

#endif
