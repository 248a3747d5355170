#include "forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coherence.h"
#include "hash_table.h"
#include "uring.h"

enum {
    SOCKET_BUFFER = 4 * 1024 * 1024,
    BACKGROUND = 64, /* requests of read-ahead at a time; 12 by default */
    PAGE = 4096,
    MOST_ERROR = 512, /* what the kernel takes no error beyond (fuse_dev_do_write) */
};

typedef struct message message;
struct message {
    STAILQ_ENTRY(message) next;
    size_t length;
    uint8_t bytes[];
};

/* A request that pyfuse3 has to reply to. */
typedef struct {
    hash_node node;
    uint64_t unique;
    channel *channel;
} processing_request;

struct forward {
    router *router;
    pthread_mutex_t sending, processing_lock;
    STAILQ_HEAD(, message) queue; /* sending */
    _Atomic size_t queued;        /* written under sending */
    hash_table processing;        /* processing_lock */
    _Atomic size_t waits;         /* how many there are in it; written under processing_lock */
    _Atomic uint64_t init;        /* `unique` of INIT, until its reply */
    uint32_t max_write, offered, offered2; /* set before INIT is forwarded, read with its reply */
    uint8_t init_message[INIT_ROOM];       /* the same; */
    _Atomic size_t init_length;            /* written last */
    channel nowhere;
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
    pthread_mutex_init(&f->processing_lock, NULL);
    if (hash_table_init(&f->processing) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
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
    for (size_t i = 0; f->processing.buckets && i <= f->processing.mask; i++)
        for (hash_node *each; (each = f->processing.buckets[i]); free(each))
            hash_table_remove(&f->processing, each);
    hash_table_free(&f->processing);
    pthread_mutex_destroy(&f->sending);
    pthread_mutex_destroy(&f->processing_lock);
    free(f);
}

bool tfs_forward_waits(const forward *f) {
    return atomic_load_explicit(&f->waits, memory_order_relaxed) > 0;
}

bool tfs_forward_has_queued(const forward *f) {
    return atomic_load(&f->queued) > 0;
}

/* ---------------------------------------------------------------- requests without a reply */

static bool begin_processing(forward *f, const request *q) {
    processing_request *added = malloc(sizeof *added);
    if (!added)
        return false;
    *added = (processing_request){
        .node.hash = hash_number(q->header->unique),
        .unique = q->header->unique,
        .channel = q->channel,
    };
    pthread_mutex_lock(&f->processing_lock);
    hash_table_add(&f->processing, &added->node);
    f->waits++;
    pthread_mutex_unlock(&f->processing_lock);
    return true;
}

/* The channel of a request, once; NULL: it has its reply. */
static channel *end_processing(forward *f, uint64_t unique) {
    channel *found = NULL;
    pthread_mutex_lock(&f->processing_lock);
    hash_node *each = f->processing.count ? hash_table_first(&f->processing, hash_number(unique)) : NULL;
    while (each && ((processing_request *)each)->unique != unique)
        each = each->chain;
    if (each) {
        found = ((processing_request *)each)->channel;
        hash_table_remove(&f->processing, each);
        f->waits--;
    }
    pthread_mutex_unlock(&f->processing_lock);
    free(each);
    return found;
}

/* ---------------------------------------------------------------- to pyfuse3 */

/* A request cannot be given to pyfuse3. */
static void give_up(forward *f, uint64_t unique) {
    channel *c = end_processing(f, unique);
    struct fuse_out_header header = {.len = sizeof header, .error = -ENOMEM, .unique = unique};
    if (c)
        c->reply(c, &header, NULL, 0);
    tfs_in_flight_remove(&f->router->in_flight, unique);
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
        wake_leader(f->router); /* to wait for room in the socket as well */
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
    size_t length = sizeof *q->header + q->length;
    if (length <= INIT_ROOM) {
        memcpy(f->init_message, q->header, length);
        atomic_store(&f->init_length, length);
    }
    atomic_store(&f->init, q->header->unique);
}

size_t tfs_forward_init(const forward *f, uint8_t *message) {
    size_t length = f ? atomic_load(&f->init_length) : 0;
    if (length)
        memcpy(message, f->init_message, length);
    return length;
}

static bool reply_nowhere(channel *c, const struct fuse_out_header *header, const void *body, size_t length) {
    (void)c, (void)header, (void)body, (void)length;
    return true;
}

int tfs_forward_resume(forward *f, const uint8_t *message, size_t length) {
    union {
        struct fuse_in_header header;
        uint8_t bytes[INIT_ROOM];
    } init;
    if (length < sizeof init.header || length > INIT_ROOM) {
        errno = EINVAL;
        return -1;
    }
    memcpy(init.bytes, message, length);
    if (init.header.opcode != FUSE_INIT || init.header.len != length) {
        errno = EINVAL;
        return -1;
    }
    f->nowhere.reply = reply_nowhere;
    request q = {.channel = &f->nowhere, .header = &init.header, .body = init.bytes + sizeof init.header,
                 .length = length - sizeof init.header};
    tfs_forward_request(f, &q);
    return 0;
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
    if (tfs_has_reply(q->header->opcode) && !begin_processing(f, q))
        tfs_reply_error(q, ENOMEM);
    else if (send_or_queue(f, parts, 3) == REFUSED)
        give_up(f, q->header->unique);
}

/* ---------------------------------------------------------------- from pyfuse3 */

/* Changes the reply of INIT to what the router does; `offered` are the flags of the request. */
static void adapt_init(uint8_t *body, size_t length, uint32_t offered, uint32_t max_write) {
    struct fuse_init_out *out = (struct fuse_init_out *)(void *)body;
    if (length < offsetof(struct fuse_init_out, map_alignment))
        return;
    /* Without OPEN, O_TRUNC must come as SETATTR. The daemon applies the umask, since a default
       access list overrides it (acl(5)). The target of a symbolic link never changes.
       Behind an O_DIRECT write the kernel drops the pages that a read brought in meanwhile
       (kiocb_invalidate_post_direct_write), but not where it answers a write of libaio before that is
       made: so it is to make it first.
       With FUSE_HANDLE_KILLPRIV_V2 the kernel remembers that a file has neither set-user-ID nor security.capability
       (SB_NOSEC, process_init_reply in fs/fuse/inode.c), and sends no GETXATTR before each write. Where it has, a
       SETATTR of no field precedes the write (fuse_setattr in fs/fuse/dir.c), by which the daemon takes the bits away. */
    static const uint32_t agreed =
        FUSE_DONT_MASK | FUSE_CACHE_SYMLINKS | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2;
    out->flags &= ~(uint32_t)(FUSE_ATOMIC_O_TRUNC | FUSE_ASYNC_DIO);
    out->flags |= offered & agreed;
    out->max_write = max_write;
    out->max_pages = (uint16_t)(max_write / PAGE);
    out->max_background = BACKGROUND;
    out->congestion_threshold = BACKGROUND / 4 * 3;
}

/* The reply of INIT: adapted, and the rings made, if they are to be used. */
static bool adapt(forward *f, const struct fuse_out_header *header, uint8_t *body, size_t length) {
    if (header->unique != atomic_load(&f->init) || header->error)
        return false;
    atomic_store(&f->init, 0);
    adapt_init(body, length, f->offered, f->max_write);
    return length >= sizeof(struct fuse_init_out) && tfs_uring_agree(f->router->uring, f->offered2, (void *)body);
}

static void forward_reply(forward *f, uint8_t *message, size_t size) {
    struct fuse_out_header header;
    memcpy(&header, message, sizeof header);
    uint8_t *body = message + sizeof header;
    size_t length = size - sizeof header;
    if (!header.unique) {
        tfs_device_notify(&f->router->device, header.error, body, length);
        return;
    }
    bool by_rings = adapt(f, &header, body, length);
    channel *c = end_processing(f, header.unique);
    if (header.error > 0 || header.error <= -MOST_ERROR)
        header.error = -EIO;
    header.len = (uint32_t)size;
    if (c)
        c->reply(c, &header, body, length);
    tfs_in_flight_remove(&f->router->in_flight, header.unique);
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
    /* The thread that sent the request is done with it, before the reply is put where it was (uring.c). */
    pthread_mutex_lock(&f->sending);
    pthread_mutex_unlock(&f->sending);
    if ((size_t)size >= sizeof(struct fuse_out_header))
        forward_reply(f, leader->reply, (size_t)size);
    return 1;
}
