/* Two eventfds: the leader is to look up, and the connection is over. */
#ifndef TIERFS_EVENTS_H
#define TIERFS_EVENTS_H

#include "router.h"

/* -1 and errno. */
int tfs_events_open(router *r);
void tfs_events_close(router *r);
void tfs_wake_leader(router *r);
/* Who waits for the router is told that it is over. */
void tfs_end_connection(router *r);

#endif
