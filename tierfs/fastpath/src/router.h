/* The router: threads between /dev/fuse and pyfuse3.

     kernel -- device --+-- workers: answered from the table, or
                        |            passed on: peer (SOCK_SEQPACKET) --> pyfuse3
                        +<-- workers <-- replies and notifications <----- pyfuse3
                        +<-- disk threads: READs that must wait
     kernel -- rings ---+-- threads, one a core, where the kernel has io_uring (uring.h)

   The first worker leads: it alone waits, for the device and for the socket. The others help while
   requests queue up. A READ that must wait for a disk moves to a disk thread. One more thread makes
   requests, as a client of our own (prefetch.h).

   Locks, none held while another is taken, but for the queue's while sending: the table's (table.c),
   the heat's, the disk queue's (disk.c), the waiting READs' and the outgoing queue's (passing.c), the
   payloads' (payloads.c), `parking` (workers.c), those of the
   rings' queues (uring.c), of what is prefetched (prefetch.c, lookahead.c). */
#ifndef TIERFS_ROUTER_H
#define TIERFS_ROUTER_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "awake.h"
#include "changing.h"
#include "counters.h"
#include "listing.h"
#include "table.h"

enum {
    MOST_WORKERS = 16,
    MOST_DISK_THREADS = 256,
    REQUEST_HEADROOM = 4096, /* what may stand before the bytes of a WRITE */
};

/* In `fh`: a READ that wants the bytes, or a WRITE that carries a ticket (passing.c). */
#define FH_SPECIAL (1ULL << 63)

typedef struct {
    int directory;
    bool in_memory; /* tmpfs: a read never waits */
    _Atomic bool keeps_all; /* its filesystem knows no RWF_DONTCACHE */
} store;

typedef struct {
    uint64_t until_ns;
    struct fuse_statfs_out reply;
} published_statfs;

typedef struct router router;
typedef struct worker worker;

struct worker {
    pthread_t thread;
    router *router;
    uint8_t *request, *reply; /* `router->buffer` bytes each */
    counters counters;
    _Atomic unsigned turn;         /* odd while a request is read and dealt with, see await_others() */
    unsigned losses, pause, looks; /* see spin() */
    bool bound;
    unsigned without_pause; /* requests of the leader that were there at once, in a row */
    uint32_t client;   /* the thread that made the last request, */
    unsigned in_a_row; /* and how many more before it */
};

typedef struct calling calling;
typedef struct disk disk;
typedef struct passing passing;
typedef struct payloads payloads;
typedef struct prefetch prefetch;
typedef struct uring uring;

struct router {
    table *table;
    heat heat;
    store heads, objects;
    pthread_mutex_t statfs_lock;
    published_statfs statfs;
    calling *calling; /* NULL: nobody to call */
    disk *disk;
    passing *passing;
    payloads *payloads;
    prefetch *prefetch;
    listing *listing;
    changing changing;
    uring *uring; /* NULL: the device alone */

    int device;
    pthread_mutex_t telling; /* while a notification is written, and the device closed */
    int socket; /* our end */
    int wake;   /* eventfd: the leader is to look up */
    int ended;  /* eventfd: the connection is over */
    size_t buffer;
    uint64_t spin_ns;
    awake awake; /* of the leader, once started */
    _Atomic bool stopping;
    bool started;

    counters disk_counters; /* of all disk threads, and what is asked of Python */
    worker workers[MOST_WORKERS];
    _Atomic unsigned worker_count;
    pthread_mutex_t parking;
    pthread_cond_t needed;
    unsigned parked, wanted; /* helpers asleep; helpers asked for */
};

/* A request as it was read; `length` is that of the body, and was checked against the header. */
typedef struct {
    const struct fuse_in_header *header;
    const uint8_t *body;
    size_t length;
    uint64_t started_ns;
} request;

/* -------- device.c */

/* Writes a reply; false when the kernel no longer waits for it (ENOENT: interrupted). */
bool reply(router *r, uint64_t unique, const void *body, size_t length);
bool reply_error(router *r, uint64_t unique, int error);
/* Writes a message of pyfuse3 as it is. */
void reply_raw(router *r, const void *message, size_t length);
/* Reads a request into the worker's buffer: its size, 0 when there is none, -1 at the end. */
ssize_t next_request(worker *w);
void end_connection(router *r);

/* -------- requests.c */

/* Answers or passes on what is in the worker's buffer. */
void handle(worker *w, size_t size);

/* -------- reads.c */

typedef enum {
    READ_DONE, /* `length` bytes are there, of the `file` as it was all the while */
    READ_WAIT, /* a disk is needed, and waiting was not allowed */
    READ_ASK,  /* only Python knows */
} read_result;

read_result read_file(router *r, counters *c, uint64_t ino, const struct fuse_read_in *in, bool wait,
                      uint8_t *out, size_t *length, placement *file);
/* Asks the kernel to read a range of the disk object; may wait. */
void read_ahead(router *r, uint64_t ino, uint64_t offset, uint64_t length);
/* Asks it to drop a range of the disk object, which the kernel has as pages of the mount. */
void drop_behind(router *r, uint64_t ino, uint64_t offset, uint64_t length);
int store_open(store *s, int directory);

/* -------- disk.c */

/* NULL without memory. Threads are made as they are needed, up to `threads`. */
disk *disk_new(router *r, unsigned threads);
/* Ends the threads and drops what is queued. */
void disk_free(disk *d);
/* False without memory. */
bool disk_read(disk *d, const struct fuse_in_header *header, const struct fuse_read_in *in,
               uint64_t started_ns);
/* A READ of the file was served: starts the read-ahead that it makes worthwhile, and has dropped what was
   read ahead and is read now. */
void disk_anticipate(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length);

/* -------- passing.c */

/* NULL without memory or descriptors; *peer is pyfuse3's end. */
passing *passing_new(router *r, uint32_t max_write, int *peer);
void passing_free(passing *p);
/* Whether the kernel can do without OPEN and OPENDIR; known from INIT on. */
bool passing_no_open(const passing *p);
/* Passes a request on, or lets a function of Python answer it at once; its bytes may be changed. */
void pass_on(worker *w, struct fuse_in_header *header, uint8_t *body, size_t length);
/* Asks Python for a READ or READDIRPLUS: to publish what it needs and say ERESTART, or (`all`) for the
   reply itself. */
void ask_python(router *r, const struct fuse_in_header *header, const struct fuse_read_in *in, bool all);
/* An orphan lost its last reference. */
void pass_forget(router *r, uint64_t ino);
/* Deals with one message of pyfuse3: 1, 0 when there is none, -1 when pyfuse3 is gone. */
int take_reply(worker *leader);
/* Whether pyfuse3 owes a reply; whether messages for it are queued. */
bool passing_waits(const passing *p);
bool passing_has_queued(const passing *p);
void passing_flush(passing *p);

/* -------- requests.c: a READ or READDIRPLUS again, for which Python has published what was missing;
   where that does not help Python is asked for the reply itself, so that damage does not go round. */
void serve_again(worker *w, const struct fuse_in_header *header, const struct fuse_read_in *in,
                 uint64_t started_ns);

/* -------- workers.c */
int workers_start(router *r, unsigned count);
void workers_stop(router *r);
void wake_leader(router *r);
/* Waits until every request that was read before this worker's is answered or passed on. */
void await_others(worker *w);
/* Whether to spin this time; and what came of it, true: a request. */
bool may_spin(worker *w, uint64_t spin_ns);
void has_spun(worker *w, bool won);

#endif
