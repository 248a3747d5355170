#include "write_buffer.h"

#include <errno.h>

#include "splice.h"

typedef struct {
    PyObject_HEAD
    worker *worker; /* NULL: the upcall is over */
    Py_ssize_t length;
    Py_ssize_t exports; /* views of it */
} WriteBufferObject;

static WriteBufferObject *buffer_of(PyObject *self) {
    return (WriteBufferObject *)self;
}

/* Whether it may still be used; else with an exception. */
static bool is_alive(PyObject *self) {
    if (!buffer_of(self)->worker)
        PyErr_SetString(PyExc_ValueError, "the request has been answered");
    return buffer_of(self)->worker;
}

/* From now on the bytes are in the worker's buffer; false with an exception. */
static bool take_out(PyObject *self) {
    bool fetched;
    if (!is_alive(self))
        return false;
    worker *w = buffer_of(self)->worker;
    Py_BEGIN_ALLOW_THREADS
    fetched = tfs_splice_fetch(w);
    Py_END_ALLOW_THREADS
    if (!fetched) {
        errno = EIO;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return fetched;
}

static PyObject *fetch(PyObject *self, PyObject *none) {
    (void)none;
    return take_out(self) ? Py_NewRef(Py_None) : NULL;
}

static int get_buffer(PyObject *self, Py_buffer *view, int flags) {
    view->obj = NULL;
    if (!take_out(self))
        return -1;
    worker *w = buffer_of(self)->worker;
    if (PyBuffer_FillInfo(view, self, tfs_splice_bytes(w), buffer_of(self)->length, 1, flags) < 0)
        return -1;
    buffer_of(self)->exports++;
    return 0;
}

static void release_buffer(PyObject *self, Py_buffer *view) {
    (void)view;
    buffer_of(self)->exports--;
}

static Py_ssize_t length(PyObject *self) {
    return buffer_of(self)->length;
}

static PyObject *splice_into(PyObject *self, PyObject *args) {
    int fd;
    long long offset;
    ssize_t put;
    if (!PyArg_ParseTuple(args, "iL", &fd, &offset) || !is_alive(self))
        return NULL;
    worker *w = buffer_of(self)->worker;
    if (!w->pipe.left) /* they are in memory, or in a file already */
        return PyLong_FromLong(0);
    Py_BEGIN_ALLOW_THREADS
    put = tfs_splice_to_file(w, fd, offset);
    Py_END_ALLOW_THREADS
    if (put < 0 && errno == EINVAL) /* its filesystem cannot */
        put = 0;
    return put < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(put);
}

static PyObject *release(PyObject *self, PyObject *none) {
    (void)none;
    if (buffer_of(self)->exports)
        return PyErr_Format(PyExc_BufferError, "the bytes of a request are still looked at");
    tfs_write_buffer_detach(self);
    return Py_NewRef(Py_None);
}

static void dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"fetch", fetch, METH_NOARGS, NULL},
    {"splice", splice_into, METH_VARARGS, NULL},
    {"release", release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_dealloc, dealloc},
    {Py_sq_length, length},
    {Py_bf_getbuffer, get_buffer},
    {Py_bf_releasebuffer, release_buffer},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "tierfs.native._router.WriteBuffer",
    .basicsize = sizeof(WriteBufferObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

PyObject *tfs_write_buffer_type_new(void) {
    return PyType_FromSpec(&spec);
}

PyObject *tfs_write_buffer_new(PyObject *type, worker *w, size_t size) {
    PyObject *made = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (made) {
        buffer_of(made)->worker = w;
        buffer_of(made)->length = (Py_ssize_t)size;
    }
    return made;
}

void tfs_write_buffer_detach(PyObject *self) {
    if (buffer_of(self)->worker)
        tfs_splice_detach(buffer_of(self)->worker);
    buffer_of(self)->worker = NULL;
}
