#include "heap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A sanitizer is to see each thing apart. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { CHUNK = 256 * 1024 };

/* At an address that is a multiple of CHUNK, so that it is found from what lies in it. */
struct heap_chunk {
    LIST_ENTRY(heap_chunk) next; /* among those with room */
    void *given;                 /* a list, each points to the next */
    uint32_t size, capacity;     /* bytes of each; how many fit */
    uint32_t used, fresh;        /* in use; never in use so far are those from `fresh` on */
};

enum { FIRST = (sizeof(heap_chunk) + HEAP_STEP - 1) / HEAP_STEP * HEAP_STEP };

void tfs_heap_init(heap *h) {
    for (int i = 0; i < HEAP_SIZES; i++)
        LIST_INIT(&h->chunks[i]);
}

/* Twice as much is mapped, and what lies outside of the multiple is given back. */
static heap_chunk *map_chunk(void) {
    uint8_t *mapped = mmap(NULL, 2 * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t before = (CHUNK - (uintptr_t)mapped % CHUNK) % CHUNK;
    if (before)
        munmap(mapped, before);
    munmap(mapped + before + CHUNK, CHUNK - before);
    return (heap_chunk *)(void *)(mapped + before);
}

static heap_chunk *add_chunk(heap *h, size_t at) {
    heap_chunk *c = map_chunk();
    if (!c)
        return NULL;
    c->size = (uint32_t)(at * HEAP_STEP);
    c->capacity = (CHUNK - FIRST) / c->size;
    LIST_INSERT_HEAD(&h->chunks[at], c, next);
    return c;
}

static size_t place_of(size_t size) {
    return size ? (size + HEAP_STEP - 1) / HEAP_STEP : 1;
}

void *tfs_heap_take(heap *h, size_t size) {
    size_t at = place_of(size);
    if (SANITIZED || size > HEAP_LARGEST)
        return calloc(1, size ? size : 1);
    heap_chunk *c = LIST_FIRST(&h->chunks[at]);
    if (!c && !(c = add_chunk(h, at)))
        return NULL;
    void *taken = c->given;
    if (taken)
        memcpy(&c->given, taken, sizeof c->given);
    else
        taken = (uint8_t *)c + FIRST + (size_t)c->size * c->fresh++;
    if (++c->used == c->capacity)
        LIST_REMOVE(c, next);
    return memset(taken, 0, size);
}

void tfs_heap_give(heap *h, void *gone, size_t size) {
    size_t at = place_of(size);
    if (SANITIZED || size > HEAP_LARGEST || !gone) {
        free(gone);
        return;
    }
    heap_chunk *c = (heap_chunk *)((uintptr_t)gone / CHUNK * CHUNK);
    memcpy(gone, &c->given, sizeof c->given);
    c->given = gone;
    if (c->used-- == c->capacity)
        LIST_INSERT_HEAD(&h->chunks[at], c, next);
    bool is_last = LIST_FIRST(&h->chunks[at]) == c && !LIST_NEXT(c, next);
    if (!c->used && !is_last) { /* one is kept, so as not to be mapped again and again */
        LIST_REMOVE(c, next);
        munmap(c, CHUNK);
    }
}

void tfs_heap_free(heap *h) {
    for (int i = 0; i < HEAP_SIZES; i++)
        for (heap_chunk *c; (c = LIST_FIRST(&h->chunks[i])); munmap(c, CHUNK))
            LIST_REMOVE(c, next);
}
