#include "hashing.h"

#include <stdlib.h>

enum { FIRST_BUCKETS = 1024 };

int tfs_hashing_init(hashing *table) {
    table->buckets = calloc(FIRST_BUCKETS, sizeof *table->buckets);
    table->mask = FIRST_BUCKETS - 1;
    table->count = 0;
    return table->buckets ? 0 : -1;
}

void tfs_hashing_free(hashing *table) {
    free(table->buckets);
    table->buckets = NULL;
}

static void grow(hashing *table) {
    size_t buckets = 2 * (table->mask + 1);
    node **larger = calloc(buckets, sizeof *larger);
    if (!larger)
        return;
    for (size_t i = 0; i <= table->mask; i++) {
        for (node *each = table->buckets[i], *next; each; each = next) {
            node **bucket = &larger[each->hash & (buckets - 1)];
            next = each->chain;
            each->chain = *bucket;
            *bucket = each;
        }
    }
    free(table->buckets);
    table->buckets = larger;
    table->mask = buckets - 1;
}

void tfs_hashing_add(hashing *table, node *added) {
    if (++table->count > table->mask)
        grow(table);
    node **bucket = &table->buckets[added->hash & table->mask];
    added->chain = *bucket;
    *bucket = added;
}

void tfs_hashing_remove(hashing *table, const node *removed) {
    node **place = &table->buckets[removed->hash & table->mask];
    while (*place != removed)
        place = &(*place)->chain;
    *place = removed->chain;
    table->count--;
}
