#include "pages.h"

#include <stdlib.h>

int tfs_pages_init(pages *all, size_t limit) {
    *all = (pages){.limit = limit};
    TAILQ_INIT(&all->queue);
    return tfs_hashing_init(&all->by_directory);
}

void tfs_page_free(page *gone) {
    if (gone)
        free(gone->names);
    free(gone);
}

static size_t page_bytes(const page *p) {
    const listed *last = p->count ? &p->entries[p->count - 1] : NULL;
    return sizeof *p + p->count * sizeof *last + (last ? last->name + last->length : 0);
}

static void remove_page(pages *all, page *gone) {
    tfs_hashing_remove(&all->by_directory, &gone->node);
    TAILQ_REMOVE(&all->queue, gone, queued);
    all->used -= page_bytes(gone);
    tfs_page_free(gone);
}

void tfs_pages_free(pages *all) {
    while (!TAILQ_EMPTY(&all->queue))
        remove_page(all, TAILQ_FIRST(&all->queue));
    tfs_hashing_free(&all->by_directory);
}

/* The next page of the directory in the chain of a bucket, from `from` on. */
static page *of_directory(node *from, uint64_t directory) {
    page *each = (page *)from;
    while (each && each->directory != directory)
        each = (page *)each->node.chain;
    return each;
}

static page *first_of(const pages *all, uint64_t directory) {
    return of_directory(hashing_first(&all->by_directory, hash_number(directory)), directory);
}

static page *next_of(const page *p) {
    return of_directory(p->node.chain, p->directory);
}

/* A page that the new one continues was listed to its end, and makes way for it. */
static bool makes_way(const page *old, const page *added) {
    bool is_before = old->count && old->entries[old->count - 1].cookie == added->after;
    return is_before || old->after == added->after;
}

void tfs_pages_put(pages *all, page *added) {
    for (page *each = first_of(all, added->directory), *next; each; each = next) {
        next = next_of(each);
        if (makes_way(each, added))
            remove_page(all, each);
    }
    added->node.hash = hash_number(added->directory);
    tfs_hashing_add(&all->by_directory, &added->node);
    TAILQ_INSERT_TAIL(&all->queue, added, queued);
    all->used += page_bytes(added);
    while (all->used > all->limit && TAILQ_FIRST(&all->queue) != added)
        remove_page(all, TAILQ_FIRST(&all->queue));
}

void tfs_pages_drop(pages *all, uint64_t directory) {
    for (page *each = first_of(all, directory), *next; each; each = next) {
        next = next_of(each);
        remove_page(all, each);
    }
}

/* The index of the entry behind `cookie`, or -1 when that is not on the page. Cookies grow. */
static ptrdiff_t position(const page *p, uint64_t cookie) {
    size_t low = 0, high = p->count;
    if (cookie == p->after)
        return 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->entries[middle].cookie < cookie)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->count && p->entries[low].cookie == cookie ? (ptrdiff_t)low + 1 : -1;
}

static void keep(pages *all, page *used) {
    TAILQ_REMOVE(&all->queue, used, queued);
    TAILQ_INSERT_TAIL(&all->queue, used, queued);
}

const page *tfs_pages_find(pages *all, uint64_t directory, uint64_t cookie, size_t *at) {
    for (page *each = first_of(all, directory); each; each = next_of(each)) {
        ptrdiff_t found = position(each, cookie);
        if (found < 0 || ((size_t)found >= each->count && !each->end))
            continue;
        keep(all, each);
        *at = (size_t)found;
        return each;
    }
    return NULL;
}
