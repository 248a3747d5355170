/* The router: threads between /dev/fuse and Python.

     kernel -- /dev/fuse --+-- workers --+-- answered from the metadata cache (operations.c)
     kernel -- rings ------+   (dispatch.c)
                                         +-- a disk is needed: disk pool (disk.c)
                                         +-- Python is needed: an upcall (upcall.c), made by the worker itself, or
                                         |   by a thread of a pool where it has to wait
                                         +-- INIT, and what has no function: forwarded to pyfuse3 (forward.c)

   A request carries the channel that it came by; its reply goes there, from whichever thread. The first
   worker leads: it waits for the device and for pyfuse3. The others help while requests queue up, one of them
   beside a leader that is in an upcall; the last one stands by for when it is long in one. One more thread makes
   requests, as a client of our own (prefetch.h).

   Locks, none held while another is taken, but for the listings' while the cache's is, and forward's `sending`
   while others are: of the cache (cache_entries.h), the listings, the heat, the first reads, the shards of the attribution, the pools (pool.c), the read-ahead
   (disk.c), the queue of upcalls (dispatch.c), the forwarded requests and their queue (forward.c), `parking`
   (workers.c), the in-flight writes, the rings' queues (uring.c), and what is prefetched (prefetch.c,
   prefetch_window.c). */
#ifndef TIERFS_ROUTER_H
#define TIERFS_ROUTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include "attribution.h"
#include "cache.h"
#include "channel.h"
#include "counters.h"
#include "first_reads.h"
#include "heat.h"
#include "listing.h"
#include "pm_qos.h"
#include "pool.h"

enum {
    MOST_WORKERS = 16,
    MOST_DISK_THREADS = 256,
    MOST_IN_FLIGHT = 256, /* in-flight writes distinguished at a time; beyond them a GETATTR may overtake */
    REQUEST_HEADROOM = 4096, /* what may stand before the bytes of a WRITE */
    BUFFER_ALIGNMENT = 4096,
};

typedef struct {
    int directory;
    bool in_memory; /* tmpfs: a read never waits */
    _Atomic bool keeps_all; /* its filesystem knows no RWF_DONTCACHE */
} store;

typedef struct {
    uint64_t until_ns;
    struct fuse_statfs_out reply;
} cached_statfs;

/* The bytes of a worker's request that are not in its buffer, see splice.h. Used by the worker alone. */
typedef struct {
    int ends[2];       /* of the pipe; -1: there is none, */
    bool impossible;   /* nor can there be one */
    unsigned patience; /* requests that may still come before reading without the pipe again */
    size_t moved;      /* bytes that are in `file` already, from `offset` on; */
    size_t left;       /* and those behind them, in the pipe */
    int file;
    off_t offset;
} splice_pipe;

typedef struct router router;
typedef struct worker worker;

/* A thread that handles requests. What is not atomic it alone uses, once it runs. */
struct worker {
    pthread_t thread;
    router *router;
    uint8_t *request, *reply; /* `router->buffer` bytes each; a thread of a pool has no `request` */
    counters *counters;
    counters own;
    bool by_ring;                  /* its requests stay where they are until they have a reply */
    bool may_wait;                 /* for a disk: a thread of the pools for that */
    _Atomic unsigned busy_seq;     /* odd while a request is read and handled, see tfs_synchronize_workers() */
    _Atomic unsigned upcall_seq;   /* odd while it makes upcalls; another number for each */
    unsigned losses, pause, looks; /* see spin() */
    int cores;                     /* that it may run on, as far as is known */
    unsigned without_pause;        /* requests of the leader that were there at once, in a row; */
    unsigned upcall_seq_before;    /* `upcall_seq` when they were enough the last time */
    splice_pipe pipe;
};

/* Which files have in-flight writes, see coherence.h. */
typedef struct {
    pthread_mutex_t lock;
    struct {
        uint64_t unique, ino; /* lock; unique 0: free */
    } writes[MOST_IN_FLIGHT];
    _Atomic unsigned count; /* written under the lock */
} in_flight;

typedef struct disk disk;
typedef struct forward forward;
typedef struct prefetch prefetch;
typedef struct upcall_queue upcall_queue;
typedef struct upcalls upcalls;
typedef struct uring uring;

/* What has no lock named is set before the threads start, or belongs to what it points to. */
struct router {
    cache *cache;
    listing *listing;
    heat heat;
    first_reads first_reads;
    attribution attribution;
    store flash_store, disk_store; /* the directories of objects of both tiers */
    pthread_mutex_t statfs_lock;
    cached_statfs statfs; /* statfs_lock */
    upcalls *upcalls;     /* NULL: there are no functions */
    upcall_queue *upcall_queue;
    disk *disk;
    forward *forward;
    prefetch *prefetch;
    in_flight in_flight;
    uring *uring; /* NULL: the device alone */

    device_channel device;
    int socket; /* our end of pyfuse3's */
    int wake;   /* eventfd: the leader is to look up */
    int ended;  /* eventfd: the session is over */
    size_t buffer;
    uint64_t spin_ns;
    pm_qos pm_qos; /* of the leader alone, once started */
    _Atomic bool stopping;
    _Atomic bool no_open; /* the kernel can do without OPEN and OPENDIR; known from INIT on */
    bool started;         /* the lock of the Python object (module.c) */

    counters pool_counters;           /* of all threads of pools */
    worker workers[MOST_WORKERS + 1]; /* and the one that stands by */
    _Atomic unsigned worker_count;
    pthread_mutex_t parking;
    pthread_cond_t needed;
    unsigned parked, wanted;       /* parking: helpers asleep; helpers to be woken */
    _Atomic bool upcalls_queue_up; /* rather than cache hits: helpers serve only while the leader is in an upcall */
    _Atomic bool helper_waits;     /* at the device, for the leader that is in an upcall */
    pthread_cond_t watch;
    _Atomic bool watched; /* somebody looks whether the leader is long in an upcall */
};

/* What a handler did with a request. */
typedef enum {
    UPCALL,         /* nothing: only Python can reply */
    WAIT_DISK,      /* nothing: a READ needs the disk, and waiting was not allowed */
    REPLIED,        /* a reply, */
    FAILED_ENODATA, /* or one with an error */
    FAILED_ERANGE,
    FAILED_EINVAL,
} verdict;

static inline bool is_stopping(router *r) {
    return atomic_load_explicit(&r->stopping, memory_order_relaxed);
}

/* The leader is to look up: it may be waiting for less than there is to do. */
static inline void wake_leader(router *r) {
    eventfd_write(r->wake, 1); /* one that is full is readable all the same */
}

/* Tells who waits for the end of the session. */
static inline void end_session(router *r) {
    eventfd_write(r->ended, 1);
}

#endif
