#include "pool.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pool {
    pool_settings settings;
    pthread_mutex_t lock;
    pthread_cond_t added;
    STAILQ_HEAD(, job) jobs; /* lock */
    _Atomic size_t queued;   /* written under the lock */
    unsigned started, idle;  /* lock */
    bool stopping;           /* lock */
    pthread_t threads[];     /* lock */
};

enum { SHORTEST_SLICE_NS = 100000 }; /* fair.c, __setparam_fair() */

/* struct sched_attr, version 0, which glibc has since 2.41 */
typedef struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
} scheduling;
_Static_assert(sizeof(scheduling) == 48, "SCHED_ATTR_SIZE_VER0");

/* Lets who is woken by a request preempt who has a longer slice; else it waits until that ends, or for the next
   tick (fair.c, do_preempt_short()). Kernels before Linux 6.12 ignore it. False: this thread has another policy. */
static bool shorten_slice(scheduling *before) {
    if (syscall(SYS_sched_getattr, 0, before, sizeof *before, 0) || before->policy != SCHED_OTHER)
        return false;
    scheduling shorter = *before;
    shorter.runtime = SHORTEST_SLICE_NS;
    return !syscall(SYS_sched_setattr, 0, &shorter, 0);
}

int tfs_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument) {
    sigset_t all, before;
    scheduling slice = {0};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool shorter = shorten_slice(&slice); /* inherited, as the mask is */
    int error = pthread_create(thread, NULL, run, argument);
    if (shorter)
        syscall(SYS_sched_setattr, 0, &slice, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(*thread, name);
    return error;
}

pool *tfs_pool_new(const pool_settings *settings) {
    pool *p = calloc(1, sizeof *p + settings->most * sizeof *p->threads);
    if (!p || pthread_mutex_init(&p->lock, NULL) || pthread_cond_init(&p->added, NULL)) {
        free(p);
        return NULL;
    }
    p->settings = *settings;
    STAILQ_INIT(&p->jobs);
    return p;
}

static job *next_job(pool *p) {
    pthread_mutex_lock(&p->lock);
    while (STAILQ_EMPTY(&p->jobs) && !p->stopping) {
        p->idle++;
        pthread_cond_wait(&p->added, &p->lock);
        p->idle--;
    }
    job *taken = p->stopping ? NULL : STAILQ_FIRST(&p->jobs);
    if (taken) {
        STAILQ_REMOVE_HEAD(&p->jobs, next);
        p->queued--;
    }
    pthread_mutex_unlock(&p->lock);
    return taken;
}

static void *work(void *argument) {
    pool *p = argument;
    void *thread = p->settings.begin(p->settings.context);
    for (job *j; (j = next_job(p));)
        (thread ? j->run(j, thread) : j->drop(j));
    if (thread)
        p->settings.end(thread);
    return NULL;
}

/* With the lock held: one thread more, where all are busy. None once it ends, who would join it? */
static void staff(pool *p) {
    if (p->queued > p->idle && p->started < p->settings.most && !p->stopping &&
        !tfs_thread_start(&p->threads[p->started], p->settings.name, work, p))
        p->started++;
}

bool tfs_pool_add(pool *p, job *j) {
    pthread_mutex_lock(&p->lock);
    STAILQ_INSERT_TAIL(&p->jobs, j, next);
    p->queued++;
    staff(p);
    bool served = p->started > 0 && !p->stopping;
    if (served) {
        pthread_cond_signal(&p->added);
    } else {
        STAILQ_REMOVE(&p->jobs, j, job, next);
        p->queued--;
    }
    pthread_mutex_unlock(&p->lock);
    return served;
}

size_t tfs_pool_queued(const pool *p) {
    return atomic_load_explicit(&p->queued, memory_order_relaxed);
}

void tfs_pool_stop(pool *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->added);
    unsigned started = p->started;
    p->started = 0;
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(p->threads[i], NULL);
}

void tfs_pool_free(pool *p) {
    if (!p)
        return;
    tfs_pool_stop(p);
    for (job *j; (j = STAILQ_FIRST(&p->jobs));) {
        STAILQ_REMOVE_HEAD(&p->jobs, next);
        j->drop(j);
    }
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->added);
    free(p);
}
