#include "following.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LONELY = 16,       /* requests in a row after which a client is taken for the only one */
    TRUSTED = 64,      /* requests in a row after which a client is followed */
    LOOK_AGAIN = 1024, /* requests after which it is looked where it runs now */
    PROCESSOR = 39,    /* the field of /proc/PID/stat, proc_pid_stat(5) */
};

void following_init(following *f) {
    *f = (following){.core = -1};
}

/* The core on which a thread ran last, or -1; also for threads of other processes, by their number. */
static int core_of(uint32_t thread) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    const char *at = strrchr(text, ')'); /* the name, which may hold anything, ends there: field 2 */
    for (int field = 2; at && field < PROCESSOR; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at + 1) : -1;
}

static bool bind_to(const cpu_set_t *cores) {
    return sched_setaffinity(0, sizeof *cores, cores) == 0;
}

static cpu_set_t only(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((unsigned)core, &cores);
    return cores;
}

static void let_go(following *f) {
    if (f->core >= 0)
        bind_to(&f->allowed);
    f->core = -1;
}

/* What somebody else allowed since, holds from now on. */
static void note_allowed(following *f) {
    cpu_set_t now, ours;
    if (sched_getaffinity(0, sizeof now, &now) < 0)
        return;
    if (f->core >= 0) {
        ours = only(f->core);
        if (CPU_EQUAL(&now, &ours))
            return;
    }
    f->allowed = now;
    f->core = -1;
}

static void catch_up(following *f) {
    int core = core_of(f->client);
    note_allowed(f);
    if (core == f->core || CPU_COUNT(&f->allowed) < 2)
        return;
    if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET((unsigned)core, &f->allowed)) {
        let_go(f);
        return;
    }
    cpu_set_t cores = only(core);
    if (bind_to(&cores))
        f->core = core;
}

bool is_only_client(const following *f, uint32_t client) {
    return client && client == f->client && f->row >= LONELY;
}

bool follow(following *f, uint32_t client, bool alone) {
    if (!client)
        return f->core >= 0; /* the kernel's own: nobody waits for it */
    f->row = client == f->client ? f->row + 1 : 0;
    if (client != f->client || !alone) {
        let_go(f);
        f->client = client;
        f->same = 0;
        return false;
    }
    if (++f->same == TRUSTED || f->same % LOOK_AGAIN == 0)
        catch_up(f);
    return f->core >= 0;
}
