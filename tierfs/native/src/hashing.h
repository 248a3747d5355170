/* A chained hash table of structures that begin with a `node`; it owns none of them. */
#ifndef TIERFS_HASHING_H
#define TIERFS_HASHING_H

#include <stddef.h>
#include <stdint.h>

typedef struct node {
    struct node *chain; /* the next in the same bucket */
    uint64_t hash;
} node;

typedef struct {
    node **buckets;
    size_t mask, count;
} hashing;

/* Returns 0, or -1 without memory. */
int tfs_hashing_init(hashing *table);
void tfs_hashing_free(hashing *table);

/* Adds a node whose hash is set; grows when it can, and gets slower where it cannot. */
void tfs_hashing_add(hashing *table, node *added);
void tfs_hashing_remove(hashing *table, const node *removed);

static inline node *hashing_first(const hashing *table, uint64_t hash) {
    return table->buckets[hash & table->mask];
}

static inline size_t hashing_bytes(const hashing *table) {
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
