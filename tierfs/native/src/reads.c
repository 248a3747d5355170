/* READ, from the flash object below the prefix and from the disk object above it.

   Why a read is right that races with a change of the file, without any lock on the file:

   * A write of the same bytes: the kernel keeps a folio locked while a READ fills it (read_folio in
     Documentation/filesystems/vfs.rst), and until the end of a WRITE where it was not up to date and is written
     in part. Where it is written whole, or was up to date before, it is so before the WRITE is sent, and needs
     no READ (fuse_fill_write_pages in fs/fuse/file.c). So for cached I/O the two do not overlap. For O_DIRECT
     POSIX lets a read that overlaps a write return old, new or mixed bytes.
   * A move between the tiers (new prefix): the mover copies, syncs and commits; the cache gets the new
     prefix with a new version, and only then frees the source. Bytes were read before the version
     was checked again; if it is still the same then, nothing had been freed when they were read.
   * A truncation shrinks the size in the index and in the cache first, and the objects later: likewise.
   * A change of an adopted file by its owner: what is on disk is read by an upcall, which checks the object.
   * Unlinking: objects of a file that the kernel knows are not removed (lookup_counts.h).

   Whatever looks odd - an object missing or short, a version that changed - is not decided here: an upcall
   reads under the rules of tierfs/fs/reads.py and distinguishes damage from a race. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "reads.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12 */
#endif

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80 /* Linux 6.14 */
#endif

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5 */
#endif

enum {
    PATH_BYTES = 40,
    FILES_PER_DIRECTORY_BITS = 10, /* as tierfs/storage/layout.py */
};

int tfs_store_open(store *s, int directory) {
    struct statfs about;
    s->directory = fcntl(directory, F_DUPFD_CLOEXEC, 0);
    if (s->directory < 0 || fstatfs(s->directory, &about) < 0)
        return -1;
    s->in_memory = about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC;
    return 0;
}

static void object_path(char path[PATH_BYTES], uint64_t ino) {
    uint64_t group = ino >> FILES_PER_DIRECTORY_BITS;
    snprintf(path, PATH_BYTES, "%02x/%02x/%" PRIu64, (unsigned)(group >> 8 & 0xff),
             (unsigned)(group & 0xff), ino);
}

/* Below the directory, without a symbolic link on the way: as tierfs/common/beneath.py, to which an upcall leaves
   whatever fails here. So it never waits, neither for the other end of a FIFO
   nor for the holder of a lease (fcntl(2), F_SETLEASE). A kernel without openat2 fails as well. */
static int open_object(const store *s, uint64_t ino, bool wait) {
    char path[PATH_BYTES];
    object_path(path, ino);
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NOATIME | O_NONBLOCK,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | (wait || s->in_memory ? 0 : RESOLVE_CACHED),
    };
    int fd = (int)syscall(SYS_openat2, s->directory, path, &how, sizeof how);
    struct stat found;
    if (fd < 0 || (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

/* What was read from a device is kept by the kernel as pages of the mount: below them, it need not be
   kept a second time. Also not when it must not wait, since that begins to read it (filemap_get_pages).
   What read-ahead has read is not dropped by this, but by tfs_object_dontneed(). */
static int flags_of(store *s, bool wait) {
    if (s->in_memory)
        return 0;
    return (wait ? 0 : RWF_NOWAIT) | (atomic_load(&s->keeps_all) ? 0 : RWF_DONTCACHE);
}

/* Reads all of a range: READ_WAIT where a page is not in memory, READ_UPCALL where the file ends. */
static read_result read_range(store *s, int fd, uint8_t *out, size_t length, uint64_t offset, bool wait) {
    int flags = flags_of(s, wait);
    for (size_t done = 0; done < length;) {
        struct iovec part = {out + done, length - done};
        ssize_t n = preadv2(fd, &part, 1, (off_t)(offset + done), flags);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            return READ_UPCALL;
        } else if (errno == EOPNOTSUPP && flags & RWF_DONTCACHE) { /* a filesystem that does not know it */
            atomic_store(&s->keeps_all, true);
            flags &= ~RWF_DONTCACHE;
        } else if (errno != EINTR) {
            return flags & RWF_NOWAIT ? READ_WAIT : READ_UPCALL;
        }
    }
    return READ_DONE;
}

static read_result read_object(store *s, uint64_t ino, uint8_t *out, size_t length,
                               uint64_t offset, bool wait) {
    if (!length)
        return READ_DONE;
    int fd = open_object(s, ino, wait);
    if (fd < 0)
        return wait || (s->in_memory && errno != EAGAIN) ? READ_UPCALL : READ_WAIT;
    read_result result = read_range(s, fd, out, length, offset, wait);
    close(fd);
    return result;
}

static bool is_same(const placement *a, const placement *b) {
    return a->size == b->size && a->prefix == b->prefix && a->version == b->version;
}

/* How many of `size` bytes at `offset` lie inside the file. */
static size_t clip(const placement *file, uint64_t offset, size_t size) {
    if (offset >= file->size)
        return 0;
    return file->size - offset < size ? (size_t)(file->size - offset) : size;
}

read_result tfs_read_file(router *r, counters *c, uint64_t ino, const struct fuse_read_in *in, bool wait,
                      uint8_t *out, size_t *length, placement *file) {
    placement before, after;
    if (tfs_cache_placement(r->cache, ino, &before) != HIT)
        return READ_UPCALL;
    *length = clip(&before, in->offset, in->size);
    size_t flash = 0;
    if (in->offset < before.prefix)
        flash = before.prefix - in->offset < *length ? (size_t)(before.prefix - in->offset) : *length;
    if (before.adopted && *length > flash)
        return READ_UPCALL;
    read_result result = read_object(&r->flash_store, ino, out, flash, in->offset, wait);
    if (result == READ_DONE)
        result = read_object(&r->disk_store, ino, out + flash, *length - flash, in->offset + flash, wait);
    if (result != READ_DONE)
        return result;
    if (tfs_cache_placement(r->cache, ino, &after) != HIT || !is_same(&before, &after))
        return READ_UPCALL;
    *file = after;
    count(&c->flash_bytes, flash);
    count(&c->disk_bytes, *length - flash);
    return READ_DONE;
}

enum {
    LEAST_TAKEN = 128 * 1024,
    FIRST_PIECE = 64 * 1024, /* advised of by itself: who waits for it need not wait for the rest */
};

/* struct cachestat_range and struct cachestat of linux/mman.h */
typedef struct {
    uint64_t offset, length;
} cachestat_range;
typedef struct {
    uint64_t cache, dirty, writeback, evicted, recently_evicted;
} cachestat_pages;
_Static_assert(sizeof(cachestat_range) == 16 && sizeof(cachestat_pages) == 40, "cachestat(2)");

/* How many bytes of a range have pages, be they read or still to be; 0 where the kernel does not say. */
static uint64_t cached(int fd, uint64_t offset, uint64_t length) {
    cachestat_range range = {offset, length};
    cachestat_pages pages;
    if (syscall(SYS_cachestat, fd, &range, &pages, 0) < 0)
        return 0;
    return pages.cache * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Of one call the kernel takes no more than the device's read-ahead or largest request, and drops the rest
   (force_page_cache_ra, mm/readahead.c); 128 KiB is the least that is usual. What it takes is one
   request, for which a disk moves its head once: so it is advised of all, and reports how much it took. */
static uint64_t advise(int fd, uint64_t offset, uint64_t length) {
    posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
    uint64_t taken = cached(fd, offset, length);
    if (!taken)
        return length < LEAST_TAKEN ? length : LEAST_TAKEN;
    return taken;
}

void tfs_object_willneed(router *r, uint64_t ino, uint64_t offset, uint64_t length) {
    int fd = open_object(&r->disk_store, ino, true);
    if (fd < 0)
        return; /* the READ itself will fail */
    uint64_t end = offset + length;
    offset += advise(fd, offset, length < FIRST_PIECE ? length : FIRST_PIECE);
    while (offset < end)
        offset += advise(fd, offset, end - offset);
    close(fd);
}

void tfs_object_dontneed(router *r, uint64_t ino, uint64_t offset, uint64_t length) {
    int fd = open_object(&r->disk_store, ino, true);
    if (fd < 0)
        return;
    posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_DONTNEED);
    close(fd);
}
