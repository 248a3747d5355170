/* What include/uapi/linux/fuse.h has since 7.39 and 7.45 (Linux 6.6 and 6.18), and ours here may not yet. */
#ifndef TIERFS_NEWER_H
#define TIERFS_NEWER_H

#include <stdint.h>

enum {
    NEWER_STATX = 52,
    NEWER_COPY_FILE_RANGE_64 = 53, /* as FUSE_COPY_FILE_RANGE, but that the reply has 64 bits */
};

struct newer_statx_in {
    uint32_t getattr_flags, reserved;
    uint64_t fh;
    uint32_t sx_flags, sx_mask;
};

struct newer_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t reserved;
};

struct newer_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct newer_sx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare2[14];
};

struct newer_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, flags;
    uint64_t spare[2];
    struct newer_statx stat;
};

_Static_assert(sizeof(struct newer_statx_in) == 24, "struct fuse_statx_in");
_Static_assert(sizeof(struct newer_statx) == 256, "struct fuse_statx");
_Static_assert(sizeof(struct newer_statx_out) == 288, "struct fuse_statx_out");

#endif
