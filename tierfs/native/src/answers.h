/* Requests answered from the table; each as `operation.answer`. What is not understood they leave to Python. */
#ifndef TIERFS_ANSWERS_H
#define TIERFS_ANSWERS_H

#include "prefetch.h"
#include "router.h"

verdict tfs_answer_lookup(worker *w, const request *q);
verdict tfs_answer_forget(worker *w, const request *q);
verdict tfs_answer_batch_forget(worker *w, const request *q);
verdict tfs_answer_getattr(worker *w, const request *q);
verdict tfs_answer_statx(worker *w, const request *q);
verdict tfs_answer_xattr(worker *w, const request *q);
verdict tfs_answer_statfs(worker *w, const request *q);
verdict tfs_answer_read(worker *w, const request *q);
verdict tfs_answer_listing(worker *w, const request *q);
verdict tfs_answer_release(worker *w, const request *q);
verdict tfs_refuse_open(worker *w, const request *q);
verdict tfs_refuse(worker *w, const request *q);
verdict tfs_ignore(worker *w, const request *q);

/* The kernel knows an inode so many times less, as of a reply that it did not take. */
static inline void forget_inode(router *r, uint64_t ino, uint64_t times) {
    tfs_table_forget(r->table, ino, times);
    tfs_prefetch_forget(r->prefetch, ino);
}

#endif
