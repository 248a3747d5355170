#include "lookahead.h"

enum {
    FIRST_WINDOW = LOOKUPS * LIST_AHEAD / 2,
    LAST_WINDOW = LOOKUPS * LIST_AHEAD,
    AGAIN = 2, /* after a pass over n names, n / AGAIN lookups show that the kernel has dropped them */
};

/* Behind . and .. (tierfs/fs/directory.py), and not at 0: only a listing from the beginning starts the
   kernel's cache of it (fuse_readdir_cached). One of ours ends in the middle, and where the directory has
   changed since, nobody else's would go on from there and complete the cache (listing_stamp). */
enum { AFTER_DOTS = 2 };

static const looking fresh = {.cookie = AFTER_DOTS, .due = LOOKUPS, .window = FIRST_WINDOW};

void tfs_lookahead_init(lookahead *l) {
    pthread_mutex_init(&l->lock, NULL);
}

/* Fibonacci hashing (Knuth, volume 3, 6.4): inode numbers come one after the other. */
static looking *place_of(lookahead *l, uint64_t directory) {
    return &l->places[directory * 0x9E3779B97F4A7C15ULL >> 32 & (DIRECTORIES - 1)];
}

static void begin(looking *place, uint64_t directory) {
    *place = fresh;
    place->directory = directory;
}

bool tfs_lookahead_count(lookahead *l, uint64_t directory) {
    looking *place = place_of(l, directory);
    pthread_mutex_lock(&l->lock);
    if (place->directory != directory)
        begin(place, directory);
    bool now = ++place->lookups >= place->due && !place->asked;
    place->asked |= now;
    pthread_mutex_unlock(&l->lock);
    return now;
}

void tfs_lookahead_forget(lookahead *l, uint64_t ino) {
    looking *place = place_of(l, ino);
    pthread_mutex_lock(&l->lock);
    if (place->directory == ino)
        *place = (looking){0};
    pthread_mutex_unlock(&l->lock);
}

bool tfs_lookahead_next(lookahead *l, uint64_t directory, step *next) {
    const looking *place = place_of(l, directory);
    pthread_mutex_lock(&l->lock);
    bool known = place->directory == directory;
    *next = (step){place->cookie, place->window};
    pthread_mutex_unlock(&l->lock);
    return known;
}

static void end_step(looking *place) {
    place->asked = false;
    place->lookups = 0;
}

void tfs_lookahead_put_off(lookahead *l, uint64_t directory) {
    looking *place = place_of(l, directory);
    pthread_mutex_lock(&l->lock);
    if (place->directory == directory)
        end_step(place);
    pthread_mutex_unlock(&l->lock);
}

static void go_on(looking *place, uint32_t names, int64_t cookie) {
    place->cookie = cookie;
    place->listed += names;
    place->window = LAST_WINDOW;
}

static void end_pass(looking *place) {
    uint32_t due = place->listed / AGAIN;
    begin(place, place->directory);
    if (due > place->due)
        place->due = due;
}

void tfs_lookahead_listed(lookahead *l, uint64_t directory, uint32_t names, int64_t cookie) {
    looking *place = place_of(l, directory);
    pthread_mutex_lock(&l->lock);
    if (place->directory == directory) {
        end_step(place);
        if (names)
            go_on(place, names, cookie);
        else
            end_pass(place);
    }
    pthread_mutex_unlock(&l->lock);
}
