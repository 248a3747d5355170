/* Threads that are made as they are needed, up to a number, and a queue for when all are busy. */
#ifndef TIERFS_POOL_H
#define TIERFS_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

typedef struct pool pool;
typedef struct job job;
struct job {
    STAILQ_ENTRY(job) next;
    void (*run)(job *j, void *thread); /* frees the job */
    void (*drop)(job *j);              /* it is not going to be run */
};

typedef struct {
    const char *name; /* of the threads, 15 characters at most */
    unsigned most;
    void *(*begin)(void *context); /* called by each thread for what `run` gets; NULL: no memory */
    void (*end)(void *thread);
    void *context;
} pool_settings;

/* NULL without memory. */
pool *tfs_pool_new(const pool_settings *settings);
/* Waits for the threads; what is added from now on is refused. Again: nothing. NULL is fine. */
void tfs_pool_stop(pool *p);
/* Stops, drops what is queued, and frees. */
void tfs_pool_free(pool *p);
/* False: there is no thread, and none can be made, or it was stopped. */
bool tfs_pool_add(pool *p, job *j);
size_t tfs_pool_queued(const pool *p);

/* A named thread that takes no signal; 0 or an error number. */
int tfs_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

#endif
