#include "changing.h"

void tfs_changing_init(changing *all) {
    pthread_mutex_init(&all->lock, NULL);
}

void tfs_changing_add(changing *all, uint64_t unique, uint64_t ino) {
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_CHANGES; i++) {
        if (!all->changes[i].unique) {
            all->changes[i].unique = unique;
            all->changes[i].ino = ino;
            atomic_fetch_add(&all->count, 1);
            break;
        }
    }
    pthread_mutex_unlock(&all->lock);
}

void tfs_changing_remove(changing *all, uint64_t unique) {
    if (!atomic_load(&all->count))
        return;
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_CHANGES; i++) {
        if (all->changes[i].unique == unique) {
            all->changes[i].unique = 0;
            atomic_fetch_sub(&all->count, 1);
            break;
        }
    }
    pthread_mutex_unlock(&all->lock);
}

bool tfs_changing_has(changing *all, uint64_t ino) {
    bool has = false;
    if (!atomic_load(&all->count))
        return false;
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_CHANGES && !has; i++)
        has = all->changes[i].unique && all->changes[i].ino == ino;
    pthread_mutex_unlock(&all->lock);
    return has;
}
