/* To which threads the table's attributes were told: for telling.h, which says why. */
#ifndef TIERFS_TOLD_H
#define TIERFS_TOLD_H

#include "table_parts.h"

/* -------- under the table's lock */
/* The attributes are told to a thread; 0: nobody knows which. */
void tfs_tell(const table *t, inode *each, uint32_t thread);
/* Nobody was told since. */
void tfs_untell(const table *t, inode *each);
bool tfs_is_told(const table *t, const inode *each);
bool tfs_shows_otherwise(const attributes *before, const attributes *now);

/* -------- without it */
/* Python tells an inode's attributes, or those of any inode. */
void tfs_table_tell_unseen(table *t, uint64_t ino);
void tfs_table_tell_any_unseen(table *t);
/* A thread that makes a request has taken over what it was told of an inode, or of what has a name. */
void tfs_table_heard(table *t, uint64_t ino, uint32_t thread);
void tfs_table_heard_of(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread);

#endif
