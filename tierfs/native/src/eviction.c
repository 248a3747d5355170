/* S3-FIFO: new inodes go through a small queue, and only what is asked for again enters the main one.

   What one open(2) asks for in a row (LOOKUP, GETXATTR, READ) is one use: only a use that comes
   CORRELATED_S after the one before counts. So an epoch that reads each file once leaves what is
   used often where it is. */
#include "table_parts.h"

enum {
    SMALL_SHARE = 10, /* the small queue gets a tenth */
    ABSENT_SHARE = 16,
};

static void evict(table *t, inode *gone) {
    *tfs_ghost_of(t, gone) = tfs_fingerprint(gone);
    t->evictions++;
    tfs_remove_inode(t, gone);
}

/* Looks at the oldest of a queue: it goes, or is given a further round in the main queue. */
static void judge(table *t, queue_kind queue, const inode *kept) {
    inode *oldest = TAILQ_LAST(&t->queues[queue], inode_queue);
    if (oldest != kept && oldest->frequency == 0) {
        evict(t, oldest);
        return;
    }
    tfs_dequeue(t, oldest);
    if (oldest != kept)
        oldest->frequency = queue == SMALL ? 0 : (uint8_t)(oldest->frequency - 1);
    tfs_put_into(t, oldest, MAIN);
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

void tfs_make_room(table *t, const inode *kept) {
    while (t->absent_bytes > t->limit / ABSENT_SHARE)
        tfs_remove_entry(t, TAILQ_LAST(&t->absent, entry_queue));
    while (tfs_table_bytes(t) > t->limit && !is_last(t, kept)) {
        bool small = has_other(t, SMALL, kept) &&
                     (is_over_its_share(t) || !has_other(t, MAIN, kept));
        judge(t, small ? SMALL : MAIN, kept);
    }
}
