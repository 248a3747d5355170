#include "protocol.h"

#include <linux/fuse.h>

enum {
    BACKGROUND = 64, /* requests of read-ahead at a time; 12 unless told */
    PAGE = 4096,
};

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

void tfs_init_adapt(uint8_t *body, size_t length, uint32_t offered, uint32_t max_write) {
    struct fuse_init_out *out = (struct fuse_init_out *)(void *)body;
    if (length < offsetof(struct fuse_init_out, map_alignment))
        return;
    /* Without OPEN, O_TRUNC must come as SETATTR. The umask is the core's matter, since a default
       access list overrides it (acl(5)). The target of a symbolic link never changes.
       Behind an O_DIRECT write the kernel drops the pages that a read brought in meanwhile
       (kiocb_invalidate_post_direct_write), but not where it answers a write of libaio before that is
       made: so it is to make it first.
       With FUSE_HANDLE_KILLPRIV_V2 the kernel remembers that a file has neither set-user-ID nor security.capability
       (SB_NOSEC, process_init_reply in fs/fuse/inode.c), and does not ask before each write. Where it has, a SETATTR of
       no field precedes the write (fuse_setattr in fs/fuse/dir.c), by which the core takes the bits away. */
    static const uint32_t agreed =
        FUSE_DONT_MASK | FUSE_CACHE_SYMLINKS | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2;
    out->flags &= ~(uint32_t)(FUSE_ATOMIC_O_TRUNC | FUSE_ASYNC_DIO);
    out->flags |= offered & agreed;
    out->max_write = max_write;
    out->max_pages = (uint16_t)(max_write / PAGE);
    out->max_background = BACKGROUND;
    out->congestion_threshold = BACKGROUND / 4 * 3;
}
