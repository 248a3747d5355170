#include "slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* With AddressSanitizer each object is malloc's, so that it is checked by itself. */
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

enum { SLAB_BYTES = 256 * 1024 };

/* At an address that is a multiple of SLAB_BYTES, so that it is found from an object in it. */
struct slab {
    LIST_ENTRY(slab) next;   /* among the partial ones of its size */
    void *freelist;          /* objects that were freed, each points to the next */
    uint32_t size, capacity; /* bytes of an object; how many fit */
    uint32_t used, fresh;    /* objects in use; those from `fresh` on were never in use */
};

enum { FIRST_OBJECT = (sizeof(slab) + SLAB_STEP - 1) / SLAB_STEP * SLAB_STEP };

void tfs_slabs_init(slabs *all) {
    for (int i = 0; i < SLAB_SIZES; i++)
        LIST_INIT(&all->partial[i]);
}

/* Twice as much is mapped, and what lies outside of the multiple is unmapped. */
static slab *map_slab(void) {
    uint8_t *mapped = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t before = (SLAB_BYTES - (uintptr_t)mapped % SLAB_BYTES) % SLAB_BYTES;
    if (before)
        munmap(mapped, before);
    munmap(mapped + before + SLAB_BYTES, SLAB_BYTES - before);
    return (slab *)(void *)(mapped + before);
}

static slab *add_slab(slabs *all, size_t at) {
    slab *s = map_slab();
    if (!s)
        return NULL;
    s->size = (uint32_t)(at * SLAB_STEP);
    s->capacity = (SLAB_BYTES - FIRST_OBJECT) / s->size;
    LIST_INSERT_HEAD(&all->partial[at], s, next);
    return s;
}

static size_t size_class(size_t size) {
    return size ? (size + SLAB_STEP - 1) / SLAB_STEP : 1;
}

void *tfs_slab_alloc(slabs *all, size_t size) {
    size_t at = size_class(size);
    if (SANITIZED || size > SLAB_LARGEST)
        return calloc(1, size ? size : 1);
    slab *s = LIST_FIRST(&all->partial[at]);
    if (!s && !(s = add_slab(all, at)))
        return NULL;
    void *object = s->freelist;
    if (object)
        memcpy(&s->freelist, object, sizeof s->freelist);
    else
        object = (uint8_t *)s + FIRST_OBJECT + (size_t)s->size * s->fresh++;
    if (++s->used == s->capacity)
        LIST_REMOVE(s, next);
    return memset(object, 0, size);
}

void tfs_slab_free(slabs *all, void *object, size_t size) {
    size_t at = size_class(size);
    if (SANITIZED || size > SLAB_LARGEST || !object) {
        free(object);
        return;
    }
    slab *s = (slab *)((uintptr_t)object / SLAB_BYTES * SLAB_BYTES);
    memcpy(object, &s->freelist, sizeof s->freelist);
    s->freelist = object;
    if (s->used-- == s->capacity)
        LIST_INSERT_HEAD(&all->partial[at], s, next);
    bool is_last = LIST_FIRST(&all->partial[at]) == s && !LIST_NEXT(s, next);
    if (!s->used && !is_last) { /* one is kept, so as not to be mapped again and again */
        LIST_REMOVE(s, next);
        munmap(s, SLAB_BYTES);
    }
}

void tfs_slabs_free(slabs *all) {
    for (int i = 0; i < SLAB_SIZES; i++)
        for (slab *s; (s = LIST_FIRST(&all->partial[i])); munmap(s, SLAB_BYTES))
            LIST_REMOVE(s, next);
}
