/* Whom the kernel has the attributes of an inode from, so that it is told where they are old.

   Attributes are valid for a day. After SETXATTR, REMOVEXATTR, RENAME, a new or removed name (of its
   directory) and a page of a mapping that was written, the kernel only marks them as unknown
   (fuse_update_ctime, fuse_dir_changed, fuse_writepage_end). A GETATTR, LOOKUP or READDIRPLUS that was
   answered before the change may be taken over after that mark, when its thread gets a processor at
   last, and makes the old times valid again. Nobody here knows when a thread takes over its reply.

   FUSE_NOTIFY_INVAL_INODE, of the attributes alone, is right in every order: it marks them too, but
   also draws a new number (fuse_inode.attr_version), and a reply whose request drew an older one is
   dropped (fuse_change_attributes_i, fs/fuse/inode.c). It is written after the commit is published and
   before the reply of the change. A request that drew its number before is dropped or was taken over
   already, and then is marked; one that draws it later is answered from what is published. WRITE, SETATTR and
   the victim of UNLINK draw a number by themselves, behind their reply; LINK's inode is told anew.

   It need not be written where nobody was told since the last one, nor where only the thread was told
   that makes the change: it took over its reply before it made this request. So one program alone
   costs nothing. What Python tells is not seen here, and counts as told to everybody, of all inodes.

   It waits for nothing that needs us. The kernel looks for the inode, and only one that is being evicted
   would hold it up, until its pages are written. One with a name is evicted without a page; that it
   has a name the kernel believes until the reply of its UNLINK, which is made after this under the
   index's lock. An inode without a name is not told of: its times may stay behind. */
#ifndef TIERFS_TELLING_H
#define TIERFS_TELLING_H

#include "router.h"

/* A change is about to be made, by a thread that has taken over what it was told before. */
void tfs_note_change(router *r, const request *q);
/* Python is about to tell attributes itself, which is not seen here. */
void tfs_note_unseen(router *r, const request *q);
/* The inode that a request changes. */
uint64_t tfs_changed_inode(const request *q);
/* Has the kernel write what it has of a range and nobody was told of, and forget the range; it waits for WRITEs
   that are answered meanwhile. */
void tfs_write_back(router *r, uint64_t ino, uint64_t offset, uint64_t length);
/* Writes the notification. */
void tfs_tell_kernel(router *r, uint64_t ino);

#endif
