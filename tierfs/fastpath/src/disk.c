/* Threads for READs that must wait for a disk, and for the read-ahead of what will be read next.

   As many READs wait at a time as there are threads, so that a disk with a queue, or many disks, can
   serve them in the order that suits it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "hashing.h"
#include "router.h"

enum {
    STREAMS = 256,                 /* files whose last read is remembered */
    FIRST_WINDOW = 256 * 1024,     /* bytes that the first read of a file reads ahead */
    MOST_GUESSES = 64,             /* jobs in the queue beyond which nothing is read ahead */
    MOST_AHEAD = 4 * 1024 * 1024,  /* bytes that a sequential reader is kept ahead of */
    MOST_BEHIND = 1024 * 1024,     /* bytes read of what was read ahead, after which they are dropped */
    LATE = 512 * 1024,             /* READs of a stream that may still be under way before the last */
    LARGEST_FOLIO = 2 * 1024 * 1024, /* it is dropped where a range holds all of it */
};

typedef enum { JOB_READ, JOB_AHEAD, JOB_BEHIND } job_kind; /* for the last two nobody waits */

typedef struct job job;
struct job {
    STAILQ_ENTRY(job) next;
    job_kind kind;
    struct fuse_in_header header;
    struct fuse_read_in in;
    uint64_t started_ns;
    uint64_t length; /* of JOB_BEHIND, which may be more than a READ has */
};

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
} brought;

struct disk {
    router *router;
    pthread_mutex_t lock;
    pthread_cond_t added;
    STAILQ_HEAD(, job) jobs;
    size_t queued;
    stream streams[STREAMS];
    brought brought[STREAMS];
    pthread_t threads[MOST_DISK_THREADS];
    unsigned most, started, idle;
    bool stopping;
};

disk *disk_new(router *r, unsigned threads) {
    disk *d = calloc(1, sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL) || pthread_cond_init(&d->added, NULL)) {
        free(d);
        return NULL;
    }
    d->router = r;
    d->most = threads < MOST_DISK_THREADS ? threads : MOST_DISK_THREADS;
    STAILQ_INIT(&d->jobs);
    return d;
}

static job *next_job(disk *d) {
    pthread_mutex_lock(&d->lock);
    while (STAILQ_EMPTY(&d->jobs) && !d->stopping) {
        d->idle++;
        pthread_cond_wait(&d->added, &d->lock);
        d->idle--;
    }
    job *taken = d->stopping ? NULL : STAILQ_FIRST(&d->jobs);
    if (taken) {
        STAILQ_REMOVE_HEAD(&d->jobs, next);
        d->queued--;
    }
    pthread_mutex_unlock(&d->lock);
    return taken;
}

static void *work(void *argument);

/* With the lock held: one thread more, where all are busy. None once it ends, who would join it? */
static void staff(disk *d) {
    if (d->queued > d->idle && d->started < d->most && !d->stopping &&
        !pthread_create(&d->threads[d->started], NULL, work, d))
        d->started++;
}

static brought *brought_of(disk *d, uint64_t ino) {
    return &d->brought[hash_number(ino) % STREAMS];
}

static bool add(disk *d, const job *wanted) {
    job *added = malloc(sizeof *added);
    if (!added)
        return false;
    *added = *wanted;
    pthread_mutex_lock(&d->lock);
    STAILQ_INSERT_TAIL(&d->jobs, added, next);
    d->queued++;
    staff(d);
    bool served = d->started > 0;
    if (served) {
        if (wanted->kind == JOB_READ)
            brought_of(d, wanted->header.nodeid)->reading++;
        pthread_cond_signal(&d->added);
    } else { /* it is the only one */
        STAILQ_REMOVE_HEAD(&d->jobs, next);
        d->queued--;
        free(added);
    }
    pthread_mutex_unlock(&d->lock);
    return served;
}

/* Whether a READ shows that the file is being read to its end: it is the first one of the file, or of
   its tail, or goes on where the last one ended. Then it is read further ahead each time. */
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
   size 0: nothing. */
static job next_window(stream *s, uint64_t ino, const placement *file, uint64_t offset, uint64_t end,
                       uint64_t there) {
    if (!follow(s, ino, file->prefix, offset, end))
        return (job){0};
    uint64_t from = s->ahead_to > there ? s->ahead_to : there;
    uint64_t to = (end > file->prefix ? end : file->prefix) + s->window;
    if (to > file->size)
        to = file->size;
    if (to <= from || (to - from < s->window / 2 && to < file->size))
        return (job){0};
    s->ahead_to = to;
    return (job){.kind = JOB_AHEAD, .header.nodeid = ino, .in.offset = from,
                 .in.size = (uint32_t)(to - from)};
}

static void note_brought(disk *d, uint64_t ino, uint64_t from, uint64_t to) {
    brought *b = brought_of(d, ino);
    if (b->ino != ino || b->from >= b->to)
        *b = (brought){ino, from, to, false, b->reading};
    b->from = from < b->from ? from : b->from;
    b->to = to > b->to ? to : b->to;
}

/* What to drop when the file was read from `offset` to `end`: in large parts, as each costs a call, and all
   at its end, when no READ of it is under way: the last one may be done first, and the others still need
   what was read ahead. Length 0: nothing yet. It reaches back over what was dropped, for the folio at the border. */
static job read_part(disk *d, uint64_t ino, const placement *file, uint64_t offset, uint64_t end) {
    job drop = {0};
    if (d->router->objects.in_memory || end <= file->prefix)
        return drop;
    pthread_mutex_lock(&d->lock);
    if (atomic_load(&d->router->objects.keeps_all)) /* reading brings pages as well */
        note_brought(d, ino, offset, end);
    brought *b = brought_of(d, ino);
    if (b->ino == ino && end >= file->size)
        b->ended = true;
    bool ends = b->ended && b->reading == 0;
    uint64_t to = ends ? b->to : end > LATE ? end - LATE : 0;
    if (b->ino == ino && b->from < b->to && to > b->from && (ends || to - b->from >= MOST_BEHIND)) {
        uint64_t from = b->from > LARGEST_FOLIO ? b->from - LARGEST_FOLIO : 0;
        drop = (job){.kind = JOB_BEHIND, .header.nodeid = ino, .in.offset = from};
        drop.length = to - from + (ends ? LARGEST_FOLIO : 0);
        b->from = to;
        b->ended = false;
    }
    pthread_mutex_unlock(&d->lock);
    return drop;
}

/* Guesses must not delay what somebody waits for. */
static job anticipate(disk *d, uint64_t ino, const placement *file, uint64_t offset, uint64_t end,
                      uint64_t there) {
    job wanted = {0};
    if (d->router->objects.in_memory || file->size <= file->prefix)
        return wanted;
    pthread_mutex_lock(&d->lock);
    if (d->queued < MOST_GUESSES)
        wanted = next_window(&d->streams[hash_number(ino) % STREAMS], ino, file, offset, end, there);
    if (wanted.in.size)
        note_brought(d, ino, wanted.in.offset, wanted.in.offset + wanted.in.size);
    pthread_mutex_unlock(&d->lock);
    return wanted;
}

/* Before the READ itself, so that a disk which has others to serve gets both at once and moves its head
   for them but once. What does not touch the READ is left to another thread. */
static void anticipate_for(disk *d, const job *j) {
    placement file;
    uint64_t ino = j->header.nodeid, offset = j->in.offset, end = offset + j->in.size;
    if (table_placement(d->router->table, ino, &file) != FOUND)
        return;
    job wanted = anticipate(d, ino, &file, offset, end, offset);
    if (wanted.in.size && wanted.in.offset < end)
        read_ahead(d->router, ino, wanted.in.offset, wanted.in.size);
    else if (wanted.in.size)
        add(d, &wanted);
}

void disk_anticipate(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length) {
    job wanted = anticipate(d, ino, file, offset, offset + length, offset + length);
    if (wanted.in.size)
        add(d, &wanted);
    job drop = read_part(d, ino, file, offset, offset + length);
    if (drop.length)
        add(d, &drop);
}

static void end_reading(disk *d, uint64_t ino) {
    pthread_mutex_lock(&d->lock);
    brought_of(d, ino)->reading--;
    pthread_mutex_unlock(&d->lock);
}

static void read_for(disk *d, const job *j, uint8_t *buffer) {
    router *r = d->router;
    placement file;
    size_t length;
    uint64_t ino = j->header.nodeid;
    anticipate_for(d, j);
    read_result result = read_file(r, &r->disk_counters, ino, &j->in, true, buffer, &length, &file);
    end_reading(d, ino);
    if (result != READ_DONE) {
        ask_python(r, &j->header, &j->in, true);
        return;
    }
    reply(r, j->header.unique, buffer, length);
    count_answer(&r->disk_counters, ANSWER_READ, true, j->started_ns);
    heat_add(&r->heat, ino, length);
    job drop = read_part(d, ino, &file, j->in.offset, j->in.offset + length);
    if (drop.length)
        drop_behind(r, ino, drop.in.offset, drop.length);
}

static void *work(void *argument) {
    disk *d = argument;
    uint8_t *buffer = malloc(d->router->buffer);
    for (job *j; (j = next_job(d)); free(j)) {
        if (j->kind == JOB_AHEAD)
            read_ahead(d->router, j->header.nodeid, j->in.offset, j->in.size);
        else if (j->kind == JOB_BEHIND)
            drop_behind(d->router, j->header.nodeid, j->in.offset, j->length);
        else if (buffer)
            read_for(d, j, buffer);
        else {
            end_reading(d, j->header.nodeid);
            reply_error(d->router, j->header.unique, ENOMEM);
        }
    }
    free(buffer);
    return NULL;
}

bool disk_read(disk *d, const struct fuse_in_header *header, const struct fuse_read_in *in,
               uint64_t started_ns) {
    return add(d, &(job){.header = *header, .in = *in, .started_ns = started_ns});
}

void disk_free(disk *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_broadcast(&d->added);
    unsigned started = d->started;
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(d->threads[i], NULL);
    while (!STAILQ_EMPTY(&d->jobs)) {
        job *dropped = STAILQ_FIRST(&d->jobs);
        STAILQ_REMOVE_HEAD(&d->jobs, next);
        free(dropped);
    }
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->added);
    free(d);
}
