/* What a program may see of a file's attributes beside a change of it: in-flight writes, and invalidation.

   In-flight writes. A change is in the metadata cache before its reply is written. In between the kernel does not
   take over a size that a GETATTR brings (FUSE_I_SIZE_UNSTABLE, fs/fuse/file.c): an answer from the cache would
   show one stat(2) the new size, and the next one the old. So a GETATTR of a file with an in-flight write becomes
   an upcall, and queues behind the write. One that was read before the write is answered with what was in the cache
   before it: the write waits for the other workers (tfs_synchronize_workers). Requests by the rings are in no
   order: there a stat(2) that runs beside a write may be ahead of the next one, as with every filesystem of several
   threads.

   Invalidation. Attributes are valid for a day. After SETXATTR, REMOVEXATTR, RENAME, a new or removed name (of its
   directory) and the write-back of a mapped page, the kernel only marks them as unknown (fuse_update_ctime,
   fuse_dir_changed, fuse_writepage_end). It may cache the reply to a GETATTR, LOOKUP or READDIRPLUS from before the
   change after that mark, when the thread that sent it gets a processor at last, and makes the old times valid
   again. Nobody here knows when a thread has done so.

   FUSE_NOTIFY_INVAL_INODE, of the attributes alone, is right in every order: it marks them too, but also draws a new
   number (fuse_inode.attr_version), and a reply whose request drew an older one is dropped
   (fuse_change_attributes_i, fs/fuse/inode.c). It is written after the commit is in the metadata cache and before
   the reply of the change. A request that drew its number before is dropped or was cached already, and then is
   marked; one that draws it later is answered with the new attributes. WRITE, SETATTR and the inode of an UNLINK draw a
   number by themselves, behind their reply; LINK's reply brings the inode's attributes.

   It need not be written where no reply had the attributes since the last one, nor where only the thread got them
   that makes the change: it cached that reply before it sent this request. So one program alone costs nothing. The
   thread that makes an inode is its first recipient, from the commit on: its reply has the attributes.
   The cache keeps that one *recipient*; what Python replies counts as received by unknown threads.

   The notification waits for nothing that needs us. The kernel looks for the inode, and only one that is being
   evicted would hold it up, until its pages are written. One with a name is evicted without a page; that it has a
   name the kernel believes until the reply of its UNLINK, which is made after this under the index's lock. An inode
   without a name is not invalidated: its times may stay behind. */
#ifndef TIERFS_COHERENCE_H
#define TIERFS_COHERENCE_H

#include "router.h"

/* The inode that a request changes. */
uint64_t tfs_changed_inode(const request *q);

void tfs_in_flight_add(in_flight *all, uint64_t unique, uint64_t ino);
/* The reply was written. */
void tfs_in_flight_remove(in_flight *all, uint64_t unique);
bool tfs_in_flight_has(in_flight *all, uint64_t ino);

/* A thread that changes something is done with the replies that it got before. */
void tfs_note_change(router *r, const request *q);
/* Before Python is called, which may reply with attributes: of a sparse file at once, of a file in general if it is
   called `again`. Noted afterwards, a change in between would see no recipient. */
void tfs_note_upcall(router *r, const request *q, bool again);
/* Invalidates the kernel's attributes of an inode. */
void tfs_invalidate_attributes(router *r, uint64_t ino);
/* The same, and whether the kernel knows the inode. It waits for the end of one that is being evicted. */
bool tfs_is_known(router *r, uint64_t ino);
/* The kernel looks a name up again; may wait for a request in its directory. */
void tfs_invalidate_name(router *r, uint64_t parent, const char *name, size_t length);
/* Has the kernel write its dirty pages of a range, and invalidates the range; waits for the WRITEs. */
void tfs_write_back(router *r, uint64_t ino, uint64_t offset, uint64_t length);

#endif
