/* The Python face of the router, as `_router.pyi` describes it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "coherence.h"
#include "conversion.h"
#include "dispatch.h"
#include "forward.h"
#include "prefetch.h"
#include "session.h"
#include "upcall.h"
#include "uring.h"
#include "xattrs.h"

enum {
    LEAST_WRITE = 4096,
    MOST_WATCHED_S = 3600,
    MOST_WRITE = 1024 * 1024, /* FUSE_MAX_MAX_PAGES of libfuse, in bytes */
};

typedef struct {
    PyObject_HEAD
    router r;
    pthread_mutex_t session; /* held by start and stop; taken with the GIL or without it */
} RouterObject;

static router *router_of(PyObject *self) {
    return &((RouterObject *)self)->r;
}

/* ---------------------------------------------------------------- session */

static PyObject *router_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"memory", "heads", "objects", NULL};
    Py_ssize_t memory;
    int heads, objects;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$nii", names, &memory, &heads, &objects))
        return NULL;
    if (memory < 0)
        return PyErr_Format(PyExc_ValueError, "memory must not be negative");
    RouterObject *self = (RouterObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    pthread_mutex_init(&self->session, NULL);
    router *r = &self->r;
    tfs_device_init(&r->device, -1);
    r->socket = r->wake = r->ended = r->flash_store.directory = r->disk_store.directory =
        r->pm_qos.device = -1;
    if (tfs_session_init(r, (size_t)memory, heads, objects) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void router_dealloc(PyObject *self) {
    router *r = router_of(self);
    Py_BEGIN_ALLOW_THREADS
    tfs_session_stop(r);
    Py_END_ALLOW_THREADS
    tfs_upcalls_free(r->upcalls);
    tfs_session_free(r);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The device is closed as well: nobody else would, and the process that mounted it would wait without end. */
static PyObject *failed_start(router *r, int device, int ended) {
    PyErr_SetFromErrno(PyExc_OSError);
    r->device.fd = device;
    Py_BEGIN_ALLOW_THREADS
    tfs_session_stop(r);
    Py_END_ALLOW_THREADS
    tfs_close_fd(&ended);
    return NULL;
}

static PyObject *router_set_upcalls(PyObject *self, PyObject *functions) {
    router *r = router_of(self);
    if (r->started || r->upcalls)
        return PyErr_Format(PyExc_RuntimeError, "the router was started, or has its functions");
    r->upcalls = tfs_upcalls_new(functions);
    return r->upcalls ? Py_NewRef(Py_None) : NULL;
}

static PyObject *router_use_pm_qos(PyObject *self, PyObject *args) {
    router *r = router_of(self);
    int device, latency_us;
    if (!PyArg_ParseTuple(args, "ii", &device, &latency_us))
        return NULL;
    if (r->started)
        return PyErr_Format(PyExc_RuntimeError, "the router was started or stopped before");
    if (latency_us < 0)
        return PyErr_Format(PyExc_ValueError, "latency_us must not be negative");
    return tfs_pm_qos_open(&r->pm_qos, device, latency_us) < 0 ? PyErr_SetFromErrno(PyExc_OSError)
                                                         : Py_NewRef(Py_None);
}

static PyObject *router_start(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"device", "workers", "spin_us", "disk_threads", "max_write", "io_uring", "init", NULL};
    unsigned workers = 0, spin_us = 0, disk_threads = 0, max_write = 0;
    int device, io_uring = 0;
    const char *init = NULL;
    Py_ssize_t length = 0;
    router *r = router_of(self);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|$IIIIpy#", names, &device, &workers, &spin_us,
                                     &disk_threads, &max_write, &io_uring, &init, &length))
        return NULL;
    if (!workers || workers > MOST_WORKERS || !disk_threads || disk_threads > MOST_DISK_THREADS ||
        max_write < LEAST_WRITE || max_write > MOST_WRITE || max_write % LEAST_WRITE)
        return PyErr_Format(PyExc_ValueError,
                            "wanted: 1 to %d workers, 1 to %d disk_threads, and for max_write a "
                            "multiple of %d up to %d",
                            MOST_WORKERS, MOST_DISK_THREADS, LEAST_WRITE, MOST_WRITE);
    Py_BEGIN_ALLOW_THREADS /* stop() may wait for a thread that waits for Python's lock */
    pthread_mutex_lock(&((RouterObject *)self)->session);
    Py_END_ALLOW_THREADS
    PyObject *made = NULL;
    if (r->started) {
        PyErr_SetString(PyExc_RuntimeError, "the router was started or stopped before");
    } else {
        r->started = true;
        r->spin_ns = spin_us * 1000ULL;
        r->uring = io_uring ? tfs_uring_new(r, tfs_dispatch) : NULL;
        int ended = fcntl(r->ended, F_DUPFD_CLOEXEC, 0);
        taken_over earlier = {(const uint8_t *)init, (size_t)length};
        int peer = ended < 0 ? -1 : tfs_session_start(r, device, workers, disk_threads, max_write, earlier);
        made = peer < 0 ? failed_start(r, device, ended) : Py_BuildValue("ii", peer, ended);
    }
    pthread_mutex_unlock(&((RouterObject *)self)->session);
    return made;
}

static PyObject *router_init(PyObject *self, PyObject *Py_UNUSED(none)) {
    uint8_t message[INIT_ROOM];
    size_t length = tfs_forward_init(router_of(self)->forward, message);
    return PyBytes_FromStringAndSize((const char *)message, (Py_ssize_t)length);
}

static PyObject *router_unique(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    return PyLong_FromUnsignedLongLong(tfs_upcall_unique());
}

static PyObject *router_prefetch(PyObject *self, PyObject *args) {
    router *r = router_of(self);
    const char *mountpoint;
    unsigned long long device;
    int failed;
    if (!PyArg_ParseTuple(args, "yK", &mountpoint, &device))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = tfs_prefetch_start(r->prefetch, mountpoint, (dev_t)device);
    Py_END_ALLOW_THREADS
    return failed ? PyErr_SetFromErrno(PyExc_OSError) : Py_NewRef(Py_None);
}

static PyObject *router_stop(PyObject *self, PyObject *Py_UNUSED(none)) {
    pthread_mutex_t *session = &((RouterObject *)self)->session;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(session);
    router_of(self)->started = true;
    tfs_session_stop(router_of(self));
    pthread_mutex_unlock(session);
    Py_END_ALLOW_THREADS
    router *r = router_of(self);
    upcalls *stopped = r->upcalls; /* another thread may stop as well */
    r->upcalls = NULL;
    tfs_upcalls_free(stopped);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- the metadata cache */

static PyObject *router_put_inode(PyObject *self, PyObject *row) {
    attributes parsed;
    if (!tfs_parse_row(row, &parsed))
        return NULL;
    tfs_cache_put_inode(router_of(self)->cache, &parsed);
    Py_RETURN_NONE;
}

static PyObject *router_make_inode(PyObject *self, PyObject *row) {
    attributes parsed;
    if (!tfs_parse_row(row, &parsed))
        return NULL;
    tfs_cache_make_inode(router_of(self)->cache, &parsed, tfs_upcall_sender());
    Py_RETURN_NONE;
}

static PyObject *router_change_inode(PyObject *self, PyObject *row) {
    attributes parsed;
    if (!tfs_parse_row(row, &parsed))
        return NULL;
    if (tfs_cache_change_inode(router_of(self)->cache, &parsed))
        tfs_invalidate_attributes(router_of(self), parsed.ino);
    Py_RETURN_NONE;
}

static PyObject *router_drop_inode(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    tfs_cache_drop_inode(router_of(self)->cache, number);
    Py_RETURN_NONE;
}

static PyObject *router_put_dentry(PyObject *self, PyObject *args) {
    unsigned long long parent, ino;
    const char *name;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "Ky#K", &parent, &name, &length, &ino) || !tfs_check_name(length))
        return NULL;
    tfs_cache_put_dentry(router_of(self)->cache, parent, name, (size_t)length, ino);
    Py_RETURN_NONE;
}

static PyObject *router_drop_dentry(PyObject *self, PyObject *args) {
    unsigned long long parent;
    const char *name;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "Ky#", &parent, &name, &length) || !tfs_check_name(length))
        return NULL;
    tfs_cache_drop_dentry(router_of(self)->cache, parent, name, (size_t)length);
    Py_RETURN_NONE;
}

static PyObject *router_put_xattrs(PyObject *self, PyObject *args) {
    unsigned long long ino;
    PyObject *pairs;
    uint8_t packed[XATTRS_MAX];
    if (!PyArg_ParseTuple(args, "KO", &ino, &pairs))
        return NULL;
    Py_ssize_t length = tfs_pack_xattrs(pairs, packed);
    if (length < 0)
        return NULL;
    bool too_large = !length && PySequence_Size(pairs) > 0;
    tfs_cache_put_xattrs(router_of(self)->cache, ino, too_large ? NULL : packed, (size_t)length);
    Py_RETURN_NONE;
}

static PyObject *router_drop_xattrs(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    tfs_cache_put_xattrs(router_of(self)->cache, number, NULL, 0);
    Py_RETURN_NONE;
}

static PyObject *router_begin_fill(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(tfs_cache_begin_fill(router_of(self)->cache, number));
}

static PyObject *router_complete_fill(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(tfs_cache_complete_fill(router_of(self)->cache, number));
}

static PyObject *router_put_listing(PyObject *self, PyObject *args) {
    unsigned long long ino, cookie;
    PyObject *rows;
    int end;
    if (!PyArg_ParseTuple(args, "KKO!p", &ino, &cookie, &PyList_Type, &rows, &end))
        return NULL;
    listing_page *made = tfs_parse_page(rows);
    if (!made)
        return NULL;
    made->directory = ino;
    made->after = cookie;
    made->end = end;
    tfs_listing_put(router_of(self)->listing, made);
    Py_RETURN_NONE;
}

static PyObject *router_drop_listing(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    tfs_listing_drop(router_of(self)->listing, number);
    Py_RETURN_NONE;
}

static PyObject *router_is_known(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    bool is_known;
    Py_BEGIN_ALLOW_THREADS
    is_known = tfs_is_known(router_of(self), number);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(is_known);
}

static PyObject *router_write_back(PyObject *self, PyObject *args) {
    unsigned long long ino, offset, length;
    if (!PyArg_ParseTuple(args, "KKK", &ino, &offset, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    tfs_write_back(router_of(self), ino, offset, length);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *router_invalidate_name(PyObject *self, PyObject *args) {
    unsigned long long parent;
    const char *name;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "Ky#", &parent, &name, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    tfs_invalidate_name(router_of(self), parent, name, (size_t)length);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *router_put_statfs(PyObject *self, PyObject *args) {
    router *r = router_of(self);
    cached_statfs made = {0};
    if (!tfs_parse_statfs(args, &made))
        return NULL;
    pthread_mutex_lock(&r->statfs_lock);
    r->statfs = made;
    pthread_mutex_unlock(&r->statfs_lock);
    Py_RETURN_NONE;
}

static PyObject *router_clear(PyObject *self, PyObject *Py_UNUSED(none)) {
    tfs_cache_clear(router_of(self)->cache);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- lookup counts */

static PyObject *router_add_lookups(PyObject *self, PyObject *args) {
    unsigned long long ino, times = 1;
    if (!PyArg_ParseTuple(args, "K|K", &ino, &times) || !tfs_check_ino(ino))
        return NULL;
    if (tfs_cache_add_lookups(router_of(self)->cache, ino, times) < 0)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *router_lookup_count(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLongLong(tfs_cache_lookup_count(router_of(self)->cache, number));
}

static PyObject *router_orphan(PyObject *self, PyObject *ino) {
    unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(tfs_cache_orphan(router_of(self)->cache, number));
}

static PyObject *router_forgotten(PyObject *self, PyObject *Py_UNUSED(none)) {
    uint64_t *found;
    size_t count = tfs_cache_take_forgotten(router_of(self)->cache, &found);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(found[i]);
        if (!number)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, number);
    }
    free(found);
    return list;
}

/* ---------------------------------------------------------------- statistics */

static PyObject *router_heat(PyObject *self, PyObject *limit) {
    size_t most = PyLong_AsSize_t(limit);
    if (PyErr_Occurred())
        return NULL;
    return tfs_heat_list(&router_of(self)->heat, most);
}

static PyObject *router_first_reads(PyObject *self, PyObject *limit) {
    size_t most = PyLong_AsSize_t(limit);
    if (PyErr_Occurred())
        return NULL;
    return tfs_first_reads_list(&router_of(self)->first_reads, most);
}

static PyObject *router_watch(PyObject *self, PyObject *seconds) {
    double given = PyFloat_AsDouble(seconds);
    if (PyErr_Occurred())
        return NULL;
    if (!(given >= 0 && given <= MOST_WATCHED_S))
        return PyErr_Format(PyExc_ValueError, "seconds must be from 0 to %d", MOST_WATCHED_S);
    tfs_attribution_watch(&router_of(self)->attribution, (uint64_t)(given * 1e9));
    Py_RETURN_NONE;
}

static PyObject *router_attributed(PyObject *self, PyObject *Py_UNUSED(none)) {
    return tfs_attribution_list(&router_of(self)->attribution);
}

static PyObject *router_counters(PyObject *self, PyObject *Py_UNUSED(none)) {
    counters sum = {0};
    tfs_session_count(router_of(self), &sum);
    return tfs_counters_record(Py_TYPE(self), router_of(self), &sum);
}

static PyMethodDef router_methods[] = {
    {"set_upcalls", router_set_upcalls, METH_O, NULL},
    {"use_pm_qos", router_use_pm_qos, METH_VARARGS, NULL},
    {"start", (PyCFunction)(void (*)(void))router_start, METH_VARARGS | METH_KEYWORDS, NULL},
    {"init", router_init, METH_NOARGS, NULL},
    {"unique", router_unique, METH_NOARGS, NULL},
    {"prefetch", router_prefetch, METH_VARARGS, NULL},
    {"stop", router_stop, METH_NOARGS, NULL},
    {"put_inode", router_put_inode, METH_O, NULL},
    {"make_inode", router_make_inode, METH_O, NULL},
    {"change_inode", router_change_inode, METH_O, NULL},
    {"drop_inode", router_drop_inode, METH_O, NULL},
    {"put_dentry", router_put_dentry, METH_VARARGS, NULL},
    {"drop_dentry", router_drop_dentry, METH_VARARGS, NULL},
    {"put_xattrs", router_put_xattrs, METH_VARARGS, NULL},
    {"drop_xattrs", router_drop_xattrs, METH_O, NULL},
    {"begin_fill", router_begin_fill, METH_O, NULL},
    {"complete_fill", router_complete_fill, METH_O, NULL},
    {"put_listing", router_put_listing, METH_VARARGS, NULL},
    {"drop_listing", router_drop_listing, METH_O, NULL},
    {"put_statfs", router_put_statfs, METH_VARARGS, NULL},
    {"is_known", router_is_known, METH_O, NULL},
    {"write_back", router_write_back, METH_VARARGS, NULL},
    {"invalidate_name", router_invalidate_name, METH_VARARGS, NULL},
    {"clear", router_clear, METH_NOARGS, NULL},
    {"add_lookups", router_add_lookups, METH_VARARGS, NULL},
    {"lookup_count", router_lookup_count, METH_O, NULL},
    {"orphan", router_orphan, METH_O, NULL},
    {"forgotten", router_forgotten, METH_NOARGS, NULL},
    {"heat", router_heat, METH_O, NULL},
    {"first_reads", router_first_reads, METH_O, NULL},
    {"counters", router_counters, METH_NOARGS, NULL},
    {"watch", router_watch, METH_O, NULL},
    {"attributed", router_attributed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot router_slots[] = {
    {Py_tp_new, router_new},
    {Py_tp_dealloc, router_dealloc},
    {Py_tp_methods, router_methods},
    {0, NULL},
};

static PyType_Spec router_spec = {
    .name = "tierfs.native._router.Router",
    .basicsize = sizeof(RouterObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = router_slots,
};

static int execute(PyObject *module) {
    return tfs_module_types_init(module, &router_spec);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)(uintptr_t)execute},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tierfs.native._router",
    .m_size = sizeof(module_state),
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__router(void) {
    return PyModuleDef_Init(&definition);
}
