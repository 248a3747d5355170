#include "events.h"

#include <sys/eventfd.h>
#include <unistd.h>

int tfs_events_open(router *r) {
    r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return r->wake < 0 || r->ended < 0 ? -1 : 0;
}

void tfs_events_close(router *r) {
    if (r->wake >= 0)
        close(r->wake);
    if (r->ended >= 0)
        close(r->ended);
    r->wake = r->ended = -1;
}

/* An eventfd that is full is readable all the same. */
static void raise_event(int fd) {
    static const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

void tfs_wake_leader(router *r) {
    raise_event(r->wake);
}

void tfs_end_connection(router *r) {
    raise_event(r->ended);
}
