/* What of the protocol must be known to pass messages on. */
#ifndef TIERFS_PROTOCOL_H
#define TIERFS_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the kernel waits for a reply to a request of this kind. */
bool tfs_has_reply(uint32_t opcode);

/* How long the body of a request is at least that begins with `fh`; 0: it does not begin so. */
size_t tfs_body_with_fh(uint32_t opcode);

/* Changes INIT's reply to what the router does; `offered` are the flags of the request. */
void tfs_init_adapt(uint8_t *body, size_t length, uint32_t offered, uint32_t max_write);

#endif
