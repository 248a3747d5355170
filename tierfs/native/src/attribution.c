#include "attribution.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hash_table.h"

const char *const tfs_waited_names[WAITED_KINDS] = {"memory", "index", "flash", "disk"};

enum {
    MOST_EXACT = ATTRIBUTION_ROWS / 4 * 3, /* rows that tell files and directories apart, */
    MOST_COARSE = ATTRIBUTION_ROWS / 8 * 7, /* and those that still tell threads apart */
    PROC_PATH = 40,
};

void tfs_attribution_init(attribution *a) {
    for (size_t i = 0; i < ATTRIBUTION_SHARDS; i++) {
        pthread_mutex_init(&a->shards[i].lock, NULL);
        a->shards[i].round = 1;
    }
}

void tfs_attribution_free(attribution *a) {
    for (size_t i = 0; i < ATTRIBUTION_SHARDS; i++) {
        free(a->shards[i].rows);
        free(a->shards[i].threads);
        a->shards[i].rows = NULL;
        a->shards[i].threads = NULL;
    }
}

void tfs_attribution_watch(attribution *a, uint64_t nanoseconds) {
    uint64_t until = now_ns() + nanoseconds, before = atomic_load(&a->until_ns);
    while (before < until && !atomic_compare_exchange_weak(&a->until_ns, &before, until))
        ;
}

/* struct fuse_read_in and struct fuse_write_in begin alike. */
_Static_assert(offsetof(struct fuse_read_in, offset) == offsetof(struct fuse_write_in, offset) &&
                   offsetof(struct fuse_read_in, size) == offsetof(struct fuse_write_in, size),
               "fuse_read_in");

void tfs_attribution_begin(const attribution *a, request *q) {
    if (q->started_ns >= atomic_load_explicit(&a->until_ns, memory_order_relaxed))
        return;
    uint32_t opcode = q->header->opcode;
    q->watched = (watched_request){.on = true, .thread = q->header->pid, .ino = q->header->nodeid};
    if ((opcode == FUSE_READ || opcode == FUSE_WRITE) && q->length >= sizeof(struct fuse_read_in)) {
        memcpy(&q->watched.offset, q->body + offsetof(struct fuse_read_in, offset), sizeof q->watched.offset);
        memcpy(&q->watched.size, q->body + offsetof(struct fuse_read_in, size), sizeof q->watched.size);
    }
}

/* ---------------------------------------------------------------- who */

/* Only these two files of /proc: others take the memory of the process, whose end may then be ours to make, with
   the WRITEs for which that waits and which this thread serves. */
static void read_name(uint32_t thread, char name[COMM_LENGTH]) {
    char path[PROC_PATH], read_in[COMM_LENGTH + 1] = {0};
    snprintf(path, sizeof path, "/proc/%u/comm", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, read_in, sizeof read_in);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return; /* it is gone, or not visible: what was known of it stays */
    memcpy(name, read_in, COMM_LENGTH - 1);
    name[length - 1 < COMM_LENGTH - 1 ? length - 1 : COMM_LENGTH - 1] = 0; /* for the newline */
}

/* The process of a thread: the first that its task directory lists (first_tid in fs/proc/base.c); 0: not visible. */
static uint32_t process_of(uint32_t thread) {
    char path[PROC_PATH], entries[256];
    snprintf(path, sizeof path, "/proc/%u/task", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    long size = fd < 0 ? 0 : syscall(SYS_getdents64, fd, entries, sizeof entries);
    if (fd >= 0)
        close(fd);
    for (long at = 0; at < size;) {
        const char *name = entries + at + offsetof(struct dirent64, d_name);
        if (*name != '.')
            return (uint32_t)strtoul(name, NULL, 10);
        unsigned short length;
        memcpy(&length, entries + at + offsetof(struct dirent64, d_reclen), sizeof length);
        at += length;
    }
    return 0;
}

/* In its place: another one that had it is looked up again. */
static attributed_thread *thread_of(attribution_shard *s, uint32_t thread) {
    attributed_thread *found = &s->threads[thread / ATTRIBUTION_SHARDS % ATTRIBUTION_CALLERS];
    if (found->thread != thread)
        *found = (attributed_thread){.thread = thread, .process = thread};
    else if (found->round == s->round)
        return found;
    found->round = s->round;
    uint32_t process = thread ? process_of(thread) : 0;
    found->process = process ? process : found->process;
    pid_t session = thread ? getsid((pid_t)thread) : 0;
    found->session = session > 0 ? (uint32_t)session : found->session;
    if (process)
        read_name(process, found->name);
    return found;
}

/* How much longer the thread has waited by a request that ended now. Requests count in the order in which they end,
   so that of some that overlap a little may be missed, and nothing is counted twice. */
static uint64_t newly_waited(attributed_thread *t, uint64_t began, uint64_t took) {
    uint64_t ended = began + took, from = t->until_ns > began ? t->until_ns : began;
    if (ended <= from)
        return 0;
    t->until_ns = ended;
    return ended - from;
}

/* ---------------------------------------------------------------- where, and for what */

static bool names_directory(request_kind kind) {
    switch (kind) {
    case REQUEST_LOOKUP:
    case REQUEST_READDIR:
    case REQUEST_MKNOD:
    case REQUEST_MKDIR:
    case REQUEST_SYMLINK:
    case REQUEST_LINK:
    case REQUEST_UNLINK:
    case REQUEST_RMDIR:
    case REQUEST_RENAME:
    case REQUEST_FSYNCDIR:
    case REQUEST_TMPFILE:
        return true;
    default:
        return false;
    }
}

static void find_bytes(const placement *file, const watched_request *q, attribution_row *row) {
    uint64_t end = q->offset + q->size;
    if (end > file->size)
        end = file->size;
    if (end <= q->offset)
        return;
    row->bytes = end - q->offset;
    row->tier = end > file->prefix ? WAITED_DISK : WAITED_FLASH;
}

static void find_place(cache *c, const watched_request *q, request_kind kind, attribution_row *row) {
    placement file;
    if (names_directory(kind)) {
        row->directory = q->ino;
        return;
    }
    if (tfs_cache_whereabouts(c, q->ino, &file, &row->directory) == HIT) {
        if (kind == REQUEST_READ || kind == REQUEST_WRITE)
            find_bytes(&file, q, row);
        else if (kind == REQUEST_FSYNC)
            row->tier = file.size > file.prefix ? WAITED_DISK : WAITED_FLASH;
    }
    if (!row->directory || (kind == REQUEST_READ && row->tier == WAITED_DISK))
        row->file = q->ino;
}

/* ---------------------------------------------------------------- rows */

static bool is_same(const attribution_row *a, const attribution_row *b) {
    return a->thread == b->thread && a->process == b->process && a->kind == b->kind && a->tier == b->tier &&
           a->directory == b->directory && a->file == b->file;
}

/* The row with the key of `wanted`, which is made if there are fewer than `most`; NULL: there are not. */
static attribution_row *row_of(attribution_shard *s, const attribution_row *wanted, size_t most) {
    uint64_t key = hash_number(wanted->directory ^ wanted->file << 20 ^ (uint64_t)wanted->thread << 40 ^
                               (uint64_t)wanted->kind << 3 ^ wanted->tier);
    for (size_t at = key % ATTRIBUTION_ROWS;; at = (at + 1) % ATTRIBUTION_ROWS) {
        attribution_row *row = &s->rows[at];
        if (row->requests && is_same(row, wanted))
            return row;
        if (row->requests)
            continue;
        if (s->used >= most)
            return NULL;
        *row = *wanted;
        row->requests = row->bytes = row->nanoseconds = row->waited = 0;
        s->used++;
        return row;
    }
}

/* As exact as there is room for. Kinds and tiers have rows of their own always, since an eighth is left for them. */
static attribution_row *some_row_of(attribution_shard *s, attribution_row wanted) {
    _Static_assert(REQUEST_KINDS * WAITED_KINDS < ATTRIBUTION_ROWS - MOST_COARSE, "rows of kinds and tiers");
    attribution_row *row = row_of(s, &wanted, MOST_EXACT);
    wanted.file = wanted.directory ? 0 : wanted.file;
    row = row ? row : row_of(s, &wanted, MOST_EXACT);
    wanted.file = wanted.directory = 0;
    row = row ? row : row_of(s, &wanted, MOST_COARSE);
    if (row)
        return row;
    return row_of(s, &(attribution_row){.thread = UINT32_MAX, .kind = wanted.kind, .tier = wanted.tier},
                  ATTRIBUTION_ROWS);
}

static bool has_memory(attribution_shard *s) {
    s->rows = s->rows ? s->rows : calloc(ATTRIBUTION_ROWS, sizeof *s->rows);
    s->threads = s->threads ? s->threads : calloc(ATTRIBUTION_CALLERS, sizeof *s->threads);
    return s->rows && s->threads;
}

void tfs_attribute(attribution *a, cache *c, const request *q, request_kind kind, uint64_t took) {
    if (kind == REQUEST_FORGET || kind == REQUEST_OPEN || kind == REQUEST_RELEASE)
        return; /* nobody waits for them, or once only */
    attribution_row wanted = {.thread = q->watched.thread, .kind = (uint8_t)kind};
    wanted.tier = q->watched.by_python ? WAITED_INDEX : WAITED_MEMORY;
    find_place(c, &q->watched, kind, &wanted);
    attribution_shard *s = &a->shards[wanted.thread % ATTRIBUTION_SHARDS];
    pthread_mutex_lock(&s->lock);
    if (has_memory(s)) {
        attributed_thread *thread = thread_of(s, wanted.thread);
        wanted.process = thread->process;
        wanted.session = thread->session;
        memcpy(wanted.name, thread->name, COMM_LENGTH);
        attribution_row *row = some_row_of(s, wanted);
        uint64_t ended = q->started_ns + took;
        row->began_ns = row->requests && row->began_ns < q->started_ns ? row->began_ns : q->started_ns;
        row->ended_ns = row->ended_ns > ended ? row->ended_ns : ended;
        row->requests++;
        row->bytes += wanted.bytes;
        row->nanoseconds += took;
        row->waited += newly_waited(thread, q->started_ns, took);
    }
    pthread_mutex_unlock(&s->lock);
}

attribution_row *tfs_attribution_take(attribution *a, size_t shard) {
    attribution_shard *s = &a->shards[shard];
    pthread_mutex_lock(&s->lock);
    attribution_row *taken = s->rows;
    s->rows = NULL;
    s->used = 0;
    s->round += s->round < UINT32_MAX ? 1 : 2;
    if (!taken) { /* since the last time: nobody watches, or nobody calls */
        free(s->threads);
        s->threads = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}
