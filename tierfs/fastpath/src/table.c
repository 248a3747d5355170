#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "table_parts.h"
#include "telling.h"
#include "xattrs.h"

enum { ALLOCATION = 16 }; /* what malloc spends on bookkeeping, about */

/* ---------------------------------------------------------------- life */

table *table_new(size_t limit) {
    table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->limit = limit;
    for (int i = 0; i < 2; i++)
        TAILQ_INIT(&t->queues[i]);
    TAILQ_INIT(&t->absent);
    if (pthread_mutex_init(&t->lock, NULL) || hashing_init(&t->inodes) ||
        hashing_init(&t->entries) || references_init(&t->references) ||
        getrandom(&t->seed, sizeof t->seed, 0) != sizeof t->seed) {
        table_free(t);
        return NULL;
    }
    return t;
}

static void clear(table *t) {
    for (int i = 0; i < 2; i++)
        while (!TAILQ_EMPTY(&t->queues[i]))
            remove_inode(t, TAILQ_FIRST(&t->queues[i]));
    while (!TAILQ_EMPTY(&t->absent))
        remove_entry(t, TAILQ_FIRST(&t->absent));
}

void table_free(table *t) {
    if (!t)
        return;
    if (t->inodes.buckets && t->entries.buckets)
        clear(t);
    hashing_free(&t->inodes);
    hashing_free(&t->entries);
    references_free(&t->references);
    free(t->forgotten);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void table_clear(table *t) {
    pthread_mutex_lock(&t->lock);
    clear(t);
    pthread_mutex_unlock(&t->lock);
}

/* ---------------------------------------------------------------- inodes and names */

static size_t entry_bytes(const entry *each) {
    return sizeof *each + each->length + ALLOCATION;
}

size_t table_bytes(const table *t) {
    return t->used + sizeof *t + hashing_bytes(&t->inodes) + hashing_bytes(&t->entries) +
           references_bytes(&t->references);
}

/* Names are counted apart: they come and go while the inode stays in its queue. */
size_t inode_bytes(const inode *each) {
    return sizeof *each + ALLOCATION;
}

static size_t xattrs_bytes(const inode *each) {
    return each->xattrs ? (size_t)each->xattrs_length + ALLOCATION : 0;
}

inode *find_inode(const table *t, uint64_t ino) {
    uint64_t hash = hash_number(ino);
    for (node *each = hashing_first(&t->inodes, hash); each; each = each->chain)
        if (each->hash == hash && ((inode *)each)->row.ino == ino)
            return (inode *)each;
    return NULL;
}

static uint64_t hash_entry(const table *t, uint64_t parent, const char *name, size_t length) {
    return hash_name(t->seed ^ hash_number(parent), name, length);
}

entry *find_entry(const table *t, uint64_t parent, const char *name, size_t length) {
    uint64_t hash = hash_entry(t, parent, name, length);
    for (node *each = hashing_first(&t->entries, hash); each; each = each->chain) {
        entry *candidate = (entry *)each;
        if (each->hash == hash && candidate->parent == parent && candidate->length == length &&
            !memcmp(candidate->name, name, length))
            return candidate;
    }
    return NULL;
}

void remove_entry(table *t, entry *gone) {
    if (gone->target) {
        TAILQ_REMOVE(&gone->target->names, gone, sibling);
    } else {
        TAILQ_REMOVE(&t->absent, gone, sibling);
        t->absent_bytes -= entry_bytes(gone);
    }
    hashing_remove(&t->entries, &gone->node);
    t->used -= entry_bytes(gone);
    free(gone);
}

/* A name is no longer known, so what is not found in its directory may exist. */
static void break_completeness(table *t, uint64_t directory) {
    inode *parent = find_inode(t, directory);
    if (parent)
        parent->listing = parent->complete = false;
}

static void forget_xattrs(table *t, inode *each) {
    t->used -= xattrs_bytes(each);
    free(each->xattrs);
    each->xattrs = NULL;
    each->xattrs_length = 0;
    each->known_xattrs = false;
}

void remove_inode(table *t, inode *gone) {
    entry *name;
    while ((name = TAILQ_FIRST(&gone->names))) {
        break_completeness(t, name->parent);
        remove_entry(t, name);
    }
    forget_xattrs(t, gone);
    dequeue(t, gone);
    hashing_remove(&t->inodes, &gone->node);
    t->used -= inode_bytes(gone);
    free(gone);
}

static inode *add_inode(table *t, uint64_t ino) {
    inode *added = calloc(1, sizeof *added);
    if (!added)
        return NULL;
    TAILQ_INIT(&added->names);
    added->node.hash = hash_number(ino);
    added->row.ino = ino;
    tell(t, added, 0);
    hashing_add(&t->inodes, &added->node);
    t->used += inode_bytes(added);
    enqueue(t, added);
    return added;
}

/* ---------------------------------------------------------------- publishing */

static inode *put_inode(table *t, const attributes *row) {
    inode *each = find_inode(t, row->ino);
    if (!each)
        each = add_inode(t, row->ino);
    if (each) {
        each->row = *row;
        make_room(t, each);
    }
    return each;
}

void table_put_inode(table *t, const attributes *row) {
    pthread_mutex_lock(&t->lock);
    put_inode(t, row);
    pthread_mutex_unlock(&t->lock);
}

bool table_change_inode(table *t, const attributes *row) {
    pthread_mutex_lock(&t->lock);
    inode *each = find_inode(t, row->ino);
    bool is_old = !each || (shows_otherwise(&each->row, row) && is_told(t, each));
    /* Of a name that goes the kernel takes note by itself, when it has the reply: it lowers the link count that it
       has (fuse_entry_unlinked). Told now, it would ask, have the lower count already, and lower that one:
       at 0 it refuses link(2). */
    bool loses_name = each && row->nlink < each->row.nlink && !S_ISDIR(row->mode);
    bool tells = is_old && row->nlink && !loses_name;
    each = put_inode(t, row);
    if (each && tells)
        untell(t, each);
    pthread_mutex_unlock(&t->lock);
    return tells;
}

void table_drop_inode(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *gone = find_inode(t, ino);
    if (gone)
        remove_inode(t, gone);
    pthread_mutex_unlock(&t->lock);
}

static entry *add_entry(table *t, uint64_t parent, const char *name, size_t length) {
    entry *added = malloc(sizeof *added + length);
    if (!added)
        return NULL;
    added->node.hash = hash_entry(t, parent, name, length);
    added->parent = parent;
    added->length = (uint16_t)length;
    memcpy(added->name, name, length);
    hashing_add(&t->entries, &added->node);
    t->used += entry_bytes(added);
    return added;
}

static void put_absent(table *t, uint64_t parent, const char *name, size_t length) {
    inode *directory = find_inode(t, parent);
    if (directory && directory->complete)
        return; /* whatever is not found there is absent */
    entry *added = add_entry(t, parent, name, length);
    if (added) {
        added->target = NULL;
        TAILQ_INSERT_HEAD(&t->absent, added, sibling);
        t->absent_bytes += entry_bytes(added);
    }
    make_room(t, NULL);
}

static void put_present(table *t, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    inode *target = find_inode(t, ino);
    entry *added = target ? add_entry(t, parent, name, length) : NULL;
    if (added) {
        added->target = target;
        TAILQ_INSERT_HEAD(&target->names, added, sibling);
    } else {
        break_completeness(t, parent);
    }
    make_room(t, target);
    make_room(t, NULL); /* of a file with very many names it is they that take the room */
}

void table_put_entry(table *t, uint64_t parent, const char *name, size_t length, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    entry *old = find_entry(t, parent, name, length);
    if (old)
        remove_entry(t, old);
    if (ino)
        put_present(t, parent, name, length, ino);
    else
        put_absent(t, parent, name, length);
    pthread_mutex_unlock(&t->lock);
}

void table_drop_entry(table *t, uint64_t parent, const char *name, size_t length) {
    pthread_mutex_lock(&t->lock);
    entry *old = find_entry(t, parent, name, length);
    if (old)
        remove_entry(t, old);
    break_completeness(t, parent);
    pthread_mutex_unlock(&t->lock);
}

static void keep_xattrs(table *t, inode *owner, const uint8_t *packed, size_t length) {
    uint8_t *copy = length ? malloc(length) : NULL;
    if (length && !copy)
        return;
    if (length)
        memcpy(copy, packed, length);
    owner->xattrs = copy;
    owner->xattrs_length = (uint16_t)length;
    owner->known_xattrs = true;
    t->used += xattrs_bytes(owner);
    make_room(t, owner);
}

void table_put_xattrs(table *t, uint64_t ino, const uint8_t *packed, size_t length) {
    pthread_mutex_lock(&t->lock);
    inode *owner = find_inode(t, ino);
    if (owner) {
        forget_xattrs(t, owner);
        if (packed)
            keep_xattrs(t, owner, packed, length);
    }
    pthread_mutex_unlock(&t->lock);
}

bool table_begin_directory(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *directory = find_inode(t, ino);
    bool begun = directory && !directory->complete;
    if (begun)
        directory->listing = true;
    pthread_mutex_unlock(&t->lock);
    return begun;
}

bool table_complete_directory(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *directory = find_inode(t, ino);
    bool complete = directory && (directory->complete || directory->listing);
    if (complete) {
        directory->complete = true;
        directory->listing = false;
    }
    pthread_mutex_unlock(&t->lock);
    return complete;
}

/* ---------------------------------------------------------------- references */

int table_refer(table *t, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&t->lock);
    int failed = references_add(&t->references, ino, count);
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

void table_forget(table *t, uint64_t ino, uint64_t count) {
    pthread_mutex_lock(&t->lock);
    if (references_drop(&t->references, ino, count))
        note_forgotten(t, ino);
    pthread_mutex_unlock(&t->lock);
}

uint64_t table_next_forgotten(table *t) {
    uint64_t ino = 0;
    if (!atomic_load_explicit(&t->forgotten_count, memory_order_relaxed))
        return 0;
    pthread_mutex_lock(&t->lock);
    if (t->forgotten_count)
        ino = t->forgotten[--t->forgotten_count];
    pthread_mutex_unlock(&t->lock);
    return ino;
}

bool table_orphan(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    bool unknown = references_orphan(&t->references, ino);
    pthread_mutex_unlock(&t->lock);
    return unknown;
}

uint64_t table_references(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    uint64_t count = references_count(&t->references, ino);
    pthread_mutex_unlock(&t->lock);
    return count;
}

table_counts table_count(table *t) {
    pthread_mutex_lock(&t->lock);
    table_counts counts = {
        .inodes = t->inodes.count,
        .entries = t->entries.count,
        .references = t->references.used,
        .memory = table_bytes(t),
        .evictions = t->evictions,
    };
    pthread_mutex_unlock(&t->lock);
    return counts;
}
