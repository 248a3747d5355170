/* From Python's values to the router's. */
#ifndef TIERFS_ROWS_H
#define TIERFS_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "router.h"

/* False with an exception. */
bool tfs_is_name(Py_ssize_t length);
bool tfs_parse_row(PyObject *row, attributes *out);
/* The length of all pairs packed, for which there are XATTRS_MAX bytes; 0 where they are too large; -1
   with an exception. */
Py_ssize_t tfs_pack_xattrs(PyObject *pairs, uint8_t *packed);
/* A page of (name, cookie, ino, mode), without its place; NULL with an exception. */
page *tfs_parse_page(PyObject *rows);
bool tfs_parse_statfs(PyObject *args, published_statfs *out);
bool tfs_parse_statfs_fields(PyObject *fields, struct fuse_statfs_out *out);
/* A list of (name, cookie, row) as records of a listing, as many as there is room for, with a reference each. */
bool tfs_put_lines(PyObject *lines, table *t, uint8_t *out, size_t room, size_t *length);
bool tfs_is_number(uint64_t ino);

#endif
