/* Readdirplus prefetch: a thread lists directories of our own mount, so that READDIRPLUS gives the kernel many names
   at a time, for which it would send a LOOKUP each (fuse_direntplus_link, fs/fuse/readdir.c).

   It goes by a copy of the mount that nobody else sees (open_tree(2)), which is there only while there
   is something to list: so nothing keeps the mount itself busy, and umount(2) succeeds at any time. While
   something else lies over the mountpoint nothing is listed. Directories are opened by number
   (open_by_handle_at(2)): a path could lead elsewhere, and cost requests. */
#ifndef TIERFS_PREFETCH_H
#define TIERFS_PREFETCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PREFETCH_THREAD "tierfs-prefetch" /* as top(1) shows it */

typedef struct prefetch prefetch;

/* NULL without memory. */
prefetch *tfs_prefetch_new(void);
/* Begins for the mount at `mountpoint`, of device number `device`, once. It uses the mount, and waits. -1
   and errno: not permitted (it takes CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH), too old a kernel, not our
   mount, stopped. */
int tfs_prefetch_start(prefetch *p, const char *mountpoint, dev_t device);
/* A LOOKUP found a name in the directory. */
void tfs_prefetch_note_lookup(prefetch *p, uint64_t directory);
/* The kernel forgets an inode. */
void tfs_prefetch_forget(prefetch *p, uint64_t ino);
/* How many names were prefetched. */
uint64_t tfs_prefetch_count(const prefetch *p);
/* Waits for the thread; when nobody serves the mount any longer its connection must be over. */
void tfs_prefetch_stop(prefetch *p);
void tfs_prefetch_free(prefetch *p);

#endif
