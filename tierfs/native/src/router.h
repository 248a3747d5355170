/* The router: threads between /dev/fuse and Python.

     kernel -- /dev/fuse --+-- workers --+-- answered from the table (answers.c)
     kernel -- rings ------+   (dispatch.c)
                                         +-- a disk is needed: disk pool (disk.c)
                                         +-- Python is needed: a call of a function (upcall.c), made by the
                                         |   worker itself, or by a thread of a pool where it has to wait
                                         +-- INIT, and what no function is for: forwarded to pyfuse3 (forward.c)

   A request carries the channel that it came by; its reply goes there, from whichever thread. The first
   worker leads: it waits for the device and for pyfuse3. The others help while requests queue up, one of them
   beside a leader that is in a call; the last one stands by for when it is long in one. One more thread makes
   requests, as a client of our own (prefetch.h).

   Locks, none held while another is taken, but for the forwarding queue's while sending: the table's (table.c),
   the heat's, the pools' (pool.c), that of the read-ahead (disk.c), of the calls (dispatch.c), of the forwarded
   requests and their queue (forward.c), `parking` (workers.c), those of the rings' queues (uring.c), of what is
   prefetched (prefetch.c, lookahead.c). */
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
#include "channel.h"
#include "counters.h"
#include "listing.h"
#include "pool.h"
#include "table.h"

enum {
    MOST_WORKERS = 16,
    MOST_DISK_THREADS = 256,
    REQUEST_HEADROOM = 4096, /* what may stand before the bytes of a WRITE */
};

typedef struct {
    int directory;
    bool in_memory; /* tmpfs: a read never waits */
    _Atomic bool keeps_all; /* its filesystem knows no RWF_DONTCACHE */
} store;

typedef struct {
    uint64_t until_ns;
    struct fuse_statfs_out reply;
} published_statfs;

/* Where the bytes of a worker's request are that are not in its buffer, see piped.h. */
typedef struct {
    int ends[2];       /* of a pipe; -1: there is none, */
    bool impossible;   /* nor can there be one */
    unsigned patience; /* requests for which another large WRITE is waited for */
    size_t moved;      /* bytes that are in `file` already, from `offset` on; */
    size_t left;       /* and those behind them, in the pipe */
    int file;
    off_t offset;
} piped;

typedef struct router router;
typedef struct worker worker;

/* A thread that deals with requests. */
struct worker {
    pthread_t thread;
    router *router;
    uint8_t *request, *reply; /* `router->buffer` bytes each; a thread of a pool has no `request` */
    counters *counters;
    counters own;
    bool by_ring;     /* its requests stay where they are until they are answered */
    bool may_wait;    /* for a disk: a thread of the pools for that */
    _Atomic unsigned turn;         /* odd while a request is read and dealt with, see tfs_await_others() */
    _Atomic unsigned calls;        /* odd while it is in calls of Python; another number for each */
    unsigned losses, pause, looks; /* see spin() */
    bool bound;
    unsigned without_pause; /* requests of the leader that were there at once, in a row; */
    unsigned calls_before;  /* `calls` when they were enough the last time */
    piped piped;
};

typedef struct calls calls;
typedef struct disk disk;
typedef struct forward forward;
typedef struct prefetch prefetch;
typedef struct upcalls upcalls;
typedef struct uring uring;

struct router {
    table *table;
    heat heat;
    store heads, objects;
    pthread_mutex_t statfs_lock;
    published_statfs statfs; /* statfs_lock */
    upcalls *upcalls;        /* NULL: nobody to call */
    calls *calls;
    disk *disk;
    forward *forward;
    prefetch *prefetch;
    listing *listing;
    changing changing;
    uring *uring; /* NULL: the device alone */

    device_channel device;
    int socket; /* our end of pyfuse3's */
    int wake;   /* eventfd: the leader is to look up */
    int ended;  /* eventfd: the connection is over */
    size_t buffer;
    uint64_t spin_ns;
    awake awake; /* of the leader, once started */
    _Atomic bool stopping;
    _Atomic bool no_open; /* the kernel can do without OPEN and OPENDIR; known from INIT on */
    bool started;

    counters pool_counters; /* of all threads of pools */
    worker workers[MOST_WORKERS + 1]; /* and the one that stands by */
    _Atomic unsigned worker_count;
    pthread_mutex_t parking;
    pthread_cond_t needed;
    unsigned parked, wanted; /* parking: helpers asleep; helpers asked for */
    _Atomic bool calls_queue; /* what queues up is calls: helpers serve only while the leader is in one */
    _Atomic bool helper_waits; /* at the device, for the leader that is in a call */
    pthread_cond_t watch;
    _Atomic bool watched; /* the leader's calls are looked at */
};

/* What became of a request. */
typedef enum {
    ASK,       /* only Python knows */
    WAIT_DISK, /* of a READ: a disk is needed, and waiting was not allowed */
    DONE,      /* it was replied to, */
    FAILED,    /* with an error */
} verdict;

static inline bool is_stopping(router *r) {
    return atomic_load_explicit(&r->stopping, memory_order_relaxed);
}

/* -------- reads.c */

typedef enum {
    READ_DONE, /* `length` bytes are there, of the `file` as it was all the while */
    READ_WAIT, /* a disk is needed, and waiting was not allowed */
    READ_ASK,  /* only Python knows */
} read_result;

read_result tfs_read_file(router *r, counters *c, uint64_t ino, const struct fuse_read_in *in, bool wait,
                      uint8_t *out, size_t *length, placement *file);
/* Asks the kernel to read a range of the disk object; may wait. */
void tfs_read_ahead(router *r, uint64_t ino, uint64_t offset, uint64_t length);
/* Asks it to drop a range of the disk object, which the kernel has as pages of the mount. */
void tfs_drop_behind(router *r, uint64_t ino, uint64_t offset, uint64_t length);
int tfs_store_open(store *s, int directory);

/* -------- disk.c */

/* NULL without memory. The jobs of its pool get a worker that may wait. */
disk *tfs_disk_new(router *r, const pool_settings *pool);
/* Ends the threads; NULL is fine. */
void tfs_disk_stop(disk *d);
/* And drops what is queued. */
void tfs_disk_free(disk *d);
/* Has `j` run by a thread of the disk pool, which is to call tfs_disk_serve(); false without memory. */
bool tfs_disk_add(disk *d, job *j, uint64_t ino);
/* A READ, waiting for the disk: DONE or ASK. */
verdict tfs_disk_serve(disk *d, worker *w, const request *q);
/* A READ of the file was served: starts the read-ahead that it makes worthwhile, and has dropped what was
   read ahead and is read now. */
void tfs_disk_anticipate(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length);

/* -------- workers.c */
int tfs_workers_start(router *r, unsigned count);
void tfs_workers_stop(router *r);

#endif
