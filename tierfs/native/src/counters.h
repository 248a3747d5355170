/* What was answered natively, and how fast. */
#ifndef TIERFS_COUNTERS_H
#define TIERFS_COUNTERS_H

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
    _Atomic uint64_t to_python, flash_bytes, disk_bytes, resent;
} counters;

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* `error` as of errno(3): 0, ENODATA, ERANGE or EINVAL. How many nanoseconds the request took. */
uint64_t tfs_count_request(counters *c, request_kind kind, int error, uint64_t started_ns);
void tfs_counters_add(counters *sum, counters *more);

#endif
