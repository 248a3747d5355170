/* The bytes of a large WRITE as Python sees them, while they are in a pipe (piped.h): what
   tierfs/storage/write_buffer.py describes. */
#ifndef TIERFS_PAYLOAD_H
#define TIERFS_PAYLOAD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "router.h"

/* With Python's lock; NULL with an exception. */
PyObject *tfs_payload_type_new(void);
/* Of the request that `w` deals with, `length` bytes. */
PyObject *tfs_payload_new(PyObject *type, worker *w, size_t length);
/* The call is over, and so is what it may be used for. */
void tfs_payload_end(PyObject *payload);

#endif
