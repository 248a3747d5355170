#include "prefetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "descriptors.h"
#include "pool.h"
#include "prefetch_window.h"

enum {
    MOST_QUEUED = 64,      /* directories that wait; those beyond are put off */
    LINGER_NS = 5000000,   /* for which the copy is kept, as the next step may come soon */
    MOST_STEPS = 256,      /* after which it is given back all the same: somebody may have unmounted */
    BYTES_OF_NAME = 192,   /* struct fuse_direntplus and a name of up to 40 bytes */
    INO64_GEN = 0x81,      /* FILEID_INO64_GEN (include/linux/exportfs.h), fuse_encode_fh() */
    SECOND = 1000000000,
};

struct prefetch {
    prefetch_windows windows;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t queue[MOST_QUEUED]; /* lock: `waiting` from `first` on */
    size_t first, waiting;       /* lock */
    char *mountpoint;            /* set before the thread starts, as is `device` */
    dev_t device;
    pthread_t thread;            /* lock */
    bool stopping;               /* lock */
    _Atomic bool active;
    _Atomic uint64_t names;
};

prefetch *tfs_prefetch_new(void) {
    prefetch *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    tfs_prefetch_window_init(&p->windows);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &clock);
    pthread_condattr_destroy(&clock);
    return p;
}

/* ---------------------------------------------------------------- the queue */

static void enqueue(prefetch *p, uint64_t directory) {
    pthread_mutex_lock(&p->lock);
    bool room = p->waiting < MOST_QUEUED;
    if (room) {
        p->queue[(p->first + p->waiting++) % MOST_QUEUED] = directory;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    if (!room)
        tfs_prefetch_window_put_off(&p->windows, directory);
}

static bool is_active(const prefetch *p) {
    return atomic_load_explicit(&p->active, memory_order_relaxed);
}

void tfs_prefetch_note_lookup(prefetch *p, uint64_t directory) {
    if (is_active(p) && tfs_prefetch_window_count(&p->windows, directory))
        enqueue(p, directory);
}

void tfs_prefetch_forget(prefetch *p, uint64_t ino) {
    if (is_active(p))
        tfs_prefetch_window_forget(&p->windows, ino);
}

static struct timespec soon(void) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LINGER_NS;
    until.tv_sec += until.tv_nsec / SECOND;
    until.tv_nsec %= SECOND;
    return until;
}

/* The next directory; 0: the end, or, unless `patient`, none for a while. */
static uint64_t next_queued(prefetch *p, bool patient) {
    struct timespec until = soon();
    uint64_t directory = 0;
    int late = 0;
    pthread_mutex_lock(&p->lock);
    while (!p->waiting && !p->stopping && !late)
        late = patient ? pthread_cond_wait(&p->changed, &p->lock)
                       : pthread_cond_timedwait(&p->changed, &p->lock, &until);
    if (p->waiting && !p->stopping) {
        directory = p->queue[p->first];
        p->first = (p->first + 1) % MOST_QUEUED;
        p->waiting--;
    }
    pthread_mutex_unlock(&p->lock);
    return directory;
}

/* ---------------------------------------------------------------- listing */

static bool is_ours(int tree, dev_t device) {
    struct statx about;
    return !statx(tree, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &about) &&
           makedev(about.stx_dev_major, about.stx_dev_minor) == device;
}

/* The root of a copy of the mount, which is there until this is closed; -1 and errno. */
static int copy_mount(const prefetch *p) {
    int root = -1, error = ENOENT;
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, p->mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return -1;
    if (is_ours(tree, p->device)) {
        root = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        error = errno;
    }
    close(tree);
    errno = error;
    return root;
}

/* What name_to_handle_at(2) gives of an inode of FUSE (fuse_encode_fh): its number in two halves, and a
   generation, which is 0, as numbers are never used again. */
typedef struct {
    struct file_handle handle;
    uint32_t numbers[3];
} inode_handle;
_Static_assert(offsetof(inode_handle, numbers) == offsetof(struct file_handle, f_handle), "struct file_handle");

static int open_number(int root, uint64_t ino) {
    inode_handle whole = {
        .handle = {.handle_bytes = sizeof whole.numbers, .handle_type = INO64_GEN},
        .numbers = {(uint32_t)(ino >> 32), (uint32_t)ino, 0},
    };
    return open_by_handle_at(root, &whole.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

_Static_assert(offsetof(struct dirent64, d_reclen) == 16, "struct linux_dirent64");

static uint32_t count_records(const uint8_t *records, long length) {
    uint32_t count = 0;
    for (uint16_t size; length > 0; length -= size, records += size, count++)
        memcpy(&size, records + offsetof(struct dirent64, d_reclen), sizeof size);
    return count;
}

/* One READDIRPLUS: libfuse's READDIRPLUS_AUTO is off (pyfuse3, handlers.pxi). Older kernels fill a page. */
static uint32_t list(int directory, step *what) {
    uint8_t records[LOOKUPS * NAMES_PER_LOOKUP * BYTES_OF_NAME];
    if (lseek(directory, what->cookie, SEEK_SET) < 0)
        return 0;
    long length = syscall(SYS_getdents64, directory, records, what->names * BYTES_OF_NAME);
    what->cookie = lseek(directory, 0, SEEK_CUR);
    return length < 0 || what->cookie < 0 ? 0 : count_records(records, length);
}

static void take_step(prefetch *p, int root, uint64_t ino) {
    step what;
    if (!tfs_prefetch_window_next(&p->windows, ino, &what))
        return;
    int directory = open_number(root, ino);
    uint32_t names = directory < 0 ? 0 : list(directory, &what);
    if (directory >= 0)
        close(directory);
    tfs_prefetch_window_listed(&p->windows, ino, names, what.cookie);
    atomic_fetch_add_explicit(&p->names, names, memory_order_relaxed);
}

/* False: the mount is gone, or something lies over it. */
static bool take_steps(prefetch *p, uint64_t directory) {
    int root = copy_mount(p);
    if (root < 0)
        return false;
    for (unsigned steps = 1; directory; steps++) {
        take_step(p, root, directory);
        directory = steps < MOST_STEPS ? next_queued(p, false) : 0;
    }
    close(root);
    return true;
}

static void *run(void *argument) {
    prefetch *p = argument;
    uint64_t directory;
    tfs_leave_descriptors(FIRST_DESCRIPTOR, ~0U);
    while ((directory = next_queued(p, true)) != 0)
        if (!take_steps(p, directory))
            tfs_prefetch_window_put_off(&p->windows, directory);
    return NULL;
}

/* ---------------------------------------------------------------- start and stop */

static int probe(const prefetch *p) {
    int root = copy_mount(p);
    if (root < 0)
        return -1;
    int again = open_number(root, FUSE_ROOT_ID), error = errno;
    close(root);
    if (again >= 0)
        close(again);
    errno = error;
    return again < 0 ? -1 : 0;
}

static int start_thread(prefetch *p) {
    pthread_mutex_lock(&p->lock);
    int error = p->stopping ? ESHUTDOWN : tfs_thread_start(&p->thread, PREFETCH_THREAD, run, p);
    p->active = !error;
    pthread_mutex_unlock(&p->lock);
    errno = error;
    return error ? -1 : 0;
}

int tfs_prefetch_start(prefetch *p, const char *mountpoint, dev_t device) {
    if (p->mountpoint) {
        errno = EALREADY;
        return -1;
    }
    p->mountpoint = strdup(mountpoint);
    p->device = device;
    return p->mountpoint && !probe(p) ? start_thread(p) : -1;
}

uint64_t tfs_prefetch_count(const prefetch *p) {
    return atomic_load_explicit(&p->names, memory_order_relaxed);
}

void tfs_prefetch_stop(prefetch *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    bool runs = atomic_exchange(&p->active, false);
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (runs)
        pthread_join(p->thread, NULL);
}

void tfs_prefetch_free(prefetch *p) {
    if (p)
        free(p->mountpoint);
    free(p);
}
