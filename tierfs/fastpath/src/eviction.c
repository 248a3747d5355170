/* S3-FIFO: new inodes go through a small queue, and only what is asked for again enters the main one.

   What one open(2) asks for in a row (LOOKUP, GETXATTR, READ) is one use: only a use that comes
   CORRELATED_S after the one before counts. So an epoch that reads each file once leaves what is
   used often where it is. */
#include <time.h>

#include "table_parts.h"

enum {
    CORRELATED_S = 2,
    MOST_FREQUENT = 3,
    SMALL_SHARE = 10, /* the small queue gets a tenth */
    ABSENT_SHARE = 16,
};

static uint32_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec;
}

static uint32_t fingerprint(const inode *each) {
    return (uint32_t)(each->node.hash >> 32) | 1;
}

static uint32_t *ghost_of(table *t, const inode *each) {
    return &t->ghosts[each->node.hash % GHOSTS];
}

static void put_into(table *t, inode *moved, queue_kind queue) {
    moved->queue = (uint8_t)queue;
    TAILQ_INSERT_HEAD(&t->queues[queue], moved, queued);
    t->queued[queue] += inode_bytes(moved);
}

void dequeue(table *t, inode *gone) {
    TAILQ_REMOVE(&t->queues[gone->queue], gone, queued);
    t->queued[gone->queue] -= inode_bytes(gone);
}

void enqueue(table *t, inode *added) {
    uint32_t *ghost = ghost_of(t, added);
    bool came_back = *ghost == fingerprint(added);
    if (came_back)
        *ghost = 0;
    added->seen = now_s();
    added->frequency = 0;
    put_into(t, added, came_back ? MAIN : SMALL);
}

void touch(inode *used) {
    uint32_t now = now_s();
    if (now - used->seen >= CORRELATED_S && used->frequency < MOST_FREQUENT)
        used->frequency++;
    used->seen = now;
}

static void evict(table *t, inode *gone) {
    *ghost_of(t, gone) = fingerprint(gone);
    t->evictions++;
    remove_inode(t, gone);
}

/* Looks at the oldest of a queue: it goes, or is given a further round in the main queue. */
static void judge(table *t, queue_kind queue, const inode *kept) {
    inode *oldest = TAILQ_LAST(&t->queues[queue], inode_queue);
    if (oldest != kept && oldest->frequency == 0) {
        evict(t, oldest);
        return;
    }
    dequeue(t, oldest);
    if (oldest != kept)
        oldest->frequency = queue == SMALL ? 0 : (uint8_t)(oldest->frequency - 1);
    put_into(t, oldest, MAIN);
}

static bool is_over_its_share(const table *t) {
    return t->queued[SMALL] > t->limit / SMALL_SHARE;
}

static bool has_other(const table *t, queue_kind queue, const inode *kept) {
    const inode *first = TAILQ_FIRST(&t->queues[queue]);
    return first && (first != kept || TAILQ_NEXT(first, queued));
}

static bool is_last(const table *t, const inode *kept) {
    return t->inodes.count == 0 || (kept && t->inodes.count == 1);
}

void make_room(table *t, const inode *kept) {
    while (t->absent_bytes > t->limit / ABSENT_SHARE)
        remove_entry(t, TAILQ_LAST(&t->absent, entry_queue));
    while (table_bytes(t) > t->limit && !is_last(t, kept)) {
        bool small = has_other(t, SMALL, kept) &&
                     (is_over_its_share(t) || !has_other(t, MAIN, kept));
        judge(t, small ? SMALL : MAIN, kept);
    }
}
