#include "told.h"

enum { NOBODY = 0 };
#define SEVERAL UINT32_MAX /* or nobody knows whom */

bool tfs_shows_otherwise(const attributes *before, const attributes *now) {
    return before->size != now->size || before->atime != now->atime || before->mtime != now->mtime ||
           before->ctime != now->ctime || before->mode != now->mode || before->uid != now->uid ||
           before->gid != now->gid || before->nlink != now->nlink;
}

static uint32_t told(const table *t, const inode *each) {
    return each->told_era == t->era ? each->told : SEVERAL;
}

bool tfs_is_told(const table *t, const inode *each) {
    return told(t, each) != NOBODY;
}

void tfs_untell(const table *t, inode *each) {
    each->told = NOBODY;
    each->told_era = t->era;
}

void tfs_tell(const table *t, inode *each, uint32_t thread) {
    uint32_t before = told(t, each);
    each->told = thread && (before == NOBODY || before == thread) ? thread : SEVERAL;
    each->told_era = t->era;
}

void tfs_table_tell_unseen(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *each = tfs_find_inode(t, ino);
    if (each)
        tfs_tell(t, each, 0);
    pthread_mutex_unlock(&t->lock);
}

void tfs_table_tell_any_unseen(table *t) {
    pthread_mutex_lock(&t->lock);
    t->era++;
    pthread_mutex_unlock(&t->lock);
}

static void has_heard(const table *t, inode *each, uint32_t thread) {
    if (each && told(t, each) == thread)
        tfs_untell(t, each);
}

void tfs_table_heard(table *t, uint64_t ino, uint32_t thread) {
    pthread_mutex_lock(&t->lock);
    has_heard(t, tfs_find_inode(t, ino), thread);
    pthread_mutex_unlock(&t->lock);
}

void tfs_table_heard_of(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread) {
    pthread_mutex_lock(&t->lock);
    entry *each = tfs_find_entry(t, parent, name, length);
    if (each)
        has_heard(t, each->target, thread);
    pthread_mutex_unlock(&t->lock);
}
