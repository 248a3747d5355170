/* Attribution: which threads waited how long, in which directory and for what. Only while somebody watches, until
   when `until_ns` says: a watcher that dies needs no end of its own. Then each reply is added to the row of its
   thread, kind, tier and directory, until Python takes the rows. The memory goes with them. */
#ifndef TIERFS_ATTRIBUTION_H
#define TIERFS_ATTRIBUTION_H

#include "cache.h"
#include "channel.h"
#include "counters.h"

#include <pthread.h>

enum {
    ATTRIBUTION_SHARDS = 16, /* by thread: those of one process rarely meet in one */
    ATTRIBUTION_ROWS = 2048, /* of a shard; beyond three quarters files and directories are not told apart any more */
    ATTRIBUTION_CALLERS = 256,
    COMM_LENGTH = 16, /* TASK_COMM_LEN of Linux */
};

/* What a request waited for: the last of these that it needed. */
typedef enum {
    WAITED_MEMORY, /* the metadata cache */
    WAITED_INDEX,  /* Python, or SQLite */
    WAITED_FLASH,
    WAITED_DISK,
    WAITED_KINDS,
} waited_for;
extern const char *const tfs_waited_names[WAITED_KINDS];

typedef struct {
    uint32_t thread;  /* 0: of another PID namespace */
    uint32_t process; /* 0: of threads for which there was no room */
    uint32_t session; /* of setsid(2); 0: likewise, or not visible */
    char name[COMM_LENGTH]; /* of the process, from /proc; empty: it is gone, or not visible */
    uint8_t kind, tier;     /* request_kind, waited_for */
    uint64_t directory;     /* 0: not known, or no room */
    uint64_t file;          /* of READs from disk, and where the directory is not known; else 0 */
    uint64_t requests, bytes;
    uint64_t nanoseconds; /* from reading each request to its reply, added up */
    uint64_t waited;      /* nanoseconds in which the thread had any request: several at once count once */
    uint64_t began_ns, ended_ns; /* of the first request, and of the last reply */
} attribution_row;

/* A thread that makes requests. */
typedef struct {
    uint32_t thread, process, session;
    uint32_t round; /* of taking rows, in which it was looked up: a number may be given to another thread */
    char name[COMM_LENGTH];
    uint64_t until_ns; /* the end of its last request */
} attributed_thread;

typedef struct {
    pthread_mutex_t lock;
    attribution_row *rows; /* lock; NULL: none since they were taken */
    size_t used;           /* lock */
    uint32_t round;        /* lock; never 0 */
    attributed_thread *threads; /* lock; NULL likewise */
} attribution_shard;

typedef struct {
    _Atomic uint64_t until_ns;
    attribution_shard shards[ATTRIBUTION_SHARDS];
} attribution;

void tfs_attribution_init(attribution *a);
void tfs_attribution_free(attribution *a);
/* From now on for so long at least. */
void tfs_attribution_watch(attribution *a, uint64_t nanoseconds);
/* Takes what is attributed of a request as it is read, if somebody watches. */
void tfs_attribution_begin(const attribution *a, request *q);
/* It has its reply, `took` nanoseconds later. */
void tfs_attribute(attribution *a, cache *c, const request *q, request_kind kind, uint64_t took);
/* Moves the rows of a shard out, to be freed: ATTRIBUTION_ROWS, of which those without requests are empty.
   NULL: there are none. */
attribution_row *tfs_attribution_take(attribution *a, size_t shard);

#endif
