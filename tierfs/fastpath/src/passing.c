/* Requests to pyfuse3 and its replies back: the same messages as on /dev/fuse, one a packet, but that

   * `fh` holds the inode number: the kernel, which opens nothing, sends 0;
   * a WRITE of more than INLINE_WRITE bytes carries, instead of its bytes, their ticket (8 bytes), and
     has FH_SPECIAL set in `fh`; the reply tells of the true length;
   * a READ is to publish the file and be answered ERESTART: then it is tried again here. With
     FH_SPECIAL in `fh` it is to be answered with the bytes, CHUNK at a time;
   * a READDIRPLUS likewise: it is to publish what it lists;
   * INIT's reply is adapted to what the router does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calling.h"
#include "hashing.h"
#include "payloads.h"
#include "protocol.h"
#include "telling.h"
#include "uring.h"

/* Messages beyond 64 KiB need contiguous kernel memory (unix_dgram_sendmsg), and may fail. */
enum {
    CHUNK = 64 * 1024,
    INLINE_WRITE = 4096,
    SOCKET_BUFFER = 4 * 1024 * 1024,
    MOST_ERROR = 512, /* what the kernel takes no error beyond (fuse_dev_do_write) */
};

typedef struct message message;
struct message {
    STAILQ_ENTRY(message) next;
    size_t length;
    uint8_t bytes[];
};

/* A READ or READDIRPLUS that pyfuse3 was asked for. */
typedef struct {
    node node;
    struct fuse_in_header header;
    struct fuse_read_in in;
    uint64_t asked_ns;
    bool all;
    uint32_t got;
    uint8_t *bytes; /* what came so far */
} waiting;

struct passing {
    router *router;

    pthread_mutex_t sending, reading;
    STAILQ_HEAD(, message) queue;
    _Atomic size_t queued;
    hashing reads;
    _Atomic int64_t owed; /* replies that pyfuse3 owes */
    _Atomic uint64_t init;
    uint32_t max_write, offered, offered2;
    _Atomic bool no_open;
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

passing *passing_new(router *r, uint32_t max_write, int *peer) {
    int ends[2];
    passing *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->router = r;
    p->max_write = max_write;
    STAILQ_INIT(&p->queue);
    pthread_mutex_init(&p->sending, NULL);
    pthread_mutex_init(&p->reading, NULL);
    if (hashing_init(&p->reads) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        passing_free(p);
        return NULL;
    }
    if (widen(ends[0]) < 0 || widen(ends[1]) < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        passing_free(p);
        errno = error;
        return NULL;
    }
    r->socket = ends[0];
    *peer = ends[1];
    return p;
}

static void free_read(waiting *gone) {
    free(gone->bytes);
    free(gone);
}

static waiting *take_waiting(passing *p, uint64_t unique) {
    pthread_mutex_lock(&p->reading);
    node *each = p->reads.count ? hashing_first(&p->reads, hash_number(unique)) : NULL;
    while (each && ((waiting *)each)->header.unique != unique)
        each = each->chain;
    if (each)
        hashing_remove(&p->reads, each);
    pthread_mutex_unlock(&p->reading);
    return (waiting *)each;
}

void passing_free(passing *p) {
    if (!p)
        return;
    for (message *m; (m = STAILQ_FIRST(&p->queue)); free(m))
        STAILQ_REMOVE_HEAD(&p->queue, next);
    for (size_t i = 0; p->reads.buckets && i <= p->reads.mask; i++)
        for (waiting *w; (w = (waiting *)p->reads.buckets[i]); free_read(w))
            hashing_remove(&p->reads, &w->node);
    hashing_free(&p->reads);
    pthread_mutex_destroy(&p->sending);
    pthread_mutex_destroy(&p->reading);
    free(p);
}

bool passing_no_open(const passing *p) {
    return atomic_load(&p->no_open);
}

bool passing_waits(const passing *p) {
    return atomic_load_explicit(&p->owed, memory_order_relaxed) > 0;
}

bool passing_has_queued(const passing *p) {
    return atomic_load(&p->queued) > 0;
}

/* ---------------------------------------------------------------- to pyfuse3 */

/* A request cannot be given to pyfuse3. */
static void give_up(passing *p, uint32_t opcode, uint64_t unique) {
    if (!has_reply(opcode))
        return;
    waiting *read = take_waiting(p, unique);
    if (read)
        free_read(read);
    atomic_fetch_sub(&p->owed, 1);
    reply_error(p->router, unique, ENOMEM);
    changing_remove(&p->router->changing, unique);
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
static sent send_or_queue(passing *p, const struct iovec *parts, size_t count) {
    pthread_mutex_lock(&p->sending);
    sent result = STAILQ_EMPTY(&p->queue) ? try_sending(p->router, parts, count) : FULL;
    if (result == FULL) {
        message *queued = joined(parts, count);
        if (queued) {
            STAILQ_INSERT_TAIL(&p->queue, queued, next);
            atomic_fetch_add(&p->queued, 1);
        }
        result = queued ? SENT : REFUSED;
    }
    pthread_mutex_unlock(&p->sending);
    if (passing_has_queued(p))
        wake_leader(p->router); /* to wait for room in the socket as well */
    return result;
}

void passing_flush(passing *p) {
    pthread_mutex_lock(&p->sending);
    for (message *first; (first = STAILQ_FIRST(&p->queue)); free(first)) {
        struct iovec part = {first->bytes, first->length};
        sent result = try_sending(p->router, &part, 1);
        if (result == FULL)
            break;
        STAILQ_REMOVE_HEAD(&p->queue, next);
        atomic_fetch_sub(&p->queued, 1);
        if (result == REFUSED) {
            struct fuse_in_header header;
            memcpy(&header, first->bytes, sizeof header);
            give_up(p, header.opcode, header.unique);
        }
    }
    pthread_mutex_unlock(&p->sending);
}

static void send_request(passing *p, struct fuse_in_header *header, const void *body, size_t length) {
    header->len = (uint32_t)(sizeof *header + length);
    struct iovec parts[] = {{header, sizeof *header}, {(void *)(uintptr_t)body, length}};
    /* Before the reply can come. */
    if (has_reply(header->opcode))
        atomic_fetch_add(&p->owed, 1);
    if (send_or_queue(p, parts, 2) == REFUSED)
        give_up(p, header->opcode, header->unique);
}

static void note_init(passing *p, const struct fuse_in_header *header, const uint8_t *body,
                      size_t length) {
    struct fuse_init_in in = {0};
    memcpy(&in, body, length < sizeof in ? length : sizeof in);
    p->offered = in.flags;
    p->offered2 = in.flags & FUSE_INIT_EXT ? in.flags2 : 0;
    atomic_store(&p->no_open, (in.flags & FUSE_NO_OPEN_SUPPORT) && (in.flags & FUSE_NO_OPENDIR_SUPPORT));
    atomic_store(&p->init, header->unique);
}

/* True: the bytes stay here. */
static bool pass_write(passing *p, struct fuse_in_header *header, const uint8_t *body, size_t length) {
    struct {
        struct fuse_write_in in;
        uint64_t ticket;
    } small;
    memcpy(&small.in, body, sizeof small.in);
    size_t bytes = length - sizeof small.in;
    if (bytes <= INLINE_WRITE || small.in.size != bytes)
        return false;
    small.ticket = payloads_put(p->router->payloads, body + sizeof small.in, bytes);
    if (!small.ticket) { /* there is less memory yet for so large a message */
        reply_error(p->router, header->unique, ENOMEM);
        return true;
    }
    small.in.fh = header->nodeid | FH_SPECIAL;
    small.in.size = sizeof small.ticket;
    send_request(p, header, &small, sizeof small);
    return true;
}

static void send_on(passing *p, struct fuse_in_header *header, uint8_t *body, size_t length) {
    size_t least = body_with_fh(header->opcode);
    if (least && length >= least) {
        memcpy(body, &header->nodeid, sizeof header->nodeid);
        if (header->opcode == FUSE_WRITE && pass_write(p, header, body, length))
            return;
        struct fuse_read_in *list = (struct fuse_read_in *)(void *)body;
        if (header->opcode == FUSE_READDIR && list->size > CHUNK)
            list->size = CHUNK; /* a short listing is followed by the next one */
    }
    send_request(p, header, body, length);
}

void pass_on(worker *w, struct fuse_in_header *header, uint8_t *body, size_t length) {
    router *r = w->router;
    if (header->opcode == FUSE_INIT)
        note_init(r->passing, header, body, length);
    if (header->opcode == FUSE_WRITE || header->opcode == FUSE_SETATTR) {
        changing_add(&r->changing, header->unique, header->nodeid);
        await_others(w);
    }
    note_passed(r, header, body, length);
    if (calling_answers(r->calling, w, header, body, length))
        return;
    count(&w->counters.passed_on, 1);
    send_on(r->passing, header, body, length);
}

void pass_forget(router *r, uint64_t ino) {
    struct fuse_in_header header = {.opcode = FUSE_FORGET, .nodeid = ino};
    struct fuse_forget_in body = {.nlookup = 1};
    send_request(r->passing, &header, &body, sizeof body);
}

/* ---------------------------------------------------------------- READs and listings that pyfuse3 is asked for */

static void ask(passing *p, const waiting *w) {
    struct fuse_in_header header = w->header;
    struct fuse_read_in in = w->in;
    in.fh = header.nodeid | (w->all ? FH_SPECIAL : 0);
    in.offset += w->got;
    in.size = in.size - w->got < CHUNK ? in.size - w->got : CHUNK;
    send_request(p, &header, &in, sizeof in);
}

void ask_python(router *r, const struct fuse_in_header *header, const struct fuse_read_in *in, bool all) {
    passing *p = r->passing;
    waiting *added = malloc(sizeof *added);
    uint8_t *bytes = added ? malloc(in->size ? in->size : 1) : NULL;
    count(&r->disk_counters.passed_on, 1);
    if (!bytes) {
        free(added);
        reply_error(r, header->unique, ENOMEM);
        return;
    }
    *added = (waiting){.node.hash = hash_number(header->unique), .header = *header, .in = *in,
                            .asked_ns = now_ns(), .all = all, .bytes = bytes};
    waiting copy = *added; /* `added` may be answered and gone at any time from here on */
    pthread_mutex_lock(&p->reading);
    hashing_add(&p->reads, &added->node);
    pthread_mutex_unlock(&p->reading);
    note_passed(r, header, NULL, 0);
    ask(p, &copy);
}

static void keep_waiting(passing *p, waiting *w) {
    waiting copy = *w;
    pthread_mutex_lock(&p->reading);
    hashing_add(&p->reads, &w->node);
    pthread_mutex_unlock(&p->reading);
    ask(p, &copy);
}

static void returned(worker *leader, waiting *w, const struct fuse_out_header *header,
                     uint8_t *bytes, size_t length) {
    router *r = leader->router;
    if (header->error == -ERESTART && !w->all) {
        serve_again(leader, &w->header, &w->in, w->asked_ns);
    } else if (!header->error && w->header.opcode == FUSE_READDIRPLUS) {
        listing_stamp(r->listing, bytes, length);
        reply(r, w->header.unique, bytes, length);
    } else if (header->error) {
        bool known = header->error < 0 && header->error > -MOST_ERROR;
        reply_error(r, w->header.unique, known ? -header->error : EIO);
    } else {
        uint32_t wanted = w->in.size - w->got < CHUNK ? w->in.size - w->got : CHUNK;
        uint32_t came = length < wanted ? (uint32_t)length : wanted;
        memcpy(w->bytes + w->got, bytes, came);
        w->got += came;
        if (came == wanted && w->got < w->in.size) {
            keep_waiting(r->passing, w);
            return;
        }
        reply(r, w->header.unique, w->bytes, w->got);
    }
    free_read(w);
}

/* ---------------------------------------------------------------- from pyfuse3 */

static void forward(worker *leader, uint8_t *message, size_t size) {
    passing *p = leader->router->passing;
    const struct fuse_out_header *header = (const void *)message;
    uint8_t *body = message + sizeof *header;
    size_t length = size - sizeof *header;
    bool by_rings = false;
    if (header->unique) {
        atomic_fetch_sub(&p->owed, 1);
        waiting *w = take_waiting(p, header->unique);
        if (w) {
            returned(leader, w, header, body, length);
            return;
        }
        if (header->unique == atomic_load(&p->init) && !header->error) {
            atomic_store(&p->init, 0);
            init_adapt(body, length, p->offered, p->max_write);
            by_rings = length >= sizeof(struct fuse_init_out) &&
                       uring_agree(p->router->uring, p->offered2, (void *)body);
        }
    }
    reply_raw(leader->router, message, size);
    changing_remove(&leader->router->changing, header->unique);
    if (by_rings)
        uring_begin(p->router->uring);
}

int take_reply(worker *leader) {
    router *r = leader->router;
    ssize_t size;
    do
        size = recv(r->socket, leader->reply, r->buffer, MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return size < 0 && errno == EAGAIN ? 0 : -1;
    /* Whoever sent the request is done with it, before the reply is put where it was (uring.c). */
    pthread_mutex_lock(&r->passing->sending);
    pthread_mutex_unlock(&r->passing->sending);
    if ((size_t)size >= sizeof(struct fuse_out_header))
        forward(leader, leader->reply, (size_t)size);
    return 1;
}
