/* Which directories are worth listing ahead, since their names are being looked up one by one.

   To list a name costs the kernel and us about a fifth of what a LOOKUP of it does. So for each few
   lookups in a directory as many times NAMES_PER_LOOKUP names are listed: where none of them is looked up
   after all, the lookups have become slower by a factor that is bounded, on a core that is usually idle;
   in a directory that is read in any order as a whole, seven lookups of eight are spared. */
#ifndef TIERFS_PREFETCH_WINDOW_H
#define TIERFS_PREFETCH_WINDOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DIRECTORIES = 4096,   /* remembered at a time; of two that share a place the last one counts */
    LOOKUPS = 8,          /* lookups after which the next names are listed */
    NAMES_PER_LOOKUP = 8, /* names for each lookup, at most */
};

typedef struct {
    uint64_t directory; /* 0: none */
    int64_t cookie;     /* where the listing continues */
    uint32_t lookups, due;   /* since the last step; when the next is due */
    uint32_t window, listed; /* names of the next step; of all in this pass */
    bool queued;             /* a step is queued, and has not ended */
} prefetch_window;

typedef struct {
    pthread_mutex_t lock;
    prefetch_window windows[DIRECTORIES]; /* lock */
} prefetch_windows;

typedef struct {
    int64_t cookie;
    uint32_t names;
} step;

void tfs_prefetch_window_init(prefetch_windows *all);
/* A name of the directory was found by a LOOKUP. True: take a step, soon. */
bool tfs_prefetch_window_count(prefetch_windows *all, uint64_t directory);
/* The kernel forgets an inode. Where it is a directory, it knows none of its names any longer. */
void tfs_prefetch_window_forget(prefetch_windows *all, uint64_t ino);
/* What to list; false: nothing, another directory took the place. */
bool tfs_prefetch_window_next(prefetch_windows *all, uint64_t directory, step *next);
/* The step is not taken; another one may be queued. */
void tfs_prefetch_window_put_off(prefetch_windows *all, uint64_t directory);
/* `names` were listed, up to `cookie`; 0: the listing is at its end, or failed. */
void tfs_prefetch_window_listed(prefetch_windows *all, uint64_t directory, uint32_t names, int64_t cookie);

#endif
