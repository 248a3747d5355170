/* PM QoS: cores do not halt while requests come one upon another.

   A client that waits leaves its core idle. Where an idle core halts, as a virtual machine's does by giving
   it back to the host, waking it for the reply takes longer than all the rest of a request. A limit of
   the latency of idle states (PM QoS, Documentation/power/pm_qos_interface.rst of the kernel) lets it
   poll instead. It holds for all cores, so the router holds it only while spinning (workers.c) proves right,
   and the kernel forgets it when the descriptor is closed, however we end. */
#ifndef TIERFS_PM_QOS_H
#define TIERFS_PM_QOS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int device; /* /dev/cpu_dma_latency, or -1 */
    int32_t latency_us;
    unsigned wins; /* spins in a row that found a request */
    bool held;
} pm_qos;

/* Duplicates the descriptor; -1 with errno. */
int tfs_pm_qos_open(pm_qos *p, int device, int32_t latency_us);
void tfs_pm_qos_close(pm_qos *p);
/* What came of a spin, true: a request. For the leader alone, as the two below. */
void tfs_pm_qos_note(pm_qos *p, bool won);
/* Milliseconds after which a leader that sleeps is to call tfs_pm_qos_release(), as poll(2) takes them. */
int tfs_pm_qos_timeout(const pm_qos *p);
/* Lets cores halt again. */
void tfs_pm_qos_release(pm_qos *p);

#endif
