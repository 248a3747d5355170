/* What a worker is at, and others wait for or look at. */
#ifndef TIERFS_TURNS_H
#define TIERFS_TURNS_H

#include "router.h"

/* A request is being read and dealt with, */
void tfs_turn_begin(worker *w);
/* until it is answered, or its call is in the order of calls. */
void tfs_turn_end(worker *w);
/* Ends the turn, and waits until every request that was read before this worker's has come so far. */
void tfs_await_others(worker *w);

/* The worker is in a call of Python, */
void tfs_calls_begin(worker *w);
/* in another one, */
void tfs_calls_next(worker *w);
/* in none. */
void tfs_calls_end(worker *w);
bool tfs_is_in_calls(const worker *w);

#endif
