/* Requests answered from the table; each as `operation.answer`. What is not understood they leave to Python. */
#ifndef TIERFS_ANSWERS_H
#define TIERFS_ANSWERS_H

#include "prefetch.h"
#include "router.h"

verdict answer_lookup(worker *w, const request *q);
verdict answer_forget(worker *w, const request *q);
verdict answer_batch_forget(worker *w, const request *q);
verdict answer_getattr(worker *w, const request *q);
verdict answer_xattr(worker *w, const request *q);
verdict answer_statfs(worker *w, const request *q);
verdict answer_read(worker *w, const request *q);
verdict answer_listing(worker *w, const request *q);
verdict refuse_open(worker *w, const request *q);
verdict refuse(worker *w, const request *q);
verdict ignore(worker *w, const request *q);

/* The kernel knows an inode so many times less, as of a reply that it did not take. */
static inline void forget_inode(router *r, uint64_t ino, uint64_t times) {
    table_forget(r->table, ino, times);
    prefetch_forget(r->prefetch, ino);
}

#endif
