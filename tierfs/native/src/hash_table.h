/* A chained hash table of structures that begin with a `hash_node`; it owns none of them. Not locked. */
#ifndef TIERFS_HASH_TABLE_H
#define TIERFS_HASH_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct hash_node {
    struct hash_node *chain; /* the next in the same bucket */
    uint64_t hash;
} hash_node;

typedef struct {
    hash_node **buckets;
    size_t mask, count;
} hash_table;

enum { HASH_FIRST_BUCKETS = 1024 };

/* Returns 0, or -1 without memory. */
static inline int hash_table_init(hash_table *table) {
    table->buckets = calloc(HASH_FIRST_BUCKETS, sizeof *table->buckets);
    table->mask = HASH_FIRST_BUCKETS - 1;
    table->count = 0;
    return table->buckets ? 0 : -1;
}

static inline void hash_table_free(hash_table *table) {
    free(table->buckets);
    table->buckets = NULL;
}

/* Doubles the buckets; without memory the chains get longer instead. */
static inline void hash_table_grow(hash_table *table) {
    size_t buckets = 2 * (table->mask + 1);
    hash_node **larger = calloc(buckets, sizeof *larger);
    if (!larger)
        return;
    for (size_t i = 0; i <= table->mask; i++) {
        for (hash_node *each = table->buckets[i], *next; each; each = next) {
            hash_node **bucket = &larger[each->hash & (buckets - 1)];
            next = each->chain;
            each->chain = *bucket;
            *bucket = each;
        }
    }
    free(table->buckets);
    table->buckets = larger;
    table->mask = buckets - 1;
}

/* Adds a node whose hash is set. */
static inline void hash_table_add(hash_table *table, hash_node *added) {
    if (++table->count > table->mask)
        hash_table_grow(table);
    hash_node **bucket = &table->buckets[added->hash & table->mask];
    added->chain = *bucket;
    *bucket = added;
}

static inline void hash_table_remove(hash_table *table, const hash_node *removed) {
    hash_node **place = &table->buckets[removed->hash & table->mask];
    while (*place != removed)
        place = &(*place)->chain;
    *place = removed->chain;
    table->count--;
}

/* The chain in which a node of this hash is, if it is there. */
static inline hash_node *hash_table_first(const hash_table *table, uint64_t hash) {
    return table->buckets[hash & table->mask];
}

static inline size_t hash_table_bytes(const hash_table *table) {
    return (table->mask + 1) * sizeof *table->buckets;
}

/* The finaliser of MurmurHash3: every bit of the key reaches every bit of the hash. */
static inline uint64_t hash_number(uint64_t key) {
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdULL;
    key ^= key >> 33;
    key *= 0xc4ceb9fe1a85ec53ULL;
    return key ^ key >> 33;
}

/* FNV-1a; `seed` is random, so that names cannot be chosen to collide. */
static inline uint64_t hash_name(uint64_t seed, const char *name, size_t length) {
    uint64_t hash = seed ^ 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ULL;
    return hash_number(hash);
}

#endif
