#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "calling.h"
#include "records.h"

typedef struct {
    const struct fuse_in_header *header;
    const uint8_t *body;
    size_t length;
    uint64_t started_ns;
} call;

struct calling {
    router *router;
    PyObject *write, *make;
};

/* This thread's, once it has called. */
static _Thread_local PyThreadState *python;
static _Thread_local PyGILState_STATE before;

calling *calling_new(router *r, void *write, void *make) {
    calling *c = malloc(sizeof *c);
    if (c)
        *c = (calling){r, Py_NewRef(write), Py_NewRef(make)};
    return c;
}

void calling_free(calling *c) {
    if (!c)
        return;
    Py_DECREF(c->write);
    Py_DECREF(c->make);
    free(c);
}

/* ---------------------------------------------------------------- with Python's lock */

/* What a function returned: an error where it failed, which is a bug of its own. */
static PyObject *or_error(PyObject *returned) {
    if (returned)
        return returned;
    PyErr_WriteUnraisable(NULL);
    return PyLong_FromLong(-EIO);
}

static PyObject *ask_write(calling *c, const call *each, const struct fuse_write_in *in) {
    char *bytes = (char *)(uintptr_t)each->body + sizeof *in;
    PyObject *view = PyMemoryView_FromMemory(bytes, in->size, PyBUF_READ);
    if (!view)
        return NULL;
    PyObject *made = PyObject_CallFunction(c->write, "KKO", (unsigned long long)each->header->nodeid,
                                           (unsigned long long)in->offset, view);
    PyObject *released = PyObject_CallMethod(view, "release", NULL); /* its memory goes with the call */
    Py_DECREF(view);
    if (!released)
        Py_CLEAR(made);
    Py_XDECREF(released);
    return made;
}

static PyObject *ask_make(calling *c, const call *each, const struct fuse_mknod_in *in, size_t length) {
    const struct fuse_in_header *header = each->header;
    return PyObject_CallFunction(c->make, "Ky#IIIII", (unsigned long long)header->nodeid,
                                 each->body + sizeof *in, (Py_ssize_t)length, in->mode, in->rdev,
                                 header->uid, header->gid, in->umask);
}

/* A result of at least 0 in `result`, or an error below; false: None, not now. */
static bool number_of(PyObject *returned, int64_t *result) {
    bool now = returned != Py_None;
    *result = now ? PyLong_AsLongLong(returned) : 0;
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(NULL);
        *result = -EIO;
    }
    return now;
}

/* An inode in `row`, or an error in `result`; false: not now. */
static bool row_of(PyObject *returned, attributes *row, int64_t *result) {
    *result = 0;
    if (!PyTuple_Check(returned))
        return number_of(returned, result);
    if (!parse_row(returned, row)) {
        PyErr_WriteUnraisable(NULL);
        *result = -EIO;
    }
    return true;
}

/* ---------------------------------------------------------------- without it */

static void enter_python(void) {
    if (python) {
        PyEval_RestoreThread(python);
        return;
    }
    before = PyGILState_Ensure();
    python = PyThreadState_Get();
}

static void leave_python(void) {
    PyEval_SaveThread();
}

void calling_detach(void) {
    if (!python)
        return;
    PyEval_RestoreThread(python);
    PyGILState_Release(before);
    python = NULL;
}

static bool call_write(calling *c, const call *each) {
    struct fuse_write_in in;
    int64_t result;
    memcpy(&in, each->body, sizeof in);
    enter_python();
    PyObject *returned = or_error(ask_write(c, each, &in));
    bool now = number_of(returned, &result);
    Py_XDECREF(returned);
    leave_python();
    if (!now)
        return false;
    struct fuse_write_out out = {.size = (uint32_t)result};
    if (result < 0) {
        reply_error(c->router, each->header->unique, (int)-result);
        return true;
    }
    reply(c->router, each->header->unique, &out, sizeof out);
    count_answer(&c->router->disk_counters, ANSWER_WRITE, true, each->started_ns);
    return true;
}

static bool call_make(calling *c, const call *each) {
    struct fuse_mknod_in in;
    attributes row;
    int64_t result;
    memcpy(&in, each->body, sizeof in);
    size_t length = strnlen((const char *)each->body + sizeof in, each->length - sizeof in);
    enter_python();
    PyObject *returned = or_error(ask_make(c, each, &in, length));
    bool now = row_of(returned, &row, &result);
    Py_XDECREF(returned);
    leave_python();
    if (!now)
        return false;
    if (result < 0) {
        reply_error(c->router, each->header->unique, (int)-result);
        return true;
    }
    struct fuse_entry_out out = entry_out_of(&row);
    if (!reply(c->router, each->header->unique, &out, sizeof out) &&
        table_forget(c->router->table, row.ino, 1)) /* the kernel did not take it */
        pass_forget(c->router, row.ino);
    count_answer(&c->router->disk_counters, ANSWER_MKNOD, true, each->started_ns);
    return true;
}

/* False: the function would have to wait. */
static bool make_call(calling *c, const call *each) {
    bool made = each->header->opcode == FUSE_WRITE ? call_write(c, each) : call_make(c, each);
    if (made)
        changing_remove(&c->router->changing, each->header->unique);
    return made;
}

/* ---------------------------------------------------------------- from the leader */

static bool is_write(const uint8_t *body, size_t length) {
    struct fuse_write_in in;
    if (length < sizeof in)
        return false;
    memcpy(&in, body, sizeof in);
    return in.size == length - sizeof in;
}

/* Fields and a name. */
static bool is_mknod(const uint8_t *body, size_t length) {
    return length > sizeof(struct fuse_mknod_in) && body[length - 1] == 0;
}

static bool is_call(uint32_t opcode, const uint8_t *body, size_t length) {
    return (opcode == FUSE_WRITE && is_write(body, length)) ||
           (opcode == FUSE_MKNOD && is_mknod(body, length));
}

static bool is_only_client(const worker *w, uint32_t client) {
    return client && client == w->client && w->in_a_row >= LONELY;
}

bool calling_answers(calling *c, const worker *w, const struct fuse_in_header *header,
                     const uint8_t *body, size_t length) {
    if (!c || length > MOST_BYTES || !is_call(header->opcode, body, length) ||
        passing_waits(c->router->passing) || !is_only_client(w, header->pid))
        return false;
    return make_call(c, &(call){header, body, length, now_ns()});
}
