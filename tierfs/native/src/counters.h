/* What was answered natively, how fast, and which files were read. */
#ifndef TIERFS_COUNTERS_H
#define TIERFS_COUNTERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef enum {
    REQUEST_LOOKUP,
    REQUEST_FORGET,
    REQUEST_GETATTR,
    REQUEST_GETXATTR,
    REQUEST_LISTXATTR,
    REQUEST_OPEN, /* OPEN, OPENDIR, CREATE and FLUSH, each refused once, and IOCTL, each refused */
    REQUEST_READ,
    REQUEST_READDIR,
    REQUEST_STATFS,
    /* by functions of Python, see operations.c */
    REQUEST_MKNOD,
    REQUEST_MKDIR,
    REQUEST_SYMLINK,
    REQUEST_LINK,
    REQUEST_UNLINK,
    REQUEST_RMDIR,
    REQUEST_RENAME,
    REQUEST_READLINK,
    REQUEST_SETATTR,
    REQUEST_SETXATTR,
    REQUEST_REMOVEXATTR,
    REQUEST_WRITE,
    REQUEST_FSYNC,
    REQUEST_FSYNCDIR,
    REQUEST_STATX,
    REQUEST_FALLOCATE,
    REQUEST_LSEEK,
    REQUEST_COPY_FILE_RANGE,
    REQUEST_TMPFILE,
    REQUEST_RELEASE,
    REQUEST_KINDS,
} request_kind;

enum { BUCKETS = 14 };
extern const char *const tfs_request_names[REQUEST_KINDS];
extern const double tfs_bucket_bounds[BUCKETS];

/* One for each thread: added to by it alone, read by others at any time. */
typedef struct {
    struct {
        _Atomic uint64_t ok, enodata, erange, einval, nanoseconds, buckets[BUCKETS + 1];
    } answered[REQUEST_KINDS];
    _Atomic uint64_t to_python, flash_bytes, disk_bytes;
} counters;

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* `error` as of errno(3): 0, ENODATA, ERANGE or EINVAL. */
void tfs_count_request(counters *c, request_kind kind, int error, uint64_t started_ns);
void tfs_counters_add(counters *sum, counters *more);

/* -------- heat: reads and bytes by inode, until Python takes them */

enum { HEAT_ROWS = 1 << 16 };

typedef struct {
    uint64_t ino, reads, bytes;
} heat_row;

typedef struct {
    pthread_mutex_t lock;
    heat_row *rows;    /* lock */
    size_t used, next; /* lock */
    uint64_t lost;     /* lock */
} heat;

int tfs_heat_init(heat *h);
void tfs_heat_free(heat *h);
void tfs_heat_add(heat *h, uint64_t ino, uint64_t bytes);
/* Moves up to `limit` rows out; how many. */
size_t tfs_heat_take(heat *h, heat_row *out, size_t limit);
uint64_t tfs_heat_lost(heat *h);

#endif
