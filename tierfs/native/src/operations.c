#include "operations.h"

#include "answers.h"
#include "newer.h"

#ifndef FUSE_ROOT_ID
#error "linux/fuse.h is needed"
#endif

static const operation operations[OPERATIONS] = {
    /* names */
    [FUSE_LOOKUP] = {"lookup", "NAW", REPLY_ENTRY, ANSWER_LOOKUP, .answer = tfs_answer_lookup},
    [FUSE_FORGET] = {"forget", "", REPLY_NONE, ANSWER_FORGET, .answer = tfs_answer_forget},
    [FUSE_BATCH_FORGET] = {.counted = ANSWER_FORGET, .answer = tfs_answer_batch_forget},
    [FUSE_MKNOD] = {"mknod", "III.NC", REPLY_ENTRY, ANSWER_MKNOD, .changes = true},
    [FUSE_MKDIR] = {"mkdir", "IINC", REPLY_ENTRY, ANSWER_MKDIR, .changes = true},
    [FUSE_SYMLINK] = {"symlink", "NNC", REPLY_ENTRY, ANSWER_SYMLINK, .changes = true},
    [FUSE_LINK] = {"link", "QN", REPLY_ENTRY, ANSWER_LINK, .changes = true},
    [FUSE_UNLINK] = {"unlink", "N", REPLY_DONE, ANSWER_UNLINK, .changes = true},
    [FUSE_RMDIR] = {"rmdir", "N", REPLY_DONE, ANSWER_RMDIR, .changes = true},
    [FUSE_RENAME] = {"rename", "QNNC", REPLY_DONE, ANSWER_RENAME, .changes = true},
    [FUSE_RENAME2] = {"rename2", "QI.NNC", REPLY_DONE, ANSWER_RENAME, .changes = true},
    [FUSE_TMPFILE] = {"tmpfile", "III.C", REPLY_CREATED, ANSWER_TMPFILE, .changes = true},
    [FUSE_READLINK] = {"readlink", "", REPLY_BYTES, ANSWER_READLINK},
    [FUSE_READDIRPLUS] = {"readdir", ":KI.:..A", REPLY_LISTING, ANSWER_READDIR, .answer = tfs_answer_listing},
    [FUSE_FSYNCDIR] = {"fsyncdir", ":I.W", REPLY_DONE, ANSWER_FSYNCDIR, POOL_TRIED},

    /* attributes */
    [FUSE_GETATTR] = {"getattr", "..:AW", REPLY_ATTRIBUTES, ANSWER_GETATTR, .answer = tfs_answer_getattr},
    [NEWER_STATX] = {"getattr", "..:..AW", REPLY_STATX, ANSWER_STATX, .answer = tfs_answer_statx},
    [FUSE_SETATTR] = {"setattr", "(I.:Q:qq:II.I.II).CW", REPLY_ATTRIBUTES, ANSWER_SETATTR,
                      .resizes = true, .changes = true},
    [FUSE_GETXATTR] = {"getxattr", "..N", REPLY_XATTR, ANSWER_GETXATTR, .answer = tfs_answer_xattr},
    [FUSE_LISTXATTR] = {"listxattr", "..C", REPLY_XATTR, ANSWER_LISTXATTR, .answer = tfs_answer_xattr},
    [FUSE_SETXATTR] = {"setxattr", "SINVC", REPLY_DONE, ANSWER_SETXATTR, .changes = true},
    [FUSE_REMOVEXATTR] = {"removexattr", "NC", REPLY_DONE, ANSWER_REMOVEXATTR, .changes = true},
    [FUSE_STATFS] = {"statfs", "", REPLY_STATFS, ANSWER_STATFS, POOL_SYNC, .answer = tfs_answer_statfs},

    /* bytes */
    [FUSE_READ] = {"read", ":QI.:..AW", REPLY_BYTES, ANSWER_READ, .answer = tfs_answer_read},
    [FUSE_WRITE] = {"write", ":QS.:..DW", REPLY_WRITTEN, ANSWER_WRITE, .resizes = true, .changes = true},
    [FUSE_FALLOCATE] = {"fallocate", ":QQI.W", REPLY_DONE, ANSWER_FALLOCATE, .resizes = true, .changes = true},
    /* Not in the pool for disks: it may wait for WRITEs (tfs_write_back), which that one answers. */
    [FUSE_LSEEK] = {"lseek", ":qI.W", REPLY_OFFSET, ANSWER_LSEEK, POOL_SYNC},
    [FUSE_COPY_FILE_RANGE] = {"copy_file_range", ":QQ:QQ:W", REPLY_WRITTEN, ANSWER_COPY_FILE_RANGE,
                              .resizes = true, .changes = true},
    [NEWER_COPY_FILE_RANGE_64] = {"copy_file_range_64", ":QQ:QQ:W", REPLY_OFFSET, ANSWER_COPY_FILE_RANGE,
                                  .resizes = true, .changes = true},
    [FUSE_RELEASE] = {.counted = ANSWER_RELEASE, .answer = tfs_answer_release},
    [FUSE_FSYNC] = {"fsync", ":I.W", REPLY_DONE, ANSWER_FSYNC, POOL_TRIED},

    /* what is refused: see answers.c */
    [FUSE_OPEN] = {.counted = ANSWER_OPEN, .answer = tfs_refuse_open},
    [FUSE_OPENDIR] = {.counted = ANSWER_OPEN, .answer = tfs_refuse_open},
    [FUSE_CREATE] = {.counted = ANSWER_OPEN, .answer = tfs_refuse_open},
    [FUSE_FLUSH] = {.counted = ANSWER_OPEN, .answer = tfs_refuse},
    [FUSE_IOCTL] = {.counted = ANSWER_OPEN, .answer = tfs_refuse},
    [FUSE_INTERRUPT] = {.counted = ANSWERS, .answer = tfs_ignore},
};

const operation *tfs_operation_of(uint32_t opcode) {
    const operation *found = opcode < OPERATIONS ? &operations[opcode] : NULL;
    return found && (found->answer || found->function) ? found : NULL;
}
