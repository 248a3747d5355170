#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "arguments.h"
#include "payload.h"
#include "piped.h"
#include "rows.h"
#include "telling.h"
#include "upcall.h"

enum { SMALL = 4096 }; /* bytes of a WRITE that are given as a copy, which is cheaper */

struct upcalls {
    PyObject *functions[OPERATIONS];
    PyObject *keywords[OPERATIONS]; /* names of the last arguments */
    PyObject *ready, *failed, *never_waits;
    PyObject *payload; /* a type */
};

/* What a function returned, as the kernel is told. */
typedef struct {
    call_result result;
    int error; /* of errno(3); 0: none */
    attributes row;
    bool absent;
    uint64_t number; /* of bytes, sectors, an offset */
    bool counted;    /* `number` is how many sectors the inode takes */
    size_t length;   /* in the worker's `reply` */
    published_statfs statfs;
    PyObject *resume; /* where it had to wait: a function that goes on */
} answer;

/* This thread's, once it has called. */
static _Thread_local PyThreadState *python;
static _Thread_local PyGILState_STATE before;

/* ---------------------------------------------------------------- life */

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
    u->payload = tfs_payload_type_new();
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
    Py_XDECREF(u->payload);
    free(u);
}

bool tfs_upcall_has(const upcalls *u, uint32_t opcode) {
    return u && opcode < OPERATIONS && u->functions[opcode];
}

/* ---------------------------------------------------------------- to Python */

typedef struct {
    PyObject *items[MOST_ARGUMENTS + 1];
    size_t count;
    PyObject *view;    /* one of them, whose memory goes with the call */
    PyObject *payload; /* the same, if the bytes are in a pipe */
} stack;

static PyObject *data_of(stack *s, const argument *a, const upcalls *u, worker *w, const request *q) {
    if (tfs_piped_has(w, q))
        return s->view = s->payload = tfs_payload_new(u->payload, w, a->length);
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

/* The memory of a view goes with the call; false with an exception: somebody has kept it. */
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
    if (s.payload)
        tfs_payload_end(s.payload); /* an exception may keep it */
    for (size_t i = 0; i < s.count; i++)
        Py_DECREF(s.items[i]);
    return value;
}

/* ---------------------------------------------------------------- from Python */

static bool take_row(PyObject *value, answer *a) {
    if (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 2) { /* and its sectors */
        a->number = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(value, 1));
        a->counted = true;
        value = PyTuple_GET_ITEM(value, 0);
    }
    return !PyErr_Occurred() && tfs_parse_row(value, &a->row);
}

static bool take_entry(PyObject *value, answer *a) {
    a->absent = PyTuple_Check(value) && !PyTuple_GET_SIZE(value);
    return a->absent || tfs_parse_row(value, &a->row);
}

static bool take_number(PyObject *value, answer *a) {
    a->number = PyLong_AsUnsignedLongLong(value);
    return !PyErr_Occurred();
}

static bool take_bytes(PyObject *value, worker *w, answer *a) {
    Py_buffer bytes;
    if (PyObject_GetBuffer(value, &bytes, PyBUF_SIMPLE) < 0)
        return false;
    bool fits = (size_t)bytes.len <= w->router->buffer;
    a->length = (size_t)bytes.len;
    if (fits)
        memcpy(w->reply, bytes.buf, a->length);
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

static bool take_listing(PyObject *value, worker *w, const request *q, answer *a) {
    return tfs_put_lines(value, w->router->table, w->reply, room_for(w, q), &a->length);
}

static bool take_value(PyObject *value, worker *w, const request *q, const operation *op, answer *a) {
    switch (op->reply) {
    case REPLY_NONE:
    case REPLY_DONE:
        return true;
    case REPLY_CREATED:
        return tfs_parse_row(value, &a->row);
    case REPLY_ENTRY:
        return take_entry(value, a);
    case REPLY_ATTRIBUTES:
    case REPLY_STATX:
        return take_row(value, a);
    case REPLY_WRITTEN:
    case REPLY_OFFSET:
        return take_number(value, a);
    case REPLY_BYTES:
    case REPLY_XATTR:
        return take_bytes(value, w, a);
    case REPLY_LISTING:
        return take_listing(value, w, q, a);
    default:
        return tfs_parse_statfs_fields(value, &a->statfs.reply);
    }
}

/* With an exception set: what it means. */
static void fail(const upcalls *u, const request *q, const operation *op, bool may_wait, answer *a) {
    PyObject *type, *error, *trace;
    double seconds = (double)(now_ns() - q->started_ns) * 1e-9;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    PyObject *number = u->failed ? PyObject_CallFunction(u->failed, "sOd", tfs_answer_names[op->counted], error, seconds) : NULL;
    a->error = EIO;
    bool waits = number && !may_wait && (number == Py_None || PyCallable_Check(number));
    if (waits) {
        a->result = CALL_WAITS;
        a->resume = number == Py_None ? NULL : Py_NewRef(number);
    } else if (number && number != Py_None) {
        a->error = (int)PyLong_AsLong(number);
    } else if (!u->failed) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(error), Py_XNewRef(trace));
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(NULL);
        a->error = EIO;
    }
    Py_XDECREF(number);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
}

/* Whether the index can be used at once; where that is not known, it is found out by the call. */
static bool is_ready(const upcalls *u) {
    PyObject *ready = u->ready ? PyObject_CallNoArgs(u->ready) : NULL;
    bool is_it = !ready || ready == Py_True;
    Py_XDECREF(ready);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    return is_it;
}

/* ---------------------------------------------------------------- a call */

static void enter_python(const upcalls *u, const worker *w) {
    if (python) {
        PyEval_RestoreThread(python);
        return;
    }
    before = PyGILState_Ensure();
    python = PyThreadState_Get();
    PyObject *told = w->may_wait || !u->never_waits ? NULL : PyObject_CallNoArgs(u->never_waits);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    Py_XDECREF(told);
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

static void ask_python(upcalls *u, worker *w, request *q, const operation *op, bool again,
                       const argument *all, int count, answer *a) {
    enter_python(u, w);
    if (w->request && !is_ready(u)) { /* it is at the device, where others wait for it */
        a->result = CALL_BUSY;
    } else {
        PyObject *value = q->resume ? resume(q) : call_function(u, all, count, w, q, again);
        if (value == Py_None && op->answer && !again && op->reply != REPLY_NONE)
            a->result = CALL_PUBLISHED;
        else if (!value || !take_value(value, w, q, op, a))
            fail(u, q, op, w->may_wait, a);
        Py_XDECREF(value);
    }
    leave_python();
}

/* ---------------------------------------------------------------- replies */

static void reply_entry(worker *w, const request *q, const answer *a) {
    struct fuse_entry_out out = a->absent ? tfs_absent_entry() : tfs_entry_out_of(&a->row);
    if (!tfs_reply(q, &out, sizeof out) && !a->absent)
        forget_inode(w->router, a->row.ino, 1); /* the kernel did not take it */
}

static void reply_attributes(const request *q, const answer *a) {
    struct fuse_attr_out out = tfs_attr_out_of(&a->row);
    if (a->counted && a->row.sparse) {
        out.attr_valid = COUNTED_VALID_S;
        out.attr.blocks = a->number;
    }
    tfs_reply(q, &out, sizeof out);
}

static void reply_statx(const request *q, const answer *a) {
    struct newer_statx_out out = tfs_statx_out_of(&a->row);
    if (a->counted && a->row.sparse) {
        out.attr_valid = COUNTED_VALID_S;
        out.stat.blocks = a->number;
    }
    tfs_reply(q, &out, sizeof out);
}

/* Its pages stay in memory as those of every other file. */
static void reply_created(worker *w, const request *q, const answer *a) {
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {tfs_entry_out_of(&a->row), {.fh = a->row.ino, .open_flags = FOPEN_KEEP_CACHE}};
    if (!tfs_reply(q, &out, sizeof out))
        forget_inode(w->router, a->row.ino, 1); /* the kernel did not take it */
}

static void reply_xattr(worker *w, const request *q, size_t length) {
    struct fuse_getxattr_in in = {0};
    struct fuse_getxattr_out out = {.size = (uint32_t)length};
    memcpy(&in, q->body, q->length < sizeof in ? q->length : sizeof in);
    if (!in.size)
        tfs_reply(q, &out, sizeof out);
    else if (length > in.size)
        tfs_reply_error(q, ERANGE);
    else
        tfs_reply(q, w->reply, length);
}

static void reply_listing(worker *w, const request *q, size_t length) {
    tfs_listing_stamp(w->router->listing, w->reply, length);
    tfs_reply(q, w->reply, length);
}

static void reply_value(worker *w, const request *q, const operation *op, const answer *a) {
    struct fuse_write_out written = {.size = (uint32_t)a->number};
    struct fuse_lseek_out offset = {.offset = a->number};
    switch (op->reply) {
    case REPLY_NONE:
        break;
    case REPLY_DONE:
        tfs_reply(q, NULL, 0);
        break;
    case REPLY_ENTRY:
        reply_entry(w, q, a);
        break;
    case REPLY_ATTRIBUTES:
        reply_attributes(q, a);
        break;
    case REPLY_WRITTEN:
        tfs_reply(q, &written, sizeof written);
        break;
    case REPLY_OFFSET:
        tfs_reply(q, &offset, sizeof offset);
        break;
    case REPLY_BYTES:
        tfs_reply(q, w->reply, a->length);
        break;
    case REPLY_STATX:
        reply_statx(q, a);
        break;
    case REPLY_CREATED:
        reply_created(w, q, a);
        break;
    case REPLY_XATTR:
        reply_xattr(w, q, a->length);
        break;
    case REPLY_LISTING:
        reply_listing(w, q, a->length);
        break;
    case REPLY_STATFS:
        tfs_reply(q, &a->statfs.reply, sizeof a->statfs.reply);
        break;
    }
}

call_result tfs_upcall_make(upcalls *u, worker *w, request *q, const operation *op, bool again) {
    argument all[MOST_ARGUMENTS];
    answer a = {.result = CALL_DONE};
    int count = tfs_arguments_parse(op->arguments, q, all);
    if (count < 0) {
        tfs_reply_error(q, EINVAL);
        return CALL_DONE;
    }
    if (again)
        tfs_note_unseen(w->router, q);
    ask_python(u, w, q, op, again, all, count, &a);
    q->resume = a.resume;
    if (a.result != CALL_DONE)
        return a.result;
    if (a.error) {
        tfs_reply_error(q, a.error);
    } else {
        reply_value(w, q, op, &a);
        tfs_count_answer(w->counters, op->counted, true, q->started_ns);
    }
    return CALL_DONE;
}
