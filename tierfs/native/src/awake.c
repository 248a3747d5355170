#include "awake.h"

#include <fcntl.h>
#include <unistd.h>

enum {
    ENOUGH = 16,    /* wins in a row: each change interrupts every idle core */
    PATIENCE_MS = 1, /* without a request, after which it is over */
    NO_LIMIT = -1,  /* PM_QOS_DEFAULT_VALUE */
};

static void ask(const awake *a, int32_t latency_us) {
    ssize_t written = write(a->device, &latency_us, sizeof latency_us);
    (void)written; /* no worse than without */
}

int tfs_awake_open(awake *a, int device, int32_t latency_us) {
    int own = fcntl(device, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -1;
    tfs_awake_close(a);
    *a = (awake){.device = own, .latency_us = latency_us};
    return 0;
}

void tfs_awake_close(awake *a) {
    if (a->device >= 0)
        close(a->device);
    a->device = -1;
    a->held = false;
}

void tfs_awake_note(awake *a, bool won) {
    a->wins = won ? a->wins + 1 : 0;
    if (a->wins < ENOUGH || a->held || a->device < 0)
        return;
    ask(a, a->latency_us);
    a->held = true;
}

int tfs_awake_timeout(const awake *a) {
    return a->held ? PATIENCE_MS : -1;
}

void tfs_awake_end(awake *a) {
    if (a->held)
        ask(a, NO_LIMIT);
    a->held = false;
}
