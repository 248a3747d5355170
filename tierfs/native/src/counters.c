#include "counters.h"

#include <errno.h>

const char *const tfs_request_names[REQUEST_KINDS] = {
    "lookup",  "forget",   "getattr", "getxattr", "listxattr",   "open",  "read",  "readdir",
    "statfs",  "mknod",    "mkdir",   "symlink",  "link",        "unlink", "rmdir", "rename",
    "readlink", "setattr", "setxattr", "removexattr", "write", "fsync", "fsyncdir",
    "statx", "fallocate", "lseek", "copy_file_range", "tmpfile", "release",
};

/* As tierfs/common/metrics.py has them: LATENCY_BUCKETS, in seconds. */
const double tfs_bucket_bounds[BUCKETS] = {
    25e-6, 50e-6, 1e-4, 25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0,
};

static size_t bucket_of(uint64_t nanoseconds) {
    double seconds = (double)nanoseconds * 1e-9;
    size_t bucket = 0;
    while (bucket < BUCKETS && seconds > tfs_bucket_bounds[bucket])
        bucket++;
    return bucket;
}

static _Atomic uint64_t *result_of(counters *c, request_kind kind, int error) {
    switch (error) {
    case 0:
        return &c->answered[kind].ok;
    case ENODATA:
        return &c->answered[kind].enodata;
    case ERANGE:
        return &c->answered[kind].erange;
    default:
        return &c->answered[kind].einval;
    }
}

uint64_t tfs_count_request(counters *c, request_kind kind, int error, uint64_t started_ns) {
    uint64_t took = now_ns() - started_ns;
    count(result_of(c, kind, error), 1);
    count(&c->answered[kind].nanoseconds, took);
    count(&c->answered[kind].buckets[bucket_of(took)], 1);
    return took;
}

static void add(_Atomic uint64_t *sum, _Atomic uint64_t *more) {
    count(sum, atomic_load_explicit(more, memory_order_relaxed));
}

void tfs_counters_add(counters *sum, counters *more) {
    for (size_t kind = 0; kind < REQUEST_KINDS; kind++) {
        add(&sum->answered[kind].ok, &more->answered[kind].ok);
        add(&sum->answered[kind].enodata, &more->answered[kind].enodata);
        add(&sum->answered[kind].erange, &more->answered[kind].erange);
        add(&sum->answered[kind].einval, &more->answered[kind].einval);
        add(&sum->answered[kind].nanoseconds, &more->answered[kind].nanoseconds);
        for (size_t i = 0; i <= BUCKETS; i++)
            add(&sum->answered[kind].buckets[i], &more->answered[kind].buckets[i]);
    }
    add(&sum->to_python, &more->to_python);
    add(&sum->flash_bytes, &more->flash_bytes);
    add(&sum->disk_bytes, &more->disk_bytes);
    add(&sum->resent, &more->resent);
}
