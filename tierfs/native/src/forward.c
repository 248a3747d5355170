#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "events.h"
#include "forward.h"
#include "hashing.h"
#include "protocol.h"
#include "uring.h"

enum {
    SOCKET_BUFFER = 4 * 1024 * 1024,
    MOST_ERROR = 512, /* what the kernel takes no error beyond (fuse_dev_do_write) */
};

typedef struct message message;
struct message {
    STAILQ_ENTRY(message) next;
    size_t length;
    uint8_t bytes[];
};

/* A request that pyfuse3 owes a reply for. */
typedef struct {
    node node;
    uint64_t unique;
    channel *channel;
} owed;

struct forward {
    router *router;
    pthread_mutex_t sending, owing;
    STAILQ_HEAD(, message) queue;  /* sending */
    _Atomic size_t queued;         /* written under sending */
    hashing all;                   /* owing */
    _Atomic size_t waits;          /* how many there are in it */
    _Atomic uint64_t init;
    uint32_t max_write, offered, offered2; /* set before INIT is sent on, read when it comes back */
};

static int widen(int socket) {
    static const int size = SOCKET_BUFFER;
    /* Beyond the system's limit for root alone; the limit will do for others. */
    for (int option = SO_SNDBUF; option <= SO_RCVBUF; option++) {
        int forced = option == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
        if (setsockopt(socket, SOL_SOCKET, forced, &size, sizeof size) < 0 &&
            setsockopt(socket, SOL_SOCKET, option, &size, sizeof size) < 0)
            return -1;
    }
    return 0;
}

forward *tfs_forward_new(router *r, uint32_t max_write, int *peer) {
    int ends[2];
    forward *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->router = r;
    f->max_write = max_write;
    STAILQ_INIT(&f->queue);
    pthread_mutex_init(&f->sending, NULL);
    pthread_mutex_init(&f->owing, NULL);
    if (tfs_hashing_init(&f->all) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        tfs_forward_free(f);
        return NULL;
    }
    if (widen(ends[0]) < 0 || widen(ends[1]) < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        tfs_forward_free(f);
        errno = error;
        return NULL;
    }
    r->socket = ends[0];
    *peer = ends[1];
    return f;
}

void tfs_forward_free(forward *f) {
    if (!f)
        return;
    for (message *m; (m = STAILQ_FIRST(&f->queue)); free(m))
        STAILQ_REMOVE_HEAD(&f->queue, next);
    for (size_t i = 0; f->all.buckets && i <= f->all.mask; i++)
        for (node *each; (each = f->all.buckets[i]); free(each))
            tfs_hashing_remove(&f->all, each);
    tfs_hashing_free(&f->all);
    pthread_mutex_destroy(&f->sending);
    pthread_mutex_destroy(&f->owing);
    free(f);
}

bool tfs_forward_waits(const forward *f) {
    return atomic_load_explicit(&f->waits, memory_order_relaxed) > 0;
}

bool tfs_forward_has_queued(const forward *f) {
    return atomic_load(&f->queued) > 0;
}

/* ---------------------------------------------------------------- what is owed */

static bool owe(forward *f, const request *q) {
    owed *added = malloc(sizeof *added);
    if (!added)
        return false;
    *added = (owed){.node.hash = hash_number(q->header->unique), .unique = q->header->unique, .channel = q->channel};
    pthread_mutex_lock(&f->owing);
    tfs_hashing_add(&f->all, &added->node);
    f->waits++;
    pthread_mutex_unlock(&f->owing);
    return true;
}

/* The channel of a request, once; NULL: nothing is owed. */
static channel *settle(forward *f, uint64_t unique) {
    channel *found = NULL;
    pthread_mutex_lock(&f->owing);
    node *each = f->all.count ? hashing_first(&f->all, hash_number(unique)) : NULL;
    while (each && ((owed *)each)->unique != unique)
        each = each->chain;
    if (each) {
        found = ((owed *)each)->channel;
        tfs_hashing_remove(&f->all, each);
        f->waits--;
    }
    pthread_mutex_unlock(&f->owing);
    free(each);
    return found;
}

/* ---------------------------------------------------------------- to pyfuse3 */

/* A request cannot be given to pyfuse3. */
static void give_up(forward *f, uint64_t unique) {
    channel *c = settle(f, unique);
    struct fuse_out_header header = {.len = sizeof header, .error = -ENOMEM, .unique = unique};
    if (c)
        c->reply(c, &header, NULL, 0);
    tfs_changing_remove(&f->router->changing, unique);
}

typedef enum { SENT, FULL, REFUSED } sent;

static sent try_sending(router *r, const struct iovec *parts, size_t count) {
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    if (sendmsg(r->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return SENT;
    return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == EINTR ? FULL : REFUSED;
}

static message *joined(const struct iovec *parts, size_t count) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += parts[i].iov_len;
    message *made = malloc(sizeof *made + length);
    if (!made)
        return NULL;
    made->length = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(made->bytes + made->length, parts[i].iov_base, parts[i].iov_len);
        made->length += parts[i].iov_len;
    }
    return made;
}

/* Sends, or queues where pyfuse3 is behind: no thread ever waits for it, since it may be waiting for
   that thread to take its replies. */
static sent send_or_queue(forward *f, const struct iovec *parts, size_t count) {
    pthread_mutex_lock(&f->sending);
    sent result = STAILQ_EMPTY(&f->queue) ? try_sending(f->router, parts, count) : FULL;
    if (result == FULL) {
        message *queued = joined(parts, count);
        if (queued) {
            STAILQ_INSERT_TAIL(&f->queue, queued, next);
            atomic_fetch_add(&f->queued, 1);
        }
        result = queued ? SENT : REFUSED;
    }
    pthread_mutex_unlock(&f->sending);
    if (tfs_forward_has_queued(f))
        tfs_wake_leader(f->router); /* to wait for room in the socket as well */
    return result;
}

void tfs_forward_flush(forward *f) {
    pthread_mutex_lock(&f->sending);
    for (message *first; (first = STAILQ_FIRST(&f->queue)); free(first)) {
        struct iovec part = {first->bytes, first->length};
        sent result = try_sending(f->router, &part, 1);
        if (result == FULL)
            break;
        STAILQ_REMOVE_HEAD(&f->queue, next);
        atomic_fetch_sub(&f->queued, 1);
        if (result == REFUSED) {
            struct fuse_in_header header;
            memcpy(&header, first->bytes, sizeof header);
            give_up(f, header.unique);
        }
    }
    pthread_mutex_unlock(&f->sending);
}

static void note_init(forward *f, const request *q) {
    struct fuse_init_in in = {0};
    memcpy(&in, q->body, q->length < sizeof in ? q->length : sizeof in);
    f->offered = in.flags;
    f->offered2 = in.flags & FUSE_INIT_EXT ? in.flags2 : 0;
    atomic_store(&f->router->no_open, (in.flags & FUSE_NO_OPEN_SUPPORT) && (in.flags & FUSE_NO_OPENDIR_SUPPORT));
    atomic_store(&f->init, q->header->unique);
}

void tfs_forward_request(forward *f, const request *q) {
    size_t fh = tfs_body_with_fh(q->header->opcode);
    fh = q->length >= fh && fh ? sizeof q->header->nodeid : 0;
    struct iovec parts[] = {
        {(void *)(uintptr_t)q->header, sizeof *q->header},
        {(void *)(uintptr_t)&q->header->nodeid, fh},
        {(void *)(uintptr_t)(q->body + fh), q->length - fh},
    };
    if (q->header->opcode == FUSE_INIT)
        note_init(f, q);
    /* Before the reply can come. */
    if (tfs_has_reply(q->header->opcode) && !owe(f, q))
        tfs_reply_error(q, ENOMEM);
    else if (send_or_queue(f, parts, 3) == REFUSED)
        give_up(f, q->header->unique);
}

/* ---------------------------------------------------------------- from pyfuse3 */

/* INIT's: adapted, and the rings made, if they are to be used. */
static bool adapt(forward *f, const struct fuse_out_header *header, uint8_t *body, size_t length) {
    if (header->unique != atomic_load(&f->init) || header->error)
        return false;
    atomic_store(&f->init, 0);
    tfs_init_adapt(body, length, f->offered, f->max_write);
    return length >= sizeof(struct fuse_init_out) && tfs_uring_agree(f->router->uring, f->offered2, (void *)body);
}

static void pass_back(forward *f, uint8_t *message, size_t size) {
    struct fuse_out_header header;
    memcpy(&header, message, sizeof header);
    uint8_t *body = message + sizeof header;
    size_t length = size - sizeof header;
    if (!header.unique) {
        tfs_device_notify(&f->router->device, header.error, body, length);
        return;
    }
    bool by_rings = adapt(f, &header, body, length);
    channel *c = settle(f, header.unique);
    if (header.error > 0 || header.error <= -MOST_ERROR)
        header.error = -EIO;
    header.len = (uint32_t)size;
    if (c)
        c->reply(c, &header, body, length);
    tfs_changing_remove(&f->router->changing, header.unique);
    if (by_rings)
        tfs_uring_begin(f->router->uring);
}

int tfs_forward_take_reply(forward *f, worker *leader) {
    router *r = f->router;
    ssize_t size;
    do
        size = recv(r->socket, leader->reply, r->buffer, MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return size < 0 && errno == EAGAIN ? 0 : -1;
    /* Whoever sent the request is done with it, before the reply is put where it was (uring.c). */
    pthread_mutex_lock(&f->sending);
    pthread_mutex_unlock(&f->sending);
    if ((size_t)size >= sizeof(struct fuse_out_header))
        pass_back(f, leader->reply, (size_t)size);
    return 1;
}
