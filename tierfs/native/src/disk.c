#include "disk.h"

#include <stdlib.h>
#include <string.h>

#include "hash_table.h"
#include "reads.h"
#include "worker.h"

enum {
    STREAMS = 256,                 /* files whose last read is remembered */
    FIRST_WINDOW = 256 * 1024,     /* bytes that the first read of a file reads ahead */
    MOST_GUESSES = 64,             /* jobs in the queue beyond which nothing is read ahead */
    MOST_AHEAD = 4 * 1024 * 1024,  /* bytes that a sequential reader is kept ahead of */
    MOST_BEHIND = 1024 * 1024,     /* bytes read of what was read ahead, after which they are dropped */
    LATE = 512 * 1024,             /* READs of a stream that may still be under way before the last */
    LARGEST_FOLIO = 2 * 1024 * 1024, /* it is dropped where a range holds all of it */
};

/* Bytes of a file; length 0: none. */
typedef struct {
    uint64_t ino, offset, length;
} range;

/* What nobody waits for. */
typedef struct {
    job job;
    void (*advise)(router *r, uint64_t ino, uint64_t offset, uint64_t length);
    range range;
} advice;

/* Where a file was read last, and to where it is read ahead: collisions only cost a read-ahead. */
typedef struct {
    uint64_t ino, end, ahead_to;
    uint32_t window;
} stream;

/* What was read ahead of a file and is not dropped yet; a collision leaves it to the kernel. */
typedef struct {
    uint64_t ino, from, to;
    bool ended;       /* the end of the file was read */
    unsigned reading; /* READs under way, also of files that share the place: what they need is kept */
} readahead;

struct disk {
    router *router;
    pool *pool;
    pthread_mutex_t lock;
    stream streams[STREAMS];      /* lock */
    readahead readahead[STREAMS]; /* lock */
};

disk *tfs_disk_new(router *r, const pool_settings *pool) {
    disk *d = calloc(1, sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL) || !(d->pool = tfs_pool_new(pool))) {
        free(d);
        return NULL;
    }
    d->router = r;
    return d;
}

static readahead *readahead_of(disk *d, uint64_t ino) {
    return &d->readahead[hash_number(ino) % STREAMS];
}

static void run_advice(job *j, void *thread) {
    advice *a = (advice *)j;
    a->advise(((worker *)thread)->router, a->range.ino, a->range.offset, a->range.length);
    free(a);
}

static void drop_advice(job *j) {
    free(j);
}

static void advise_later(disk *d, void (*how)(router *, uint64_t, uint64_t, uint64_t), range what) {
    advice *a = malloc(sizeof *a);
    if (!a)
        return;
    *a = (advice){.job = {.run = run_advice, .drop = drop_advice}, .advise = how, .range = what};
    if (!tfs_pool_add(d->pool, &a->job))
        free(a);
}

bool tfs_disk_add(disk *d, job *j, uint64_t ino) {
    pthread_mutex_lock(&d->lock);
    readahead_of(d, ino)->reading++;
    pthread_mutex_unlock(&d->lock);
    if (tfs_pool_add(d->pool, j))
        return true;
    tfs_disk_end_read(d, ino);
    return false;
}

/* Whether a READ shows that the file is being read to its end: it is the first one of the file, or of
   its tail, or continues where the last one ended. Then it is read further ahead each time. */
static bool follow(stream *s, uint64_t ino, uint64_t prefix, uint64_t offset, uint64_t end) {
    bool in_tail = end > prefix;
    bool begins = offset <= prefix && (offset == 0 || in_tail);
    if (s->ino == ino && s->end == offset) {
        s->end = end;
        if (in_tail)
            s->window = 2 * s->window < MOST_AHEAD ? 2 * s->window : MOST_AHEAD;
        return in_tail;
    }
    if (begins || in_tail)
        *s = (stream){ino, end, begins ? prefix : end, FIRST_WINDOW};
    return begins;
}

/* What to read ahead when `offset` to `end` is read, of which what is before `there` is in memory already;
   length 0: nothing. */
static range next_window(stream *s, uint64_t ino, const placement *file, uint64_t offset, uint64_t end,
                         uint64_t there) {
    if (!follow(s, ino, file->prefix, offset, end))
        return (range){0};
    uint64_t from = s->ahead_to > there ? s->ahead_to : there;
    uint64_t to = (end > file->prefix ? end : file->prefix) + s->window;
    if (to > file->size)
        to = file->size;
    if (to <= from || (to - from < s->window / 2 && to < file->size))
        return (range){0};
    s->ahead_to = to;
    return (range){ino, from, to - from};
}

static void note_readahead(disk *d, uint64_t ino, uint64_t from, uint64_t to) {
    readahead *ahead = readahead_of(d, ino);
    if (ahead->ino != ino || ahead->from >= ahead->to)
        *ahead = (readahead){ino, from, to, false, ahead->reading};
    ahead->from = from < ahead->from ? from : ahead->from;
    ahead->to = to > ahead->to ? to : ahead->to;
}

/* What to drop when the file was read from `offset` to `end`: in large parts, as each costs a system call, and all
   at its end, when no READ of it is under way: the last one may be done first, and the others still need
   what was read ahead. It reaches back over what was dropped, for the folio at the border. */
static range read_part(disk *d, uint64_t ino, const placement *file, uint64_t offset, uint64_t end) {
    range drop = {0};
    if (d->router->disk_store.in_memory || end <= file->prefix)
        return drop;
    pthread_mutex_lock(&d->lock);
    if (atomic_load(&d->router->disk_store.keeps_all)) /* reading brings pages as well */
        note_readahead(d, ino, offset, end);
    readahead *ahead = readahead_of(d, ino);
    if (ahead->ino == ino && end >= file->size)
        ahead->ended = true;
    bool ends = ahead->ended && ahead->reading == 0;
    uint64_t to = ends ? ahead->to : end > LATE ? end - LATE : 0;
    if (ahead->ino == ino && ahead->from < ahead->to && to > ahead->from && (ends || to - ahead->from >= MOST_BEHIND)) {
        uint64_t from = ahead->from > LARGEST_FOLIO ? ahead->from - LARGEST_FOLIO : 0;
        drop = (range){ino, from, to - from + (ends ? LARGEST_FOLIO : 0)};
        ahead->from = to;
        ahead->ended = false;
    }
    pthread_mutex_unlock(&d->lock);
    return drop;
}

/* Guesses must not delay what somebody waits for. */
static range plan_readahead(disk *d, uint64_t ino, const placement *file, uint64_t offset, uint64_t end,
                        uint64_t there) {
    range wanted = {0};
    if (d->router->disk_store.in_memory || file->size <= file->prefix)
        return wanted;
    pthread_mutex_lock(&d->lock);
    if (tfs_pool_queued(d->pool) < MOST_GUESSES)
        wanted = next_window(&d->streams[hash_number(ino) % STREAMS], ino, file, offset, end, there);
    if (wanted.length)
        note_readahead(d, ino, wanted.offset, wanted.offset + wanted.length);
    pthread_mutex_unlock(&d->lock);
    return wanted;
}

/* Before the READ itself, so that a disk which has others to serve gets both at once and moves its head
   for them but once. What does not touch the READ is left to another thread. */
void tfs_disk_begin_read(disk *d, uint64_t ino, const struct fuse_read_in *in) {
    placement file;
    uint64_t offset = in->offset, end = offset + in->size;
    if (tfs_cache_placement(d->router->cache, ino, &file) != HIT)
        return;
    range wanted = plan_readahead(d, ino, &file, offset, end, offset);
    if (wanted.length && wanted.offset < end)
        tfs_object_willneed(d->router, ino, wanted.offset, wanted.length);
    else if (wanted.length)
        advise_later(d, tfs_object_willneed, wanted);
}

void tfs_disk_read_ahead(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length) {
    range wanted = plan_readahead(d, ino, file, offset, offset + length, offset + length);
    if (wanted.length)
        advise_later(d, tfs_object_willneed, wanted);
    range drop = read_part(d, ino, file, offset, offset + length);
    if (drop.length)
        advise_later(d, tfs_object_dontneed, drop);
}

void tfs_disk_end_read(disk *d, uint64_t ino) {
    pthread_mutex_lock(&d->lock);
    readahead_of(d, ino)->reading--;
    pthread_mutex_unlock(&d->lock);
}

void tfs_disk_drop_read(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length) {
    range drop = read_part(d, ino, file, offset, offset + length);
    if (drop.length)
        tfs_object_dontneed(d->router, ino, drop.offset, drop.length);
}

void tfs_disk_stop(disk *d) {
    if (d)
        tfs_pool_stop(d->pool);
}

void tfs_disk_free(disk *d) {
    if (!d)
        return;
    tfs_pool_free(d->pool);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
