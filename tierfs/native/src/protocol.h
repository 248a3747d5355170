/* FUSE's messages (include/uapi/linux/fuse.h): the fields of a request, and the structures of replies. */
#ifndef TIERFS_PROTOCOL_H
#define TIERFS_PROTOCOL_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"

/* -------- what newer headers than ours may have */

#if FUSE_KERNEL_MINOR_VERSION < 39 /* Linux 6.6 */
enum { FUSE_STATX = 52 };

struct fuse_statx_in {
    uint32_t getattr_flags, reserved;
    uint64_t fh;
    uint32_t sx_flags, sx_mask;
};

struct fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t __reserved;
};

struct fuse_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, __spare0[1];
    uint64_t ino, size, blocks, attributes_mask;
    struct fuse_sx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t __spare2[14];
};

struct fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, flags;
    uint64_t spare[2];
    struct fuse_statx stat;
};
#endif

#if FUSE_KERNEL_MINOR_VERSION < 45 /* Linux 6.18 */
enum { FUSE_COPY_FILE_RANGE_64 = 53 }; /* as FUSE_COPY_FILE_RANGE, but that the reply has 64 bits */
#endif

_Static_assert(FUSE_STATX == 52 && FUSE_COPY_FILE_RANGE_64 == 53, "enum fuse_opcode");
_Static_assert(sizeof(struct fuse_statx_in) == 24, "struct fuse_statx_in");
_Static_assert(sizeof(struct fuse_sx_time) == 16, "struct fuse_sx_time");
_Static_assert(sizeof(struct fuse_statx) == 256 && offsetof(struct fuse_statx, atime) == 64, "struct fuse_statx");
_Static_assert(sizeof(struct fuse_statx_out) == 288 && offsetof(struct fuse_statx_out, stat) == 32,
               "struct fuse_statx_out");

/* -------- requests */

/* Whether the kernel waits for a reply to a request of this kind. */
bool tfs_has_reply(uint32_t opcode);
/* How long the body of a request is at least that begins with `fh`; 0: it does not begin so. */
size_t tfs_body_with_fh(uint32_t opcode);

enum { MOST_ARGUMENTS = 24 };

typedef enum {
    ARGUMENT_UNSIGNED,
    ARGUMENT_SIGNED,
    ARGUMENT_BYTES,  /* to be copied */
    ARGUMENT_DATA,   /* valid during the upcall alone */
    ARGUMENT_CALLER, /* user, group and thread that made the request */
    ARGUMENT_AGAIN,  /* whether the cache was filled, and missed all the same */
    ARGUMENT_WAIT,   /* whether the function may wait for a disk */
    ARGUMENT_OPEN,   /* a tuple begins, */
    ARGUMENT_CLOSE,  /* and ends */
} argument_kind;

typedef struct {
    argument_kind kind;
    uint64_t number;
    const uint8_t *bytes;
    size_t length;
} argument;

/* Of `format` each character stands for a field of the body:

     I Q q     a number of 32 bits, of 64, of 64 with a sign
     K         the cookie of a listing, without its stamp (listing.h)
     . :       4 or 8 bytes that do not matter
     S         a number of 32 bits: the length of the V or D that comes
     N         a name, or another string: not empty, and NUL behind it
     V D       bytes, as many as S said; D must be the rest of the message
     C A W ( )  no field: see argument_kind

   How many arguments there are; -1: the message is malformed. */
int tfs_parse_arguments(const char *format, const request *q, argument out[MOST_ARGUMENTS]);

/* -------- replies */

typedef struct {
    uint64_t ino, size, prefix, version;
    /* Nanoseconds since the epoch, those after 2262 wrapped around; btime 0: not known. */
    int64_t atime, mtime, ctime, btime;
    uint32_t mode, uid, gid, nlink, rdev;
    bool sparse; /* st_blocks is not known from the size: GETATTR is an upcall each time */
    bool adopted; /* others change the disk object: what is read from it is an upcall (tierfs/fs/shared.py) */
} attributes;

enum { COUNTED_VALID_S = 1 }; /* as tierfs/daemon/adapter.py: seconds for blocks that were counted in the objects */

struct fuse_entry_out tfs_entry_out(const attributes *row);
struct fuse_entry_out tfs_negative_entry_out(void);
struct fuse_attr_out tfs_attr_out(const attributes *row);
struct fuse_statx_out tfs_statx_out(const attributes *row);

enum { LISTING_DOTS = 2 }; /* cookies of . and .. (tierfs/fs/directory.py) */
/* Appends one fuse_direntplus record; its size, or 0 where there is no room. */
size_t tfs_append_direntplus(uint8_t *out, size_t room, const char *name, size_t length, uint64_t cookie, uint64_t ino,
                             uint32_t mode, const struct fuse_entry_out *entry);
/* Puts a count of changes into a cookie, of which some bits are used, and takes it out; see listing.h. */
uint64_t tfs_stamp_cookie(uint64_t cookie, uint64_t changes);
uint64_t tfs_unstamp_cookie(uint64_t stamped);

#endif
