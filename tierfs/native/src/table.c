#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "table_parts.h"
#include "told.h"
#include "xattrs.h"

/* ---------------------------------------------------------------- life */

table *tfs_table_new(size_t limit) {
    table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->limit = limit;
    tfs_heap_init(&t->heap);
    for (int i = 0; i < 2; i++)
        TAILQ_INIT(&t->queues[i]);
    TAILQ_INIT(&t->absent);
    if (pthread_mutex_init(&t->lock, NULL) || tfs_hashing_init(&t->inodes) ||
        tfs_hashing_init(&t->entries) || tfs_references_init(&t->references) ||
        getrandom(&t->seed, sizeof t->seed, 0) != sizeof t->seed) {
        tfs_table_free(t);
        return NULL;
    }
    return t;
}

static void clear(table *t) {
    for (int i = 0; i < 2; i++)
        while (!TAILQ_EMPTY(&t->queues[i]))
            tfs_remove_inode(t, TAILQ_FIRST(&t->queues[i]));
    while (!TAILQ_EMPTY(&t->absent))
        tfs_remove_entry(t, TAILQ_FIRST(&t->absent));
}

void tfs_table_free(table *t) {
    if (!t)
        return;
    if (t->inodes.buckets && t->entries.buckets)
        clear(t);
    tfs_hashing_free(&t->inodes);
    tfs_hashing_free(&t->entries);
    tfs_references_free(&t->references);
    free(t->forgotten);
    tfs_heap_free(&t->heap);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void tfs_table_clear(table *t) {
    pthread_mutex_lock(&t->lock);
    clear(t);
    pthread_mutex_unlock(&t->lock);
}

static inode *add_inode(table *t, uint64_t ino) {
    inode *added = tfs_heap_take(&t->heap, sizeof *added);
    if (!added)
        return NULL;
    TAILQ_INIT(&added->names);
    added->node.hash = hash_number(ino);
    added->row.ino = ino;
    tfs_tell(t, added, 0);
    tfs_hashing_add(&t->inodes, &added->node);
    t->used += tfs_inode_bytes(added);
    tfs_enqueue(t, added);
    return added;
}

/* ---------------------------------------------------------------- publishing */

static inode *put_inode(table *t, const attributes *row) {
    inode *each = tfs_find_inode(t, row->ino);
    if (!each)
        each = add_inode(t, row->ino);
    if (each) {
        each->row = *row;
        tfs_make_room(t, each);
    }
    return each;
}

void tfs_table_put_inode(table *t, const attributes *row) {
    pthread_mutex_lock(&t->lock);
    put_inode(t, row);
    pthread_mutex_unlock(&t->lock);
}

bool tfs_table_change_inode(table *t, const attributes *row) {
    pthread_mutex_lock(&t->lock);
    inode *each = tfs_find_inode(t, row->ino);
    bool is_old = !each || (tfs_shows_otherwise(&each->row, row) && tfs_is_told(t, each));
    /* Of a name that goes the kernel takes note by itself, when it has the reply: it lowers the link count that it
       has (fuse_entry_unlinked). Told now, it would ask, have the lower count already, and lower that one:
       at 0 it refuses link(2). */
    bool loses_name = each && row->nlink < each->row.nlink && !S_ISDIR(row->mode);
    bool tells = is_old && row->nlink && !loses_name;
    each = put_inode(t, row);
    if (each && tells)
        tfs_untell(t, each);
    pthread_mutex_unlock(&t->lock);
    return tells;
}

void tfs_table_drop_inode(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *gone = tfs_find_inode(t, ino);
    if (gone)
        tfs_remove_inode(t, gone);
    pthread_mutex_unlock(&t->lock);
}

static entry *add_entry(table *t, uint64_t parent, const char *name, size_t length) {
    entry *added = tfs_heap_take(&t->heap, sizeof *added + length);
    if (!added)
        return NULL;
    added->node.hash = tfs_hash_entry(t, parent, name, length);
    added->parent = parent;
    added->length = (uint16_t)length;
    memcpy(added->name, name, length);
    tfs_hashing_add(&t->entries, &added->node);
    t->used += tfs_entry_bytes(added);
    return added;
}

static void put_absent(table *t, uint64_t parent, const char *name, size_t length) {
    inode *directory = tfs_find_inode(t, parent);
    if (directory && directory->complete)
        return; /* whatever is not found there is absent */
    entry *added = add_entry(t, parent, name, length);
    if (added) {
        added->target = NULL;
        TAILQ_INSERT_HEAD(&t->absent, added, sibling);
        t->absent_bytes += tfs_entry_bytes(added);
    }
    tfs_make_room(t, NULL);
}

static void put_present(table *t, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    inode *target = tfs_find_inode(t, ino);
    entry *added = target ? add_entry(t, parent, name, length) : NULL;
    if (added) {
        added->target = target;
        TAILQ_INSERT_HEAD(&target->names, added, sibling);
    } else {
        tfs_break_completeness(t, parent);
    }
    tfs_make_room(t, target);
    tfs_make_room(t, NULL); /* of a file with very many names it is they that take the room */
}

void tfs_table_put_entry(table *t, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    entry *old = tfs_find_entry(t, parent, name, length);
    if (old)
        tfs_remove_entry(t, old);
    if (ino)
        put_present(t, parent, name, length, ino);
    else
        put_absent(t, parent, name, length);
    pthread_mutex_unlock(&t->lock);
}

void tfs_table_drop_entry(table *t, uint64_t parent, const char *name, size_t length) {
    pthread_mutex_lock(&t->lock);
    entry *old = tfs_find_entry(t, parent, name, length);
    if (old)
        tfs_remove_entry(t, old);
    tfs_break_completeness(t, parent);
    pthread_mutex_unlock(&t->lock);
}

static void keep_xattrs(table *t, inode *owner, const uint8_t *packed, size_t length) {
    uint8_t *copy = length ? tfs_heap_take(&t->heap, length) : NULL;
    if (length && !copy)
        return;
    if (length)
        memcpy(copy, packed, length);
    owner->xattrs = copy;
    owner->xattrs_length = (uint16_t)length;
    owner->known_xattrs = true;
    t->used += tfs_xattrs_bytes(owner);
    tfs_make_room(t, owner);
}

void tfs_table_put_xattrs(table *t, uint64_t ino, const uint8_t *packed, size_t length) {
    pthread_mutex_lock(&t->lock);
    inode *owner = tfs_find_inode(t, ino);
    if (owner) {
        tfs_forget_xattrs(t, owner);
        if (packed)
            keep_xattrs(t, owner, packed, length);
    }
    pthread_mutex_unlock(&t->lock);
}

bool tfs_table_begin_directory(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *directory = tfs_find_inode(t, ino);
    bool begun = directory && !directory->complete;
    if (begun)
        directory->listing = true;
    pthread_mutex_unlock(&t->lock);
    return begun;
}

bool tfs_table_complete_directory(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *directory = tfs_find_inode(t, ino);
    bool complete = directory && (directory->complete || directory->listing);
    if (complete) {
        directory->complete = true;
        directory->listing = false;
    }
    pthread_mutex_unlock(&t->lock);
    return complete;
}

/* ---------------------------------------------------------------- references */

int tfs_table_refer(table *t, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&t->lock);
    int failed = tfs_references_add(&t->references, ino, count);
    pthread_mutex_unlock(&t->lock);
    return failed;
}

/* Without memory it is the next mount that frees it. */
static void note_forgotten(table *t, uint64_t ino) {
    if (t->forgotten_count == t->forgotten_room) {
        size_t room = t->forgotten_room ? 2 * t->forgotten_room : 64;
        uint64_t *larger = realloc(t->forgotten, room * sizeof *larger);
        if (!larger)
            return;
        t->forgotten = larger;
        t->forgotten_room = room;
    }
    t->forgotten[t->forgotten_count++] = ino;
}

void tfs_table_forget(table *t, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&t->lock);
    if (tfs_references_drop(&t->references, ino, count))
        note_forgotten(t, ino);
    pthread_mutex_unlock(&t->lock);
}

uint64_t tfs_table_next_forgotten(table *t) {
    uint64_t ino = 0;
    if (!atomic_load_explicit(&t->forgotten_count, memory_order_relaxed))
        return 0;
    pthread_mutex_lock(&t->lock);
    if (t->forgotten_count)
        ino = t->forgotten[--t->forgotten_count];
    pthread_mutex_unlock(&t->lock);
    return ino;
}

bool tfs_table_orphan(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    bool unknown = tfs_references_orphan(&t->references, ino);
    pthread_mutex_unlock(&t->lock);
    return unknown;
}

uint64_t tfs_table_references(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    uint64_t count = tfs_references_count(&t->references, ino);
    pthread_mutex_unlock(&t->lock);
    return count;
}

table_counts tfs_table_count(table *t) {
    pthread_mutex_lock(&t->lock);
    table_counts counts = {
        .inodes = t->inodes.count,
        .entries = t->entries.count,
        .references = t->references.used,
        .memory = tfs_table_bytes(t),
        .evictions = t->evictions,
    };
    pthread_mutex_unlock(&t->lock);
    return counts;
}
