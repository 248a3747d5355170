/* libFuzzer: any messages of the kernel and any replies of pyfuse3, one after the other.

   An input is a row of messages: one byte that says whose it is, two for its length, and its bytes. The
   length that a header claims is made right three times out of four, since nothing else is looked at
   where it is wrong. Beyond what the sanitizers find, it is checked that every reply is well formed,
   and that there is at most one for each request. The threads do not run: what they would call is. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "dispatch.h"
#include "forward.h"
#include "prefetch.h"
#include "router.h"
#include "upcall.h"
#include "worker.h"
#include "xattrs.h"

enum {
    MAX_WRITE = 64 * 1024,
    BUFFER = 72 * 1024,
    MOST_MESSAGES = 64,
    INODES = 12,
    FROM_PYFUSE3 = 1,
    AS_IT_IS = 6, /* these bits of the first byte both set: the length is left alone */
};

static router r;
static worker *const w = &r.workers[0];
static int kernel, peer;

static void fail(const char *what) {
    write(STDERR_FILENO, what, strlen(what));
    abort();
}

/* -------- in the place of Python: arguments are looked at, and every call fails */

bool tfs_upcall_has(const upcalls *u, uint32_t opcode) {
    (void)u;
    const operation *op = tfs_operation_of(opcode);
    return op && op->function && op->pool == POOL_UPCALL && opcode != FUSE_FORGET;
}

upcall_result tfs_upcall_make(upcalls *u, worker *who, request *q, const operation *op, bool again) {
    (void)u, (void)who;
    argument all[MOST_ARGUMENTS];
    static volatile uint8_t seen;
    int count = tfs_parse_arguments(op->arguments, q, all);
    for (int i = 0; i < count; i++)
        for (size_t at = 0; all[i].bytes && at < all[i].length; at++)
            seen = (uint8_t)(seen ^ all[i].bytes[at]);
    if (count >= 0 && !again && op->answer)
        return UPCALL_FILLED;
    tfs_reply_error(q, count < 0 ? 22 : 5);
    return UPCALL_REPLIED;
}

void tfs_upcall_detach(void) {}

void tfs_upcall_drop(request *q) {
    (void)q;
}

/* -------- the published view: directories 1 to 3, files, absent names, attributes, sparse files */

static void fill_cache(void) {
    uint8_t packed[XATTRS_MAX];
    tfs_cache_clear(r.cache);
    for (uint64_t ino = 1; ino <= INODES; ino++) {
        char name[2] = {(char)('a' + ino), 0};
        attributes row = {.ino = ino, .size = ino * 1000, .prefix = ino % 2 ? 4096 : 0, .nlink = 1,
                          .mtime = -(int64_t)ino, .sparse = ino == 9};
        row.mode = ino <= 3 ? S_IFDIR | 0755 : S_IFREG | 0644;
        tfs_cache_put_inode(r.cache, &row);
        tfs_cache_put_dentry(r.cache, 1, name, 1, ino);
        size_t length = tfs_xattrs_pack(packed, 0, "user.a", 6, "value", 5);
        if (ino == 5)
            length = tfs_xattrs_pack(packed, length, "trusted.b", 9, "", 0);
        tfs_cache_put_xattrs(r.cache, ino, packed, ino == 6 ? 0 : length);
    }
    tfs_cache_put_dentry(r.cache, 1, "z", 1, 0);
    tfs_cache_begin_fill(r.cache, 2);
    tfs_cache_complete_fill(r.cache, 2);
    tfs_cache_orphan(r.cache, 7);
    r.statfs.until_ns = UINT64_MAX;
}

/* Names b to m of directory 1 behind the dots, of which some are not cached. */
static void fill_listing(void) {
    listing_page *made = calloc(1, sizeof *made + (INODES + 4) * sizeof(listing_entry));
    *made = (listing_page){.directory = 1, .end = true, .names = strdup("...bcdefghijklmz?")};
    for (uint32_t i = 0; i < INODES + 4; i++)
        made->entries[made->count++] = (listing_entry){
            .cookie = i + 1,
            .ino = i,
            .mode = S_IFREG,
            .name = i ? i + 1 : 0,
            .length = i == 1 ? 2 : 1,
        };
    tfs_listing_put(r.listing, made);
}

/* Some objects are there, and short, in directories that count as memory: no thread is needed. */
static int make_store(const char *home, const char *name) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", home, name);
    mkdir(path, 0700);
    int store = open(path, O_RDONLY | O_DIRECTORY);
    if (store < 0 || mkdirat(store, "00", 0700) < 0 || mkdirat(store, "00/00", 0700) < 0)
        fail("no directory\n");
    for (int ino = 1; ino <= INODES; ino++) {
        snprintf(path, sizeof path, "00/00/%d", ino);
        int fd = openat(store, path, O_RDWR | O_CREAT, 0600);
        if (fd < 0 || ftruncate(fd, ino == 8 ? 10 : 20000) < 0)
            fail("no object\n");
        close(fd);
    }
    return store;
}

static void make_stores(void) {
    const char *home = getenv("TIERFS_FUZZ_STORES"); /* an empty directory, that .ci/fuzz removes */
    if (!home)
        fail("TIERFS_FUZZ_STORES names no directory\n");
    r.flash_store = (store){.directory = make_store(home, "heads"), .in_memory = true};
    r.disk_store = (store){.directory = make_store(home, "objects"), .in_memory = true};
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) < 0)
        fail("no socket\n");
    kernel = ends[0];
    tfs_device_init(&r.device, ends[1]);
    r.pm_qos.device = -1;
    r.wake = r.ended = open("/dev/null", O_RDWR);
    r.buffer = BUFFER;
    make_stores();
    r.cache = tfs_cache_new(1 << 20);
    r.listing = tfs_listing_new(1 << 16);
    r.prefetch = tfs_prefetch_new();
    w->router = &r;
    w->counters = &w->own;
    w->reply = malloc(BUFFER);
    if (!r.cache || !r.listing || !r.prefetch || !w->reply || tfs_heat_init(&r.heat) < 0)
        fail("no memory\n");
    return 0;
}

/* -------- one input */

typedef struct {
    const uint8_t *at, *end;
    uint64_t open[MOST_MESSAGES]; /* requests without a reply */
    size_t count;
} run;

/* A request may get one reply; others' replies are made up by the input. */
static void check_reply(run *now, const uint8_t *message, ssize_t size, bool made_up) {
    struct fuse_out_header header;
    if ((size_t)size < sizeof header)
        fail("a reply without a header\n");
    memcpy(&header, message, sizeof header);
    if (made_up)
        return;
    if (header.len != (size_t)size || header.error > 0 || header.error <= -1000)
        fail("a reply that is not well formed\n");
    for (size_t i = 0; i < now->count; i++)
        if (now->open[i] == header.unique) {
            now->open[i] = now->open[--now->count];
            return;
        }
    fail("a reply to nothing\n");
}

static void drain(run *now, bool made_up) {
    static uint8_t buffer[2 * BUFFER];
    for (ssize_t size; (size = recv(kernel, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;)
        check_reply(now, buffer, size, made_up);
    while (recv(peer, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
}

static void from_kernel(run *now, size_t size, bool fix) {
    struct fuse_in_header header;
    if (size >= sizeof header) {
        memcpy(&header, w->request, sizeof header);
        if (fix)
            header.len = (uint32_t)size;
        header.unique = 2 * (now->count + 1) + 1000 * (uint64_t)(now->end - now->at + 1);
        memcpy(w->request, &header, sizeof header);
        now->open[now->count++] = header.unique;
    }
    tfs_dispatch(w, &r.device.channel, size);
    drain(now, false);
}

/* Some reply is to a request that waits, else hardly one would be. */
static void from_pyfuse3(run *now, uint8_t *message, size_t size, bool fix) {
    struct fuse_out_header header;
    if (fix && size >= sizeof header) {
        memcpy(&header, message, sizeof header);
        header.len = (uint32_t)size;
        if (now->count)
            header.unique = now->open[header.unique % now->count];
        memcpy(message, &header, sizeof header);
    }
    if (!size || send(peer, message, size, MSG_DONTWAIT) < 0)
        return;
    tfs_forward_take_reply(r.forward, w);
    drain(now, true);
}

static bool step(run *now) {
    static uint8_t message[1 << 16];
    if (now->end - now->at < 3 || now->count == MOST_MESSAGES)
        return false;
    uint8_t kind = now->at[0];
    size_t size = (size_t)now->at[1] | (size_t)now->at[2] << 8;
    now->at += 3;
    size = size < (size_t)(now->end - now->at) ? size : (size_t)(now->end - now->at);
    bool fix = (kind & AS_IT_IS) != AS_IT_IS;
    if (kind & FROM_PYFUSE3) {
        memcpy(message, now->at, size);
        now->at += size;
        from_pyfuse3(now, message, size, fix);
    } else {
        /* In a buffer of its length, so that a byte behind it is noticed. */
        uint8_t *whole = w->request;
        w->request = malloc(size ? size : 1);
        memcpy(w->request, now->at, size);
        now->at += size;
        from_kernel(now, size, fix);
        free(w->request);
        w->request = whole;
    }
    return true;
}

static void set_up(void) {
    r.forward = tfs_forward_new(&r, MAX_WRITE, &peer);
    pool_settings pool = tfs_worker_pool(&r, "disk", 1, true);
    r.disk = tfs_disk_new(&r, &pool);
    r.upcall_queue = tfs_upcall_queue_new(&r);
    if (!r.forward || !r.disk || !r.upcall_queue)
        fail("no memory\n");
    fill_cache();
    fill_listing();
}

static void tear_down(void) {
    tfs_upcall_queue_free(r.upcall_queue);
    tfs_disk_free(r.disk);
    tfs_forward_free(r.forward);
    close(peer);
    close(r.socket);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    run now = {.at = data, .end = data + size};
    set_up();
    while (step(&now))
        ;
    tear_down();
    return 0;
}
