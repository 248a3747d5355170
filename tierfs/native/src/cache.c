#include "cache.h"

#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cache_entries.h"
#include "xattrs.h"

cache *tfs_cache_new(size_t limit) {
    cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->limit = limit;
    tfs_slabs_init(&c->slabs);
    for (int i = 0; i < 2; i++)
        TAILQ_INIT(&c->queues[i]);
    TAILQ_INIT(&c->negatives);
    if (pthread_mutex_init(&c->lock, NULL) || hash_table_init(&c->inodes) || hash_table_init(&c->dentries) ||
        tfs_lookup_counts_init(&c->lookups) || getrandom(&c->seed, sizeof c->seed, 0) != sizeof c->seed) {
        tfs_cache_free(c);
        return NULL;
    }
    return c;
}

static void clear(cache *c) {
    for (int i = 0; i < 2; i++)
        while (!TAILQ_EMPTY(&c->queues[i]))
            tfs_remove_inode(c, TAILQ_FIRST(&c->queues[i]));
    while (!TAILQ_EMPTY(&c->negatives))
        tfs_remove_dentry(c, TAILQ_FIRST(&c->negatives));
}

void tfs_cache_free(cache *c) {
    if (!c)
        return;
    if (c->inodes.buckets && c->dentries.buckets)
        clear(c);
    hash_table_free(&c->inodes);
    hash_table_free(&c->dentries);
    tfs_lookup_counts_free(&c->lookups);
    free(c->forgotten);
    tfs_slabs_free(&c->slabs);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void tfs_cache_clear(cache *c) {
    pthread_mutex_lock(&c->lock);
    clear(c);
    pthread_mutex_unlock(&c->lock);
}

cache_stats tfs_cache_stats(cache *c) {
    pthread_mutex_lock(&c->lock);
    cache_stats stats = {
        .inodes = c->inodes.count,
        .dentries = c->dentries.count,
        .known_inodes = c->lookups.used,
        .memory = tfs_cache_bytes(c),
        .evictions = c->evictions,
    };
    pthread_mutex_unlock(&c->lock);
    return stats;
}

/* ---------------------------------------------------------------- recipients */

enum { NOBODY = 0 };
#define SEVERAL UINT32_MAX /* or nobody knows who */

static bool attributes_differ(const attributes *before, const attributes *now) {
    return before->size != now->size || before->atime != now->atime || before->mtime != now->mtime ||
           before->ctime != now->ctime || before->mode != now->mode || before->uid != now->uid ||
           before->gid != now->gid || before->nlink != now->nlink;
}

static uint32_t recipient_of(const cache *c, const inode *each) {
    return each->recipient_era == c->era ? each->recipient : SEVERAL;
}

static void clear_recipients(const cache *c, inode *each) {
    each->recipient = NOBODY;
    each->recipient_era = c->era;
}

/* `thread` 0: nobody knows which. */
static void add_recipient(const cache *c, inode *each, uint32_t thread) {
    uint32_t before = recipient_of(c, each);
    each->recipient = thread && (before == NOBODY || before == thread) ? thread : SEVERAL;
    each->recipient_era = c->era;
}

void tfs_cache_add_unknown_recipient(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    inode *each = tfs_find_inode(c, ino);
    if (each)
        add_recipient(c, each, 0);
    pthread_mutex_unlock(&c->lock);
}

void tfs_cache_add_unknown_recipients(cache *c) {
    pthread_mutex_lock(&c->lock);
    c->era++;
    pthread_mutex_unlock(&c->lock);
}

static void has_received(const cache *c, inode *each, uint32_t thread) {
    if (each && recipient_of(c, each) == thread)
        clear_recipients(c, each);
}

void tfs_cache_received(cache *c, uint64_t ino, uint32_t thread) {
    pthread_mutex_lock(&c->lock);
    has_received(c, tfs_find_inode(c, ino), thread);
    pthread_mutex_unlock(&c->lock);
}

void tfs_cache_received_name(cache *c, uint64_t parent, const char *name, size_t length, uint32_t thread) {
    pthread_mutex_lock(&c->lock);
    dentry *each = tfs_find_dentry(c, parent, name, length);
    if (each)
        has_received(c, each->target, thread);
    pthread_mutex_unlock(&c->lock);
}

/* ---------------------------------------------------------------- updates and cache fills */

static inode *put_inode(cache *c, const attributes *row) {
    inode *each = tfs_find_inode(c, row->ino);
    if (!each && (each = tfs_add_inode(c, row->ino)))
        add_recipient(c, each, 0);
    if (each) {
        each->row = *row;
        tfs_make_room(c, each);
    }
    return each;
}

void tfs_cache_put_inode(cache *c, const attributes *row) {
    pthread_mutex_lock(&c->lock);
    put_inode(c, row);
    pthread_mutex_unlock(&c->lock);
}

void tfs_cache_make_inode(cache *c, const attributes *row, uint32_t thread) {
    pthread_mutex_lock(&c->lock);
    inode *each = put_inode(c, row);
    if (each) {
        clear_recipients(c, each);
        add_recipient(c, each, thread);
    }
    pthread_mutex_unlock(&c->lock);
}

bool tfs_cache_change_inode(cache *c, const attributes *row) {
    pthread_mutex_lock(&c->lock);
    inode *each = tfs_find_inode(c, row->ino);
    bool is_old = !each || (attributes_differ(&each->row, row) && recipient_of(c, each) != NOBODY);
    /* When a name is removed the kernel lowers the link count that it has, once it gets the reply
       (fuse_entry_unlinked). Invalidated now, it would send a GETATTR, have the lower count already, and lower
       that one: at 0 it refuses link(2). */
    bool loses_name = each && row->nlink < each->row.nlink && !S_ISDIR(row->mode);
    bool invalidates = is_old && row->nlink && !loses_name;
    each = put_inode(c, row);
    if (each && invalidates)
        clear_recipients(c, each);
    pthread_mutex_unlock(&c->lock);
    return invalidates;
}

void tfs_cache_drop_inode(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    inode *gone = tfs_find_inode(c, ino);
    if (gone)
        tfs_remove_inode(c, gone);
    pthread_mutex_unlock(&c->lock);
}

static void put_negative(cache *c, uint64_t parent, const char *name, size_t length) {
    inode *directory = tfs_find_inode(c, parent);
    if (directory && directory->complete)
        return; /* a name that is not found there is negative already */
    tfs_add_dentry(c, parent, name, length, NULL);
    tfs_make_room(c, NULL);
}

static void put_positive(cache *c, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    inode *target = tfs_find_inode(c, ino);
    if (!target || !tfs_add_dentry(c, parent, name, length, target))
        tfs_break_completeness(c, parent);
    tfs_make_room(c, target);
    tfs_make_room(c, NULL); /* of a file with very many names it is they that take the room */
}

void tfs_cache_put_dentry(cache *c, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    dentry *old = tfs_find_dentry(c, parent, name, length);
    if (old)
        tfs_remove_dentry(c, old);
    if (ino)
        put_positive(c, parent, name, length, ino);
    else
        put_negative(c, parent, name, length);
    pthread_mutex_unlock(&c->lock);
}

void tfs_cache_drop_dentry(cache *c, uint64_t parent, const char *name, size_t length) {
    pthread_mutex_lock(&c->lock);
    dentry *old = tfs_find_dentry(c, parent, name, length);
    if (old)
        tfs_remove_dentry(c, old);
    tfs_break_completeness(c, parent);
    pthread_mutex_unlock(&c->lock);
}

void tfs_cache_put_xattrs(cache *c, uint64_t ino, const uint8_t *packed, size_t length) {
    pthread_mutex_lock(&c->lock);
    inode *owner = tfs_find_inode(c, ino);
    if (owner) {
        tfs_remove_xattrs(c, owner);
        if (packed) {
            tfs_set_xattrs(c, owner, packed, length);
            tfs_make_room(c, owner);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

bool tfs_cache_begin_fill(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    inode *directory = tfs_find_inode(c, ino);
    bool begun = directory && !directory->complete;
    if (begun)
        directory->filling = true;
    pthread_mutex_unlock(&c->lock);
    return begun;
}

bool tfs_cache_complete_fill(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    inode *directory = tfs_find_inode(c, ino);
    bool complete = directory && (directory->complete || directory->filling);
    if (complete) {
        directory->complete = true;
        directory->filling = false;
    }
    pthread_mutex_unlock(&c->lock);
    return complete;
}

/* ---------------------------------------------------------------- requests */

static cache_result look_up_negative(cache *c, uint64_t parent, const dentry *known, struct fuse_entry_out *out) {
    inode *directory = tfs_find_inode(c, parent);
    if (directory)
        tfs_touch(directory);
    if (!known && !(directory && directory->complete))
        return MISS;
    *out = tfs_negative_entry_out();
    return NEGATIVE;
}

static cache_result look_up(cache *c, uint64_t parent, const char *name, size_t length, uint32_t thread,
                            struct fuse_entry_out *out) {
    dentry *known = tfs_find_dentry(c, parent, name, length);
    if (!known || !known->target)
        return look_up_negative(c, parent, known, out);
    inode *target = known->target;
    if (tfs_lookup_counts_add(&c->lookups, target->row.ino, 1) < 0)
        return MISS;
    tfs_touch(target);
    add_recipient(c, target, thread);
    *out = tfs_entry_out(&target->row);
    return HIT;
}

cache_result tfs_cache_lookup(cache *c, uint64_t parent, const char *name, size_t length, uint32_t thread,
                              struct fuse_entry_out *out) {
    pthread_mutex_lock(&c->lock);
    cache_result result = look_up(c, parent, name, length, thread, out);
    pthread_mutex_unlock(&c->lock);
    return result;
}

/* The attributes, of which the thread is a recipient now; of a sparse file the blocks are not known. */
static cache_result get_row(cache *c, uint64_t ino, uint32_t thread, attributes *out) {
    pthread_mutex_lock(&c->lock);
    inode *each = tfs_find_inode(c, ino);
    bool known = each && !each->row.sparse;
    if (known) {
        tfs_touch(each);
        add_recipient(c, each, thread);
        *out = each->row;
    }
    pthread_mutex_unlock(&c->lock);
    return known ? HIT : MISS;
}

cache_result tfs_cache_getattr(cache *c, uint64_t ino, uint32_t thread, struct fuse_attr_out *out) {
    attributes row;
    cache_result result = get_row(c, ino, thread, &row);
    if (result == HIT)
        *out = tfs_attr_out(&row);
    return result;
}

cache_result tfs_cache_statx(cache *c, uint64_t ino, uint32_t thread, struct fuse_statx_out *out) {
    attributes row;
    cache_result result = get_row(c, ino, thread, &row);
    if (result == HIT)
        *out = tfs_statx_out(&row);
    return result;
}

cache_result tfs_cache_placement(cache *c, uint64_t ino, placement *out) {
    pthread_mutex_lock(&c->lock);
    inode *each = tfs_find_inode(c, ino);
    bool known = each && S_ISREG(each->row.mode);
    if (known) {
        tfs_touch(each);
        *out = (placement){each->row.size, each->row.prefix, each->row.version, each->row.adopted};
    }
    pthread_mutex_unlock(&c->lock);
    return known ? HIT : MISS;
}

cache_result tfs_cache_whereabouts(cache *c, uint64_t ino, placement *out, uint64_t *directory) {
    pthread_mutex_lock(&c->lock);
    const inode *each = tfs_find_inode(c, ino);
    const dentry *name = each ? TAILQ_FIRST(&each->names) : NULL;
    bool is_file = each && S_ISREG(each->row.mode);
    *directory = each && S_ISDIR(each->row.mode) ? ino : name ? name->parent : 0;
    if (is_file)
        *out = (placement){each->row.size, each->row.prefix, each->row.version, each->row.adopted};
    pthread_mutex_unlock(&c->lock);
    return is_file ? HIT : MISS;
}

cache_result tfs_cache_getxattr(cache *c, uint64_t ino, const char *name, size_t name_length, uint8_t *out,
                                size_t room, size_t *length) {
    cache_result result = MISS;
    pthread_mutex_lock(&c->lock);
    inode *each = tfs_find_inode(c, ino);
    if (each && each->known_xattrs) {
        tfs_touch(each);
        result = name_length ? tfs_xattrs_value(each->xattrs, each->xattrs_length, name, name_length, out, room, length)
                             : tfs_xattrs_names(each->xattrs, each->xattrs_length, out, room, length);
    }
    pthread_mutex_unlock(&c->lock);
    return result;
}

/* ---------------------------------------------------------------- lookup counts */

int tfs_cache_add_lookups(cache *c, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&c->lock);
    int failed = tfs_lookup_counts_add(&c->lookups, ino, count);
    pthread_mutex_unlock(&c->lock);
    return failed;
}

/* Without memory it is the next mount that frees it. */
static void note_forgotten(cache *c, uint64_t ino) {
    if (c->forgotten_count == c->forgotten_room) {
        size_t room = c->forgotten_room ? 2 * c->forgotten_room : 64;
        uint64_t *larger = realloc(c->forgotten, room * sizeof *larger);
        if (!larger)
            return;
        c->forgotten = larger;
        c->forgotten_room = room;
    }
    c->forgotten[c->forgotten_count++] = ino;
}

void tfs_cache_forget(cache *c, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&c->lock);
    if (tfs_lookup_counts_drop(&c->lookups, ino, count))
        note_forgotten(c, ino);
    pthread_mutex_unlock(&c->lock);
}

size_t tfs_cache_take_forgotten(cache *c, uint64_t **found) {
    pthread_mutex_lock(&c->lock);
    size_t count = c->forgotten_count;
    *found = c->forgotten;
    c->forgotten = NULL;
    c->forgotten_count = c->forgotten_room = 0;
    pthread_mutex_unlock(&c->lock);
    return count;
}

bool tfs_cache_orphan(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    bool unknown = tfs_lookup_counts_orphan(&c->lookups, ino);
    pthread_mutex_unlock(&c->lock);
    return unknown;
}

uint64_t tfs_cache_lookup_count(cache *c, uint64_t ino) {
    pthread_mutex_lock(&c->lock);
    uint64_t count = tfs_lookup_counts_get(&c->lookups, ino);
    pthread_mutex_unlock(&c->lock);
    return count;
}
