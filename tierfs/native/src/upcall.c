#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "upcall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coherence.h"
#include "conversion.h"
#include "splice.h"
#include "worker.h"
#include "write_buffer.h"

enum { SMALL = 4096 }; /* bytes of a WRITE that are given as a copy, which is cheaper */

struct upcalls {
    PyObject *functions[OPERATIONS];
    PyObject *keywords[OPERATIONS]; /* names of the last arguments */
    PyObject *ready, *failed, *never_waits;
    PyObject *write_buffer; /* a type */
};

/* What a function returned, as the reply has it. */
typedef struct {
    upcall_result result;
    int error; /* of errno(3); 0: none */
    attributes row;
    bool negative;
    uint64_t number; /* of bytes, sectors, an offset */
    bool counted;    /* `number` is how many sectors the inode takes */
    size_t length;   /* in the worker's `reply` */
    cached_statfs statfs;
    PyObject *resume; /* where it had to wait: a function that continues */
} result;

/* This thread's, once it has made an upcall. */
static _Thread_local PyThreadState *python;
static _Thread_local PyGILState_STATE before;

/* Of the request that it is in. */
static _Thread_local uint64_t unique;
static _Thread_local uint32_t sender;

/* ---------------------------------------------------------------- the functions */

static PyObject *method(PyObject *functions, const char *name) {
    PyObject *found = PyObject_GetAttrString(functions, name);
    if (!found && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return found;
}

/* The arguments that are given by name. */
static PyObject *keywords_of(const char *format) {
    PyObject *names = PyList_New(0);
    for (; names && *format; format++) {
        const char *name = *format == 'C' ? "caller" : *format == 'A' ? "again" : *format == 'W' ? "wait" : NULL;
        PyObject *each = name ? PyUnicode_InternFromString(name) : NULL;
        if (name && (!each || PyList_Append(names, each) < 0))
            Py_CLEAR(names);
        Py_XDECREF(each);
    }
    PyObject *made = names ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    return made;
}

upcalls *tfs_upcalls_new(void *functions) {
    upcalls *u = calloc(1, sizeof *u);
    if (!u) {
        PyErr_NoMemory();
        return NULL;
    }
    for (uint32_t opcode = 0; opcode < OPERATIONS; opcode++) {
        const operation *op = tfs_operation_of(opcode);
        if (op && op->function)
            u->functions[opcode] = method(functions, op->function);
        if (u->functions[opcode])
            u->keywords[opcode] = keywords_of(op->arguments);
    }
    u->ready = method(functions, "ready");
    u->failed = method(functions, "failed");
    u->never_waits = method(functions, "never_waits");
    u->write_buffer = tfs_write_buffer_type_new();
    if (!PyErr_Occurred())
        return u;
    tfs_upcalls_free(u);
    return NULL;
}

void tfs_upcalls_free(upcalls *u) {
    if (!u)
        return;
    for (uint32_t opcode = 0; opcode < OPERATIONS; opcode++) {
        Py_XDECREF(u->functions[opcode]);
        Py_XDECREF(u->keywords[opcode]);
    }
    Py_XDECREF(u->ready);
    Py_XDECREF(u->failed);
    Py_XDECREF(u->never_waits);
    Py_XDECREF(u->write_buffer);
    free(u);
}

bool tfs_upcall_has(const upcalls *u, uint32_t opcode) {
    return u && opcode < OPERATIONS && u->functions[opcode];
}

/* ---------------------------------------------------------------- to Python */

typedef struct {
    PyObject *items[MOST_ARGUMENTS + 1];
    size_t count;
    PyObject *view;         /* one of them, whose memory goes with the upcall */
    PyObject *write_buffer; /* the same, if the bytes are in a pipe */
} stack;

static PyObject *data_of(stack *s, const argument *a, const upcalls *u, worker *w, const request *q) {
    if (tfs_splice_has(w, q))
        return s->view = s->write_buffer = tfs_write_buffer_new(u->write_buffer, w, a->length);
    if (a->length <= SMALL)
        return PyBytes_FromStringAndSize((const char *)a->bytes, (Py_ssize_t)a->length);
    char *bytes = (char *)(uintptr_t)a->bytes;
    return s->view = PyMemoryView_FromMemory(bytes, (Py_ssize_t)a->length, PyBUF_READ);
}

static PyObject *object_of(stack *s, const argument *a, const upcalls *u, worker *w, const request *q, bool again) {
    switch (a->kind) {
    case ARGUMENT_SIGNED:
        return PyLong_FromLongLong((long long)a->number);
    case ARGUMENT_BYTES:
        return PyBytes_FromStringAndSize((const char *)a->bytes, (Py_ssize_t)a->length);
    case ARGUMENT_DATA:
        return data_of(s, a, u, w, q);
    case ARGUMENT_CALLER:
        return Py_BuildValue("III", q->header->uid, q->header->gid, q->header->pid);
    case ARGUMENT_AGAIN:
        return PyBool_FromLong(again);
    case ARGUMENT_WAIT:
        return PyBool_FromLong(w->may_wait);
    default:
        return PyLong_FromUnsignedLongLong(a->number);
    }
}

/* What is on the stack from `first` on becomes one tuple. */
static PyObject *tuple_from(stack *s, size_t first) {
    PyObject *made = PyTuple_New((Py_ssize_t)(s->count - first));
    if (!made)
        return NULL;
    for (size_t i = first; i < s->count; i++)
        PyTuple_SET_ITEM(made, (Py_ssize_t)(i - first), s->items[i]);
    s->count = first;
    return made;
}

static bool push(stack *s, PyObject *item) {
    s->items[s->count] = item;
    s->count += item != NULL;
    return item != NULL;
}

static bool push_all(stack *s, const argument *all, int count, const upcalls *u, worker *w, const request *q,
                     bool again) {
    size_t opened = 0;
    if (!push(s, PyLong_FromUnsignedLongLong(q->header->nodeid)))
        return false;
    for (int i = 0; i < count; i++) {
        if (all[i].kind == ARGUMENT_OPEN)
            opened = s->count;
        else if (!push(s, all[i].kind == ARGUMENT_CLOSE ? tuple_from(s, opened)
                                                        : object_of(s, &all[i], u, w, q, again)))
            return false;
    }
    return true;
}

/* The memory of a view goes with the upcall; false with an exception: Python has kept it. */
static bool release(const stack *s) {
    PyObject *released = s->view ? PyObject_CallMethod(s->view, "release", NULL) : NULL;
    Py_XDECREF(released);
    return released || !s->view;
}

static PyObject *call_function(const upcalls *u, const argument *all, int count, worker *w, const request *q,
                               bool again) {
    stack s = {.count = 0};
    PyObject *value = NULL, *keywords = u->keywords[q->header->opcode];
    if (push_all(&s, all, count, u, w, q, again))
        value = PyObject_Vectorcall(u->functions[q->header->opcode], s.items,
                                    s.count - (size_t)PyTuple_GET_SIZE(keywords), keywords);
    if (value && !release(&s))
        Py_CLEAR(value);
    if (s.write_buffer)
        tfs_write_buffer_detach(s.write_buffer); /* an exception may keep it */
    for (size_t i = 0; i < s.count; i++)
        Py_DECREF(s.items[i]);
    return value;
}

/* ---------------------------------------------------------------- from Python */

static bool take_row(PyObject *value, result *r) {
    if (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 2) { /* and its sectors */
        r->number = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(value, 1));
        r->counted = true;
        value = PyTuple_GET_ITEM(value, 0);
    }
    return !PyErr_Occurred() && tfs_parse_row(value, &r->row);
}

static bool take_entry(PyObject *value, result *r) {
    r->negative = PyTuple_Check(value) && !PyTuple_GET_SIZE(value);
    return r->negative || tfs_parse_row(value, &r->row);
}

static bool take_number(PyObject *value, result *r) {
    r->number = PyLong_AsUnsignedLongLong(value);
    return !PyErr_Occurred();
}

static bool take_bytes(PyObject *value, worker *w, result *r) {
    Py_buffer bytes;
    if (PyObject_GetBuffer(value, &bytes, PyBUF_SIMPLE) < 0)
        return false;
    bool fits = (size_t)bytes.len <= w->router->buffer;
    r->length = (size_t)bytes.len;
    if (fits)
        memcpy(w->reply, bytes.buf, r->length);
    PyBuffer_Release(&bytes);
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "the reply is too long");
    return fits;
}

static size_t room_for(const worker *w, const request *q) {
    struct fuse_read_in in = {0};
    memcpy(&in, q->body, q->length < sizeof in ? q->length : sizeof in);
    return in.size < w->router->buffer ? in.size : w->router->buffer;
}

static bool take_listing(PyObject *value, worker *w, const request *q, result *r) {
    return tfs_parse_listing(value, w->router->cache, w->reply, room_for(w, q), &r->length);
}

static bool take_value(PyObject *value, worker *w, const request *q, const operation *op, result *r) {
    switch (op->reply) {
    case REPLY_DONE:
        return true;
    case REPLY_CREATED:
        return tfs_parse_row(value, &r->row);
    case REPLY_ENTRY:
        return take_entry(value, r);
    case REPLY_ATTRIBUTES:
    case REPLY_STATX:
        return take_row(value, r);
    case REPLY_WRITTEN:
    case REPLY_OFFSET:
        return take_number(value, r);
    case REPLY_BYTES:
    case REPLY_XATTR:
        return take_bytes(value, w, r);
    case REPLY_LISTING:
        return take_listing(value, w, q, r);
    default:
        return tfs_parse_statfs_fields(value, &r->statfs.reply);
    }
}

/* With an exception set: what it means. */
static void fail(const upcalls *u, const request *q, const operation *op, bool may_wait, result *r) {
    PyObject *type, *error, *trace;
    double seconds = (double)(now_ns() - q->started_ns) * 1e-9;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    const char *name = tfs_request_names[op->counted];
    PyObject *number = u->failed ? PyObject_CallFunction(u->failed, "sOd", name, error, seconds) : NULL;
    r->error = EIO;
    bool waits = number && !may_wait && (number == Py_None || PyCallable_Check(number));
    if (waits) {
        r->result = UPCALL_WOULD_BLOCK;
        r->resume = number == Py_None ? NULL : Py_NewRef(number);
    } else if (number && number != Py_None) {
        r->error = (int)PyLong_AsLong(number);
    } else if (!u->failed) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(error), Py_XNewRef(trace));
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(NULL);
        r->error = EIO;
    }
    Py_XDECREF(number);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
}

/* Whether the index can be used at once; where that is not known, the upcall finds out. */
static bool is_ready(const upcalls *u) {
    PyObject *ready = u->ready ? PyObject_CallNoArgs(u->ready) : NULL;
    bool is_it = !ready || ready == Py_True;
    Py_XDECREF(ready);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    return is_it;
}

/* ---------------------------------------------------------------- the call */

static void enter_python(const upcalls *u, const worker *w) {
    if (python) {
        PyEval_RestoreThread(python);
        return;
    }
    before = PyGILState_Ensure();
    python = PyThreadState_Get();
    PyObject *none = w->may_wait || !u->never_waits ? NULL : PyObject_CallNoArgs(u->never_waits);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    Py_XDECREF(none);
}

static void leave_python(void) {
    PyEval_SaveThread();
}

void tfs_upcall_detach(void) {
    if (!python)
        return;
    PyEval_RestoreThread(python);
    PyGILState_Release(before);
    python = NULL;
}

static PyObject *resume(request *q) {
    PyObject *function = q->resume;
    PyObject *value = PyObject_CallNoArgs(function);
    q->resume = NULL;
    Py_DECREF(function);
    return value;
}

void tfs_upcall_drop(request *q) {
    if (!q->resume)
        return;
    PyGILState_STATE held = PyGILState_Ensure();
    Py_DECREF((PyObject *)q->resume);
    PyGILState_Release(held);
    q->resume = NULL;
}

static void call_python(upcalls *u, worker *w, request *q, const operation *op, bool again,
                       const argument *all, int count, result *r) {
    enter_python(u, w);
    if (w->request && !is_ready(u)) { /* it reads requests, and others wait for it */
        r->result = UPCALL_INDEX_BUSY;
    } else {
        PyObject *value = q->resume ? resume(q) : call_function(u, all, count, w, q, again);
        if (value == Py_None && op->answer && !again)
            r->result = UPCALL_FILLED;
        else if (!value || !take_value(value, w, q, op, r))
            fail(u, q, op, w->may_wait, r);
        Py_XDECREF(value);
    }
    leave_python();
}

/* ---------------------------------------------------------------- replies */

static void reply_entry(worker *w, const request *q, const result *r) {
    struct fuse_entry_out out = r->negative ? tfs_negative_entry_out() : tfs_entry_out(&r->row);
    if (!tfs_reply(q, &out, sizeof out) && !r->negative)
        drop_lookups(w->router, r->row.ino, 1); /* the kernel did not take it */
}

static void reply_attributes(const request *q, const result *r) {
    struct fuse_attr_out out = tfs_attr_out(&r->row);
    if (r->counted && r->row.sparse) {
        out.attr_valid = COUNTED_VALID_S;
        out.attr.blocks = r->number;
    }
    tfs_reply(q, &out, sizeof out);
}

static void reply_statx(const request *q, const result *r) {
    struct fuse_statx_out out = tfs_statx_out(&r->row);
    if (r->counted && r->row.sparse) {
        out.attr_valid = COUNTED_VALID_S;
        out.stat.blocks = r->number;
    }
    tfs_reply(q, &out, sizeof out);
}

/* Its pages stay in memory as those of every other file. */
static void reply_created(worker *w, const request *q, const result *r) {
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {tfs_entry_out(&r->row), {.fh = r->row.ino, .open_flags = FOPEN_KEEP_CACHE}};
    if (!tfs_reply(q, &out, sizeof out))
        drop_lookups(w->router, r->row.ino, 1); /* the kernel did not take it */
}

/* Bytes that the client has for the value or the names; 0: it asks how many there are. */
static uint32_t room_for_xattr(const request *q) {
    struct fuse_getxattr_in in = {0};
    memcpy(&in, q->body, q->length < sizeof in ? q->length : sizeof in);
    return in.size;
}

static void reply_xattr(worker *w, const request *q, size_t length) {
    struct fuse_getxattr_out out = {.size = (uint32_t)length};
    if (room_for_xattr(q))
        tfs_reply(q, w->reply, length);
    else
        tfs_reply(q, &out, sizeof out);
}

static void reply_listing(worker *w, const request *q, size_t length) {
    tfs_listing_stamp(w->router->listing, w->reply, length);
    tfs_reply(q, w->reply, length);
}

static void reply_value(worker *w, const request *q, const operation *op, const result *r) {
    struct fuse_write_out written = {.size = (uint32_t)r->number};
    struct fuse_lseek_out offset = {.offset = r->number};
    switch (op->reply) {
    case REPLY_DONE:
        tfs_reply(q, NULL, 0);
        break;
    case REPLY_ENTRY:
        reply_entry(w, q, r);
        break;
    case REPLY_ATTRIBUTES:
        reply_attributes(q, r);
        break;
    case REPLY_WRITTEN:
        tfs_reply(q, &written, sizeof written);
        break;
    case REPLY_OFFSET:
        tfs_reply(q, &offset, sizeof offset);
        break;
    case REPLY_BYTES:
        tfs_reply(q, w->reply, r->length);
        break;
    case REPLY_STATX:
        reply_statx(q, r);
        break;
    case REPLY_CREATED:
        reply_created(w, q, r);
        break;
    case REPLY_XATTR:
        reply_xattr(w, q, r->length);
        break;
    case REPLY_LISTING:
        reply_listing(w, q, r->length);
        break;
    case REPLY_STATFS:
        tfs_reply(q, &r->statfs.reply, sizeof r->statfs.reply);
        break;
    }
}

uint64_t tfs_upcall_unique(void) {
    return unique;
}

uint32_t tfs_upcall_sender(void) {
    return sender;
}

upcall_result tfs_upcall_make(upcalls *u, worker *w, request *q, const operation *op, bool again) {
    argument all[MOST_ARGUMENTS];
    result r = {.result = UPCALL_REPLIED};
    int count = tfs_parse_arguments(op->arguments, q, all);
    if (count < 0) {
        tfs_reply_error(q, EINVAL);
        return UPCALL_REPLIED;
    }
    tfs_note_upcall(w->router, q, again);
    unique = q->header->unique;
    sender = q->header->pid;
    q->watched.by_python = true;
    call_python(u, w, q, op, again, all, count, &r);
    unique = 0;
    sender = 0;
    q->resume = r.resume;
    if (r.result != UPCALL_REPLIED)
        return r.result;
    if (r.error) {
        tfs_reply_error(q, r.error); /* `failed` has counted it */
        if (q->watched.on)
            tfs_attribute(&w->router->attribution, w->router->cache, q, op->counted, now_ns() - q->started_ns);
    } else {
        uint32_t room = op->reply == REPLY_XATTR ? room_for_xattr(q) : 0;
        int error = room && r.length > room ? ERANGE : 0;
        tfs_count_reply(w, q, op->counted, error); /* who has the reply finds it counted */
        if (error)
            tfs_reply_error(q, error);
        else
            reply_value(w, q, op, &r);
    }
    return UPCALL_REPLIED;
}
