/* The router's counters as values of Python. */
#ifndef TIERFS_RECORDS_H
#define TIERFS_RECORDS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "router.h"

typedef struct {
    PyTypeObject *router, *answered, *counters;
} module_state;

/* Makes the module's types and constants; -1 with an exception. */
int tfs_records_init(PyObject *module, PyType_Spec *router_spec);

/* New references, or NULL with an exception. */
PyObject *tfs_heat_list(heat *h, size_t limit);
PyObject *tfs_counters_record(PyTypeObject *router_type, router *r);

#endif
