/* The leader goes to the core of its client.

   To wake a thread on another core, idle as it is while nobody else runs, takes longer than most
   requests do. While one thread alone makes requests, one after the other, its core has nothing to do
   until the reply: so the leader binds itself to that core, and the two take turns there. With several
   clients, or one that streams a large file, it runs wherever the scheduler wants. */
#ifndef TIERFS_FOLLOWING_H
#define TIERFS_FOLLOWING_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t client; /* the thread that made the last request */
    unsigned same;   /* requests that it made in a row, each answered at once */
    unsigned row;    /* requests that it made in a row */
    int core;        /* that we are bound to, or -1 */
    cpu_set_t allowed;
} following;

void following_init(following *f);
/* A thread makes a request; `alone`: whether it waits for the reply before it makes the next one. True:
   we are bound to its core. */
bool follow(following *f, uint32_t client, bool alone);
/* Whether for some time nobody but this client has made a request. */
bool is_only_client(const following *f, uint32_t client);

#endif
