#include "lookup_counts.h"

#include <stdlib.h>

#include "hash_table.h"

/* Open addressing with linear probing, at most three quarters full: 16 bytes a slot, for there may
   be as many as the kernel has inodes. */
enum { FIRST_SLOTS = 1024 };
#define COUNT_MASK (UINT64_MAX >> 1)

int tfs_lookup_counts_init(lookup_counts *all) {
    all->slots = calloc(FIRST_SLOTS, sizeof *all->slots);
    all->mask = FIRST_SLOTS - 1;
    all->used = 0;
    return all->slots ? 0 : -1;
}

void tfs_lookup_counts_free(lookup_counts *all) {
    free(all->slots);
    all->slots = NULL;
}

static size_t home(const lookup_counts *all, uint64_t ino) {
    return hash_number(ino) & all->mask;
}

/* Where the inode is, or the free slot where it would be. */
static lookup_count *slot_of(const lookup_counts *all, uint64_t ino) {
    size_t at = home(all, ino);
    while (all->slots[at].ino && all->slots[at].ino != ino)
        at = (at + 1) & all->mask;
    return &all->slots[at];
}

static int resize(lookup_counts *all, size_t slots) {
    lookup_counts larger = {calloc(slots, sizeof *larger.slots), slots - 1, all->used};
    if (!larger.slots)
        return -1;
    for (size_t i = 0; i <= all->mask; i++)
        if (all->slots[i].ino)
            *slot_of(&larger, all->slots[i].ino) = all->slots[i];
    free(all->slots);
    *all = larger;
    return 0;
}

static bool is_crowded(const lookup_counts *all) {
    return all->used >= (all->mask + 1) / 4 * 3;
}

int tfs_lookup_counts_add(lookup_counts *all, uint64_t ino, uint64_t count) {
    lookup_count *slot = slot_of(all, ino);
    if (!slot->ino) {
        if (is_crowded(all)) {
            if (resize(all, 2 * (all->mask + 1)) < 0)
                return -1;
            slot = slot_of(all, ino);
        }
        *slot = (lookup_count){.ino = ino};
        all->used++;
    }
    slot->count = slot->count + (count & COUNT_MASK);
    return 0;
}

/* Closes the gap: what was pushed beyond it by a collision moves up (Knuth, 6.4, algorithm R). */
static void vacate(lookup_counts *all, size_t gap) {
    for (size_t at = (gap + 1) & all->mask; all->slots[at].ino; at = (at + 1) & all->mask) {
        size_t from_home = (at - home(all, all->slots[at].ino)) & all->mask;
        if (from_home >= ((at - gap) & all->mask)) {
            all->slots[gap] = all->slots[at];
            gap = at;
        }
    }
    all->slots[gap] = (lookup_count){0};
    all->used--;
    if (all->mask + 1 > FIRST_SLOTS && all->used < (all->mask + 1) / 8)
        resize(all, (all->mask + 1) / 2); /* without memory for that it stays as it is */
}

bool tfs_lookup_counts_drop(lookup_counts *all, uint64_t ino, uint64_t count) {
    lookup_count *slot = slot_of(all, ino);
    if (!slot->ino)
        return false;
    if (slot->count > count) {
        slot->count = slot->count - (count & COUNT_MASK);
        return false;
    }
    bool orphan = slot->orphan;
    vacate(all, (size_t)(slot - all->slots));
    return orphan;
}

bool tfs_lookup_counts_orphan(lookup_counts *all, uint64_t ino) {
    lookup_count *slot = slot_of(all, ino);
    if (!slot->ino)
        return true;
    slot->orphan = 1;
    return false;
}

uint64_t tfs_lookup_counts_get(const lookup_counts *all, uint64_t ino) {
    return slot_of(all, ino)->count;
}
