/* The bytes of a large WRITE as Python sees them, while they are in a pipe (splice.h): what
   tierfs/storage/write_buffer.py describes. */
#ifndef TIERFS_WRITE_BUFFER_H
#define TIERFS_WRITE_BUFFER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "router.h"

/* With Python's lock; NULL with an exception. */
PyObject *tfs_write_buffer_type_new(void);
/* Of the request that `w` handles, `length` bytes. */
PyObject *tfs_write_buffer_new(PyObject *type, worker *w, size_t length);
/* The upcall is over: the bytes cannot be used any more. */
void tfs_write_buffer_detach(PyObject *buffer);

#endif
