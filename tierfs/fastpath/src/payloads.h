/* The bytes of WRITEs, which Python takes by a ticket instead of through the socket.

   A message of a megabyte would need as much contiguous kernel memory, twice, and two copies more. */
#ifndef TIERFS_PAYLOADS_H
#define TIERFS_PAYLOADS_H

#include <stddef.h>
#include <stdint.h>

typedef struct payloads payloads;

payloads *payloads_new(void);
void payloads_free(payloads *p);
/* Copies the bytes; the ticket, or 0 without memory. */
uint64_t payloads_put(payloads *p, const void *bytes, size_t length);
/* Hands the bytes over, to be given to free(3); NULL: no such ticket. */
void *payloads_take(payloads *p, uint64_t ticket, size_t *length);

#endif
