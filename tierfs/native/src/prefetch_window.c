#include "prefetch_window.h"

enum {
    FIRST_WINDOW = LOOKUPS * NAMES_PER_LOOKUP / 2,
    LAST_WINDOW = LOOKUPS * NAMES_PER_LOOKUP,
    AGAIN = 2, /* after a pass over n names, n / AGAIN lookups show that the kernel has dropped them */
};

/* Behind . and .. (tierfs/fs/directory.py), and not at 0: only a listing from the beginning starts the
   kernel's cache of it (fuse_readdir_cached). One of ours ends in the middle, and where the directory has
   changed since, nobody else's would continue from there and complete the cache (listing.h). */
enum { AFTER_DOTS = 2 };

static const prefetch_window fresh = {.cookie = AFTER_DOTS, .due = LOOKUPS, .window = FIRST_WINDOW};

void tfs_prefetch_window_init(prefetch_windows *all) {
    pthread_mutex_init(&all->lock, NULL);
}

/* Fibonacci hashing (Knuth, volume 3, 6.4): inode numbers come one after the other. */
static prefetch_window *place_of(prefetch_windows *all, uint64_t directory) {
    return &all->windows[directory * 0x9E3779B97F4A7C15ULL >> 32 & (DIRECTORIES - 1)];
}

static void begin(prefetch_window *w, uint64_t directory) {
    *w = fresh;
    w->directory = directory;
}

bool tfs_prefetch_window_count(prefetch_windows *all, uint64_t directory) {
    prefetch_window *w = place_of(all, directory);
    pthread_mutex_lock(&all->lock);
    if (w->directory != directory)
        begin(w, directory);
    bool now = ++w->lookups >= w->due && !w->queued;
    w->queued |= now;
    pthread_mutex_unlock(&all->lock);
    return now;
}

void tfs_prefetch_window_forget(prefetch_windows *all, uint64_t ino) {
    prefetch_window *w = place_of(all, ino);
    pthread_mutex_lock(&all->lock);
    if (w->directory == ino)
        *w = (prefetch_window){0};
    pthread_mutex_unlock(&all->lock);
}

bool tfs_prefetch_window_next(prefetch_windows *all, uint64_t directory, step *next) {
    const prefetch_window *w = place_of(all, directory);
    pthread_mutex_lock(&all->lock);
    bool known = w->directory == directory;
    *next = (step){w->cookie, w->window};
    pthread_mutex_unlock(&all->lock);
    return known;
}

static void end_step(prefetch_window *w) {
    w->queued = false;
    w->lookups = 0;
}

void tfs_prefetch_window_put_off(prefetch_windows *all, uint64_t directory) {
    prefetch_window *w = place_of(all, directory);
    pthread_mutex_lock(&all->lock);
    if (w->directory == directory)
        end_step(w);
    pthread_mutex_unlock(&all->lock);
}

static void end_pass(prefetch_window *w) {
    uint32_t due = w->listed / AGAIN;
    begin(w, w->directory);
    if (due > w->due)
        w->due = due;
}

void tfs_prefetch_window_listed(prefetch_windows *all, uint64_t directory, uint32_t names, int64_t cookie) {
    prefetch_window *w = place_of(all, directory);
    pthread_mutex_lock(&all->lock);
    if (w->directory == directory) {
        end_step(w);
        if (names) {
            w->cookie = cookie;
            w->listed += names;
            w->window = LAST_WINDOW;
        } else {
            end_pass(w);
        }
    }
    pthread_mutex_unlock(&all->lock);
}
