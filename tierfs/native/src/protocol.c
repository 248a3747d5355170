#include "protocol.h"

#include <string.h>
#include <sys/stat.h>

enum {
    SECOND = 1000000000,
    VALID_S = 86400,      /* as tierfs/daemon/adapter.py: every change passes through the kernel */
    IO_SIZE = 128 * 1024, /* likewise: st_blksize */
    BLOCK = 4096,
    SECTORS_OF_BLOCK = 8,
    TYPE_SHIFT = 12,
};

/* ---------------------------------------------------------------- requests */

bool tfs_has_reply(uint32_t opcode) {
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
           opcode != FUSE_NOTIFY_REPLY;
}

size_t tfs_body_with_fh(uint32_t opcode) {
    switch (opcode) {
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        return sizeof(struct fuse_read_in);
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        return sizeof(struct fuse_fsync_in);
    case FUSE_WRITE:
        return sizeof(struct fuse_write_in);
    case FUSE_LSEEK:
        return sizeof(struct fuse_lseek_in);
    case FUSE_FALLOCATE:
        return sizeof(struct fuse_fallocate_in);
    default:
        return 0;
    }
}

typedef struct {
    const uint8_t *at, *end;
    size_t announced; /* by S */
} cursor;

static bool skip(cursor *c, size_t length) {
    if ((size_t)(c->end - c->at) < length)
        return false;
    c->at += length;
    return true;
}

static bool take_number(cursor *c, size_t size, uint64_t *number) {
    const uint8_t *from = c->at;
    *number = 0;
    if (!skip(c, size))
        return false;
    memcpy(number, from, size); /* little-endian, as every architecture that pyfuse3 is built for */
    return true;
}

static bool take_name(cursor *c, argument *into) {
    const uint8_t *end = memchr(c->at, 0, (size_t)(c->end - c->at));
    into->kind = ARGUMENT_BYTES;
    into->bytes = c->at;
    into->length = end ? (size_t)(end - c->at) : 0;
    return into->length && skip(c, into->length + 1);
}

static bool take_bytes(cursor *c, argument *into, argument_kind kind) {
    into->kind = kind;
    into->bytes = c->at;
    into->length = c->announced;
    return skip(c, c->announced) && (kind != ARGUMENT_DATA || c->at == c->end);
}

/* Into the argument, or past what is none; false: the message is too short. */
static bool take(cursor *c, char what, argument *into, bool *is_argument) {
    uint64_t length;
    *is_argument = what != '.' && what != ':' && what != 'S';
    switch (what) {
    case '.':
        return skip(c, sizeof(uint32_t));
    case ':':
        return skip(c, sizeof(uint64_t));
    case 'S':
        if (!take_number(c, sizeof(uint32_t), &length))
            return false;
        c->announced = (size_t)length;
        return true;
    case 'I':
        return take_number(c, sizeof(uint32_t), &into->number);
    case 'q':
        into->kind = ARGUMENT_SIGNED;
        return take_number(c, sizeof(uint64_t), &into->number);
    case 'Q':
        return take_number(c, sizeof(uint64_t), &into->number);
    case 'K':
        if (!take_number(c, sizeof(uint64_t), &into->number))
            return false;
        into->number = tfs_unstamp_cookie(into->number);
        return true;
    case 'N':
        return take_name(c, into);
    case 'V':
        return take_bytes(c, into, ARGUMENT_BYTES);
    case 'D':
        return take_bytes(c, into, ARGUMENT_DATA);
    case 'C':
        into->kind = ARGUMENT_CALLER;
        return true;
    case 'A':
        into->kind = ARGUMENT_AGAIN;
        return true;
    case 'W':
        into->kind = ARGUMENT_WAIT;
        return true;
    default:
        into->kind = what == '(' ? ARGUMENT_OPEN : ARGUMENT_CLOSE;
        return true;
    }
}

int tfs_parse_arguments(const char *format, const request *q, argument out[MOST_ARGUMENTS]) {
    cursor c = {q->body, q->body + q->length, 0};
    int count = 0;
    for (; *format && count < MOST_ARGUMENTS; format++) {
        bool is_argument;
        out[count] = (argument){.kind = ARGUMENT_UNSIGNED};
        if (!take(&c, *format, &out[count], &is_argument))
            return -1;
        count += is_argument;
    }
    return count;
}

/* ---------------------------------------------------------------- attributes */

static const int64_t EARLIEST = INT32_MIN; /* as tierfs/common/times.py: seconds */

/* Rounds down, as a time before 1970 needs it: nanoseconds are never negative (struct timespec). */
static uint64_t seconds_of(int64_t time, uint32_t *nanoseconds) {
    if (time < EARLIEST * SECOND) { /* none is kept before 1901: this one is after 2262 */
        *nanoseconds = (uint32_t)((uint64_t)time % SECOND);
        return (uint64_t)time / SECOND;
    }
    int64_t seconds = time / SECOND, rest = time % SECOND;
    *nanoseconds = (uint32_t)(rest < 0 ? rest + SECOND : rest);
    return (uint64_t)(rest < 0 ? seconds - 1 : seconds);
}

static uint64_t blocks_of(const attributes *row) {
    if (!S_ISREG(row->mode) && !S_ISDIR(row->mode))
        return 0;
    return (row->size / BLOCK + (row->size % BLOCK != 0)) * SECTORS_OF_BLOCK;
}

static struct fuse_attr attr_of(const attributes *row) {
    struct fuse_attr attr = {
        .ino = row->ino,
        .size = row->size,
        .blocks = blocks_of(row),
        .mode = row->mode,
        .nlink = row->nlink,
        .uid = row->uid,
        .gid = row->gid,
        .rdev = row->rdev,
        .blksize = IO_SIZE,
    };
    attr.atime = seconds_of(row->atime, &attr.atimensec);
    attr.mtime = seconds_of(row->mtime, &attr.mtimensec);
    attr.ctime = seconds_of(row->ctime, &attr.ctimensec);
    return attr;
}

struct fuse_entry_out tfs_entry_out(const attributes *row) {
    return (struct fuse_entry_out){
        .nodeid = row->ino,
        .entry_valid = VALID_S,
        .attr_valid = row->sparse ? 0 : VALID_S,
        .attr = attr_of(row),
    };
}

struct fuse_entry_out tfs_negative_entry_out(void) {
    return (struct fuse_entry_out){.entry_valid = VALID_S};
}

struct fuse_attr_out tfs_attr_out(const attributes *row) {
    return (struct fuse_attr_out){.attr_valid = row->sparse ? 0 : VALID_S, .attr = attr_of(row)};
}

static struct fuse_sx_time sx_time_of(int64_t time) {
    struct fuse_sx_time made = {0};
    made.tv_sec = (int64_t)seconds_of(time, &made.tv_nsec);
    return made;
}

struct fuse_statx_out tfs_statx_out(const attributes *row) {
    return (struct fuse_statx_out){
        .attr_valid = row->sparse ? 0 : VALID_S,
        .stat = {
            .mask = STATX_BASIC_STATS | (row->btime ? STATX_BTIME : 0),
            .blksize = IO_SIZE,
            .nlink = row->nlink,
            .uid = row->uid,
            .gid = row->gid,
            .mode = (uint16_t)row->mode,
            .ino = row->ino,
            .size = row->size,
            .blocks = blocks_of(row),
            .atime = sx_time_of(row->atime),
            .btime = sx_time_of(row->btime),
            .ctime = sx_time_of(row->ctime),
            .mtime = sx_time_of(row->mtime),
            /* as new_encode_dev() of the kernel has them in one number */
            .rdev_major = (row->rdev & 0xfff00) >> 8,
            .rdev_minor = (row->rdev & 0xff) | ((row->rdev >> 12) & 0xfff00),
        },
    };
}

/* ---------------------------------------------------------------- listings */

size_t tfs_append_direntplus(uint8_t *out, size_t room, const char *name, size_t length, uint64_t cookie, uint64_t ino,
                             uint32_t mode, const struct fuse_entry_out *entry) {
    struct fuse_direntplus *record = (struct fuse_direntplus *)(void *)out;
    size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
    if (size > room)
        return 0;
    memset(out, 0, size);
    record->entry_out = *entry;
    record->dirent.ino = ino;
    record->dirent.off = cookie;
    record->dirent.namelen = (uint32_t)length;
    record->dirent.type = mode >> TYPE_SHIFT & 0xf;
    memcpy(record->dirent.name, name, length);
    return size;
}

/* A cookie is 2^62 less a number that nothing ever reaches (tierfs/metadata/dentries.py): its upper bits are
   ones, and make room for a stamp. Others are of . and .. and stay as they are. */
static const unsigned STAMP_AT = 45, STAMPED_AT = 62;
static const uint64_t STAMP_MASK = (1 << 17) - 1;

uint64_t tfs_stamp_cookie(uint64_t cookie, uint64_t changes) {
    if (cookie >> STAMP_AT != STAMP_MASK)
        return cookie;
    return 1ULL << STAMPED_AT | (cookie ^ (STAMP_MASK ^ (changes & STAMP_MASK)) << STAMP_AT);
}

uint64_t tfs_unstamp_cookie(uint64_t cookie) {
    return cookie >> STAMPED_AT == 1 ? (cookie ^ 1ULL << STAMPED_AT) | STAMP_MASK << STAMP_AT : cookie;
}
