/* Which directories are worth listing ahead, since their names are being looked up one by one.

   To list a name costs the kernel and us about a fifth of what a LOOKUP of it does. So for each few
   lookups in a directory as many times LIST_AHEAD names are listed: where none of them is asked for
   after all, the lookups have become slower by a factor that is bounded, on a core that is usually idle;
   in a directory that is read in any order as a whole, seven lookups of eight are spared. */
#ifndef TIERFS_LOOKAHEAD_H
#define TIERFS_LOOKAHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DIRECTORIES = 4096, /* remembered at a time; of two that share a place the last one counts */
    LOOKUPS = 8,        /* after so many lookups the next names are listed */
    LIST_AHEAD = 8,     /* names for each lookup, at most */
};

typedef struct {
    uint64_t directory; /* 0: none */
    int64_t cookie;     /* where the listing goes on */
    uint32_t lookups, due; /* since the last step; when the next is due */
    uint32_t window, listed; /* names of the next step; of all in this pass */
    bool asked; /* a step was asked for, and has not ended */
} looking;

typedef struct {
    pthread_mutex_t lock;
    looking places[DIRECTORIES]; /* lock */
} lookahead;

typedef struct {
    int64_t cookie;
    uint32_t names;
} step;

void tfs_lookahead_init(lookahead *l);
/* A name of the directory was found by a LOOKUP. True: take a step, soon. */
bool tfs_lookahead_count(lookahead *l, uint64_t directory);
/* The kernel forgets an inode. Where it is a directory, it knows none of its names any longer. */
void tfs_lookahead_forget(lookahead *l, uint64_t ino);
/* What to list; false: nothing, another directory took the place. */
bool tfs_lookahead_next(lookahead *l, uint64_t directory, step *next);
/* The step is not taken; another one may be asked for. */
void tfs_lookahead_put_off(lookahead *l, uint64_t directory);
/* `names` were listed, up to `cookie`; 0: the listing is at its end, or failed. */
void tfs_lookahead_listed(lookahead *l, uint64_t directory, uint32_t names, int64_t cookie);

#endif
