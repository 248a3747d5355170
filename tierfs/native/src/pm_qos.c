#include "pm_qos.h"

#include <fcntl.h>
#include <unistd.h>

enum {
    ENOUGH = 16,     /* wins in a row before the limit is set: each change interrupts every idle core */
    PATIENCE_MS = 1, /* without a request, after which the limit is released */
    NO_LIMIT = -1,   /* PM_QOS_DEFAULT_VALUE */
};

static void set_limit(const pm_qos *p, int32_t latency_us) {
    ssize_t written = write(p->device, &latency_us, sizeof latency_us);
    (void)written; /* no worse than without */
}

int tfs_pm_qos_open(pm_qos *p, int device, int32_t latency_us) {
    int own = fcntl(device, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -1;
    tfs_pm_qos_close(p);
    *p = (pm_qos){.device = own, .latency_us = latency_us};
    return 0;
}

void tfs_pm_qos_close(pm_qos *p) {
    if (p->device >= 0)
        close(p->device);
    p->device = -1;
    p->held = false;
}

void tfs_pm_qos_note(pm_qos *p, bool won) {
    p->wins = won ? p->wins + 1 : 0;
    if (p->wins < ENOUGH || p->held || p->device < 0)
        return;
    set_limit(p, p->latency_us);
    p->held = true;
}

int tfs_pm_qos_timeout(const pm_qos *p) {
    return p->held ? PATIENCE_MS : -1;
}

void tfs_pm_qos_release(pm_qos *p) {
    if (p->held)
        set_limit(p, NO_LIMIT);
    p->held = false;
}
