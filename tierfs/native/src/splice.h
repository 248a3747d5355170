/* The bytes of a large WRITE, left in a pipe: the kernel puts its pages there by reference (splice(2) of
   /dev/fuse, fuse_ref_folio() in fs/fuse/dev.c), and from there they are copied once, into an object, instead of
   into the worker's buffer first. Who changes such a page meanwhile, by a mapping, finds the old bytes, the new ones
   or some of both written, as with every write(2) that runs beside it.

   It costs calls, so only a worker that has just read a large WRITE reads what comes next that way: a client that
   writes a large file makes one after the other. Of everything else all is in the worker's buffer at once, as if
   read(2) had put it there. What is not belongs to the request that the worker handles. */
#ifndef TIERFS_SPLICE_H
#define TIERFS_SPLICE_H

#include "router.h"

/* Reads a request into the worker's buffer; of a large WRITE perhaps the fields alone. As tfs_device_read(). */
ssize_t tfs_splice_read(worker *w);
/* Whether bytes of the request are not in the worker's buffer. */
bool tfs_splice_has(const worker *w, const request *q);
/* Moves them to an offset of a file, once: how many, or -1 and errno. Where that is not all, all are in the worker's
   buffer then. The file must be open to be read as well. */
ssize_t tfs_splice_to_file(worker *w, int file, off_t offset);
/* Reads them into the worker's buffer, where the request says that they are. What was put into a file is read from
   there: nobody may have changed it meanwhile. False: they are lost. */
bool tfs_splice_fetch(worker *w);
uint8_t *tfs_splice_bytes(const worker *w);
/* What was put into a file is not fetched any more: somebody may change it. */
void tfs_splice_detach(worker *w);
/* The request has its reply: its bytes are discarded. */
void tfs_splice_discard(worker *w);
void tfs_splice_close(worker *w);

#endif
