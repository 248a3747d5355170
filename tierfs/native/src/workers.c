#include "workers.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "dispatch.h"
#include "forward.h"
#include "splice.h"
#include "upcall.h"
#include "uring.h"
#include "worker.h"

enum {
    BACKLOG = 8,       /* requests in a row, without a pause, after which one more worker helps */
    LONG_BACKLOG = 32, /* the same where it must not help while upcalls are made */
    HELPER_SPINS = 64, /* empty looks after which a helper sleeps again, */
    HELPER_WAITS = 32, /* and after which it waits at the device while the leader is in an upcall */
    LOOKS_PER_CHECK = 64,
    ENOUGH_CORES = 3, /* for the leader, a helper and a client */
    LOOK_AGAIN = 16,   /* sleeps after which to look for a queue of requests again */
    LOOK_MS = 1,       /* after which the leader's upcalls are looked at again */
    QUIET_LOOKS = 50,  /* without a new upcall, after which nobody looks any more */
    EVENTS = 3,
    BUSY_NS = 30000,   /* of a spin, after which it sleeps until there is something */
};

/* The session is over: nobody is to wait any longer. */
static void stop_all(router *r) {
    atomic_store(&r->stopping, true);
    wake_leader(r);
    pthread_mutex_lock(&r->parking);
    pthread_cond_broadcast(&r->needed);
    pthread_cond_broadcast(&r->watch);
    pthread_mutex_unlock(&r->parking);
}

static void wake_helper(router *r) {
    pthread_mutex_lock(&r->parking);
    if (r->wanted < r->parked) {
        r->wanted++;
        pthread_cond_signal(&r->needed);
    }
    pthread_mutex_unlock(&r->parking);
}

/* Sleeps until the leader wakes a helper; false when all is over. */
static bool park(router *r) {
    pthread_mutex_lock(&r->parking);
    r->parked++;
    while (!r->wanted && !is_stopping(r))
        pthread_cond_wait(&r->needed, &r->parking);
    r->parked--;
    if (r->wanted)
        r->wanted--;
    pthread_mutex_unlock(&r->parking);
    return !is_stopping(r);
}

/* 1: a request was handled, 0: there was none, -1: the session is over. */
static int serve_request(worker *w) {
    tfs_busy_begin(w);
    ssize_t size = tfs_splice_read(w);
    if (size > 0)
        tfs_dispatch(w, &w->router->device.channel, (size_t)size);
    tfs_splice_discard(w);
    tfs_busy_end(w);
    return size > 0 ? 1 : (int)size;
}

/* Replies first: pyfuse3's callers have waited longest. */
static int serve_either(worker *w) {
    int reply = tfs_forward_waits(w->router->forward) ? tfs_forward_take_reply(w->router->forward, w) : 0;
    if (tfs_forward_has_queued(w->router->forward))
        tfs_forward_flush(w->router->forward); /* there may never be a moment to wait for room */
    if (reply < 0)
        return reply;
    int request = serve_request(w);
    return request ? request : reply;
}

/* Where this thread may run on one core alone, the client that sends the next request is probably bound to the
   same one, and cannot while we look. Asked now and then, since it may change at any time. */
static bool is_bound(worker *w) {
    cpu_set_t cores;
    if (w->looks++ % LOOKS_PER_CHECK == 0)
        w->cores = sched_getaffinity(0, sizeof cores, &cores) ? ENOUGH_CORES : CPU_COUNT(&cores);
    return w->cores == 1;
}

/* What the leader sleeps for: a request, a reply or room for what is queued, the end. */
static void list_events(const router *r, struct pollfd events[EVENTS]) {
    short room = tfs_forward_has_queued(r->forward) ? POLLOUT : 0;
    events[0] = (struct pollfd){r->device.fd, POLLIN, 0};
    events[1] = (struct pollfd){r->socket, (short)(POLLIN | room), 0};
    events[2] = (struct pollfd){r->wake, POLLIN, 0};
}

/* Who sleeps gets a core at once when it is woken. Who yields it instead, to another program, has it back when that
   one's slice ends, or with the next tick of the timer (4 ms), whatever comes meanwhile. */
static void doze(const router *r, uint64_t ns) {
    struct pollfd events[EVENTS];
    struct timespec left = {.tv_nsec = (long)ns};
    list_events(r, events);
    ppoll(events, EVENTS, &left, NULL);
}

/* Looks again and again for a while, since to sleep and be woken takes longer than the next request
   usually does. Where that proves wrong it pauses: an idle mount costs no processor time. */
static int spin(worker *w) {
    router *r = w->router;
    uint64_t now, busy_until, until;
    if (tfs_uring_has_begun(r->uring) && !tfs_forward_waits(r->forward))
        return 0; /* little comes by the device */
    if (is_bound(w) || !tfs_may_spin(w, r->spin_ns))
        return 0;
    now = now_ns();
    busy_until = now + BUSY_NS;
    until = now + r->spin_ns;
    do {
        int served = serve_either(w);
        if (served) {
            tfs_has_spun(w, true);
            tfs_pm_qos_note(&r->pm_qos, true);
            return served;
        }
        now = now_ns();
        if (now >= busy_until && now < until)
            doze(r, until - now);
    } while (now < until && !is_stopping(r));
    tfs_has_spun(w, false);
    tfs_pm_qos_note(&r->pm_qos, false);
    if (w->pause) /* the waits to come may all be shorter than tfs_pm_qos_timeout() */
        tfs_pm_qos_release(&r->pm_qos);
    return 0;
}

/* Sleeps until there is a request, a reply, room for what is queued, or the end. */
static int wait_for_any(worker *w) {
    router *r = w->router;
    uint64_t wakes;
    struct pollfd events[EVENTS];
    list_events(r, events);
    int ready = poll(events, EVENTS, tfs_pm_qos_timeout(&r->pm_qos));
    if (ready < 0)
        return errno == EINTR ? 0 : -1;
    if (!ready)
        tfs_pm_qos_release(&r->pm_qos);
    if (events[2].revents && read(r->wake, &wakes, sizeof wakes) < 0 && errno != EAGAIN)
        return -1;
    if (events[1].revents & POLLOUT)
        tfs_forward_flush(r->forward);
    if (events[1].revents & ~POLLOUT && tfs_forward_take_reply(w->router->forward, w) < 0)
        return -1;
    return events[0].revents ? serve_request(w) : 0;
}

/* What is there already, without waiting. After a look that found nothing, and unless it spins, the
   leader goes straight to sleep the next time: with one client a further look would be one call more
   for each request. Requests that queue up wake it at once, and show that looking pays again. */
static int serve_pending(worker *w, bool *look) {
    bool looks = *look || tfs_forward_waits(w->router->forward);
    int served = looks ? serve_either(w) : 0;
    w->without_pause = served ? w->without_pause + 1 : 0;
    if (looks && !served)
        served = spin(w);
    *look = served > 0;
    return served;
}

/* While the leader makes upcalls. */
static bool may_help_beside(const router *r) {
    return r->workers[0].cores >= ENOUGH_CORES;
}

/* On one core a helper would only take it from the leader. On two it would take the other from the clients while
   the leader makes upcalls: eight that mix reads with changes got 13,000 calls a second with it and 18,000 without. */
static void get_help(worker *w) {
    unsigned seq = atomic_load(&w->upcall_seq);
    bool makes_upcalls = seq != w->upcall_seq_before;
    atomic_store(&w->router->upcalls_queue_up, makes_upcalls);
    w->upcall_seq_before = seq;
    w->without_pause = 0;
    if (!is_bound(w) && (!makes_upcalls || may_help_beside(w->router)))
        wake_helper(w->router);
}

static void *lead(void *argument) {
    worker *w = argument;
    unsigned slept = 0;
    bool look = true;
    int served = 0;
    while (served >= 0 && !is_stopping(w->router)) {
        served = serve_pending(w, &look);
        if (w->without_pause >= (may_help_beside(w->router) ? BACKLOG : LONG_BACKLOG))
            get_help(w);
        if (!served) {
            served = wait_for_any(w);
            look = look || (w->router->spin_ns && w->cores != 1) || ++slept % LOOK_AGAIN == 0;
        }
    }
    tfs_pm_qos_release(&w->router->pm_qos);
    stop_all(w->router);
    end_session(w->router);
    tfs_upcall_detach();
    return NULL;
}

/* Where upcalls queue up it leaves the device to a leader that is in none: so the leader makes them, in whose core's
   caches Python's memory is, and the helper serves requests that need none. */
static int serve_as_helper(worker *w, bool beside) {
    if (beside) /* the leader takes no reply of pyfuse3 meanwhile */
        return serve_either(w);
    return atomic_load(&w->router->upcalls_queue_up) ? 0 : serve_request(w);
}

/* After a look that found nothing. One helper is enough to wait: each request would wake all that do. */
static void rest(const worker *w, bool waits) {
    router *r = w->router;
    struct pollfd device = {r->device.fd, POLLIN, 0};
    if (!waits || atomic_exchange(&r->helper_waits, true)) {
        sched_yield();
        return;
    }
    poll(&device, 1, LOOK_MS);
    atomic_store(&r->helper_waits, false);
}

/* Only requests that come without a pause, or while the leader is in an upcall, show that there is still work
   for two: one client alone would otherwise be served by the helper, and wake the leader for nothing each time. */
static void *help(void *argument) {
    worker *w = argument;
    router *r = w->router;
    while (park(r)) {
        for (unsigned empty = 0, in_a_row = 0; empty < HELPER_SPINS;) {
            bool beside = tfs_is_in_upcall(&r->workers[0]);
            if (beside && !may_help_beside(r))
                break;
            int served = serve_as_helper(w, beside);
            if (served < 0)
                break; /* the leader finds out as well */
            in_a_row = served ? in_a_row + 1 : 0;
            empty = in_a_row > 1 || (served && beside) ? 0 : empty + !served;
            if (!served)
                rest(w, beside && empty > HELPER_WAITS);
        }
    }
    tfs_upcall_detach();
    return NULL;
}

/* The leader has been in one upcall for a while: other requests are served meanwhile. Not by waiting without an
   end: the leader may be back at any time, and would be woken for nothing each time. */
static void serve_beside(worker *w, unsigned seq) {
    router *r = w->router;
    struct pollfd device = {r->device.fd, POLLIN, 0};
    while (atomic_load(&r->workers[0].upcall_seq) == seq && !is_stopping(r)) {
        int served = serve_either(w);
        if (served < 0)
            return; /* the leader finds out as well */
        if (!served)
            poll(&device, 1, LOOK_MS);
    }
}

/* Looks at the leader now and then while it makes upcalls: one may wait for Python's lock longer than a
   request should wait that needs none. */
static void *stand_by(void *argument) {
    worker *w = argument;
    router *r = w->router;
    static const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    while (!is_stopping(r)) {
        pthread_mutex_lock(&r->parking);
        while (!atomic_load(&r->watched) && !is_stopping(r))
            pthread_cond_wait(&r->watch, &r->parking);
        pthread_mutex_unlock(&r->parking);
        for (unsigned same = 0, last = 0; same < QUIET_LOOKS && !is_stopping(r);) {
            nanosleep(&pause, NULL);
            unsigned seq = atomic_load(&r->workers[0].upcall_seq);
            if (seq == last && seq % 2)
                serve_beside(w, seq);
            same = seq == last ? same + 1 : 0;
            last = seq;
        }
        atomic_store(&r->watched, false);
    }
    tfs_upcall_detach();
    return NULL;
}

static int start_worker(router *r, unsigned i, const char *name, void *(*run)(void *)) {
    worker *w = &r->workers[i];
    int error = tfs_worker_init(w, r) < 0 ? ENOMEM : tfs_thread_start(&w->thread, name, run, w);
    if (error) {
        tfs_worker_free(w);
        errno = error;
        return -1;
    }
    r->worker_count++;
    return 0;
}

int tfs_workers_start(router *r, unsigned count) {
    if (start_worker(r, 0, "tierfs-lead", lead) < 0)
        return -1;
    for (unsigned i = 1; i < count; i++)
        if (start_worker(r, i, "tierfs-help", help) < 0)
            return -1;
    return start_worker(r, count, "tierfs-standby", stand_by);
}

void tfs_workers_stop(router *r) {
    stop_all(r);
    for (unsigned i = 0; i < r->worker_count; i++) {
        pthread_join(r->workers[i].thread, NULL);
        tfs_worker_free(&r->workers[i]);
    }
    r->worker_count = 0;
    tfs_uring_stop(r->uring); /* after the leader, which starts them */
}
