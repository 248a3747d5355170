/* The least that a filesystem in user space costs: a daemon that answers what the programs of the benchmarks `tree` and
   `changes` ask, and does nothing else. It says the same at INIT as tierfs, and keeps cores awake as its router does;
   names and attributes are in memory alone, in plain tables. What it needs is what the kernel, its switches and the program need:
   no daemon that gets the same requests can be faster by more than this one's few table look-ups.

   floor MOUNTPOINT            keeps no byte of a file
   floor MOUNTPOINT DIRECTORY  keeps the bytes of each file in a file of the directory, as an object store

   It returns once it is mounted, and ends when it is unmounted. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST = 1 << 22,      /* inodes */
    BUCKETS = 1 << 20,   /* of names */
    BUFFER = 524288 + 4096,
    SPIN_NS = 200000,    /* how long it looks for the next request before it sleeps */
    ENOUGH = 16,         /* requests found so in a row, after which it keeps cores awake, */
    PATIENCE_MS = 1,     /* until none has come for so long (tierfs/native/src/pm_qos.c) */
    VALID_S = 86400,
    OPEN_FILES = 512,
};

typedef struct inode inode;
struct inode {
    uint64_t parent, size;
    uint32_t mode, uid, gid, nlink, ino, sibling, before, child, chain; /* numbers of inodes; 0: none */
    int fd;
    struct timespec atime, mtime, ctime;
    char *name, *target; /* target: of a symbolic link */
    uint32_t length;
};

static inode *all; /* by number */
static uint32_t made = FUSE_ROOT_ID, buckets[BUCKETS];
static int device, store = -1;
static uint8_t request[BUFFER], reply[BUFFER];
static uint32_t opened[OPEN_FILES], next_opened;

static struct timespec now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t;
}

static void say(const struct fuse_in_header *in, int error, const void *body, size_t length) {
    struct fuse_out_header out = {(uint32_t)(sizeof out + length), -error, in->unique};
    struct iovec parts[] = {{&out, sizeof out}, {(void *)(uintptr_t)body, length}};
    if (writev(device, parts, length ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
        perror("floor: a reply");
}

/* ---------------------------------------------------------------- names */

static uint32_t *bucket(uint64_t parent, const char *name, size_t length) {
    uint64_t hash = parent * 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3;
    return &buckets[(hash ^ hash >> 29) % BUCKETS];
}

static uint32_t *find(uint64_t parent, const char *name) {
    size_t length = strlen(name);
    uint32_t *at = bucket(parent, name, length);
    while (*at && !(all[*at].parent == parent && all[*at].length == length && !memcmp(all[*at].name, name, length)))
        at = &all[*at].chain;
    return at;
}

/* At the head of its directory: a listing goes from the largest number down. */
static void enter(uint32_t ino, uint64_t parent, const char *name) {
    inode *each = &all[ino], *directory = &all[parent];
    uint32_t *at = find(parent, name);
    each->name = strdup(name);
    each->length = (uint32_t)strlen(name);
    each->parent = parent;
    each->chain = 0;
    *at = ino;
    each->before = 0;
    each->sibling = directory->child;
    if (directory->child)
        all[directory->child].before = ino;
    directory->child = ino;
    directory->mtime = directory->ctime = now();
}

static void leave(uint32_t *at) {
    inode *each = &all[*at], *directory = &all[each->parent];
    *at = each->chain;
    if (each->before)
        all[each->before].sibling = each->sibling;
    else
        directory->child = each->sibling;
    if (each->sibling)
        all[each->sibling].before = each->before;
    free(each->name);
    each->name = NULL;
    each->parent = 0;
    directory->mtime = directory->ctime = now();
}

/* ---------------------------------------------------------------- attributes */

static struct fuse_attr attributes(const inode *each) {
    return (struct fuse_attr){
        .ino = each->ino, .size = each->size, .blocks = (each->size + 511) / 512, .blksize = 4096,
        .atime = (uint64_t)each->atime.tv_sec, .atimensec = (uint32_t)each->atime.tv_nsec,
        .mtime = (uint64_t)each->mtime.tv_sec, .mtimensec = (uint32_t)each->mtime.tv_nsec,
        .ctime = (uint64_t)each->ctime.tv_sec, .ctimensec = (uint32_t)each->ctime.tv_nsec,
        .mode = each->mode, .nlink = each->nlink, .uid = each->uid, .gid = each->gid,
    };
}

static struct fuse_entry_out entry(const inode *each) {
    return (struct fuse_entry_out){
        .nodeid = each->ino, .entry_valid = VALID_S, .attr_valid = VALID_S, .attr = attributes(each)};
}

static void say_attributes(const struct fuse_in_header *in, const inode *each) {
    struct fuse_attr_out out = {.attr_valid = VALID_S, .attr = attributes(each)};
    say(in, 0, &out, sizeof out);
}

static void set_attributes(const struct fuse_in_header *in, const struct fuse_setattr_in *to) {
    inode *each = &all[in->nodeid];
    each->ctime = now();
    if (to->valid & FATTR_MODE)
        each->mode = to->mode;
    if (to->valid & FATTR_UID)
        each->uid = to->uid;
    if (to->valid & FATTR_GID)
        each->gid = to->gid;
    if (to->valid & FATTR_SIZE)
        each->size = to->size;
    if (to->valid & FATTR_ATIME)
        each->atime = (struct timespec){(time_t)to->atime, to->atimensec};
    if (to->valid & FATTR_MTIME)
        each->mtime = (struct timespec){(time_t)to->mtime, to->mtimensec};
    if (to->valid & FATTR_ATIME_NOW)
        each->atime = each->ctime;
    if (to->valid & FATTR_MTIME_NOW)
        each->mtime = each->ctime;
    say_attributes(in, each);
}

/* ---------------------------------------------------------------- changes */

static void make(const struct fuse_in_header *in, uint32_t mode, const char *name, const char *target) {
    if (made + 1 >= MOST) {
        say(in, ENOSPC, NULL, 0);
        return;
    }
    struct timespec t = now();
    uint32_t ino = ++made;
    bool is_directory = S_ISDIR(mode);
    all[ino] = (inode){.ino = ino, .mode = mode, .uid = in->uid, .gid = in->gid, .nlink = is_directory ? 2 : 1,
                       .size = is_directory ? 4096 : 0, .fd = -1, .atime = t, .mtime = t, .ctime = t};
    if (target) {
        all[ino].target = strdup(target);
        all[ino].size = strlen(target);
    }
    enter(ino, in->nodeid, name);
    all[in->nodeid].nlink += is_directory;
    struct fuse_entry_out out = entry(&all[ino]);
    say(in, 0, &out, sizeof out);
}

static int file_of(inode *each, bool creates) {
    char name[16];
    if (each->fd >= 0 || store < 0)
        return each->fd;
    snprintf(name, sizeof name, "%03x/%x", each->ino >> 10, each->ino);
    each->fd = openat(store, name, O_RDWR | O_CLOEXEC | (creates ? O_CREAT : 0), 0600);
    if (each->fd < 0 && creates && errno == ENOENT) {
        name[3] = 0;
        mkdirat(store, name, 0700);
        name[3] = '/';
        each->fd = openat(store, name, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
    }
    uint32_t old = opened[next_opened];
    if (old && all[old].fd >= 0) {
        close(all[old].fd);
        all[old].fd = -1;
    }
    opened[next_opened] = each->ino;
    next_opened = (next_opened + 1) % OPEN_FILES;
    return each->fd;
}

static void remove_name(const struct fuse_in_header *in, const char *name) {
    uint32_t *at = find(in->nodeid, name), ino = *at;
    if (!ino || all[ino].child) {
        say(in, ino ? ENOTEMPTY : ENOENT, NULL, 0);
        return;
    }
    if (S_ISDIR(all[ino].mode))
        all[in->nodeid].nlink--;
    leave(at);
    all[ino].nlink = 0;
    say(in, 0, NULL, 0);
    if (store >= 0 && S_ISREG(all[ino].mode) && all[ino].size) {
        snprintf((char *)reply, 16, "%03x/%x", ino >> 10, ino);
        unlinkat(store, (char *)reply, 0);
        if (all[ino].fd >= 0)
            close(all[ino].fd);
        all[ino].fd = -1;
    }
}

static void rename_to(const struct fuse_in_header *in, uint64_t directory, const char *name) {
    uint32_t *at = find(in->nodeid, name), ino = *at;
    const char *new_name = name + strlen(name) + 1;
    if (!ino) {
        say(in, ENOENT, NULL, 0);
        return;
    }
    leave(at);
    at = find(directory, new_name);
    if (*at)
        leave(at);
    enter(ino, directory, new_name);
    say(in, 0, NULL, 0);
}

static void write_bytes(const struct fuse_in_header *in, const struct fuse_write_in *to) {
    inode *each = &all[in->nodeid];
    struct fuse_write_out out = {.size = to->size};
    if (store >= 0 && pwrite(file_of(each, true), to + 1, to->size, (off_t)to->offset) != (ssize_t)to->size) {
        say(in, EIO, NULL, 0);
        return;
    }
    if (each->size < to->offset + to->size)
        each->size = to->offset + to->size;
    each->mtime = each->ctime = now();
    say(in, 0, &out, sizeof out);
}

static void read_bytes(const struct fuse_in_header *in, const struct fuse_read_in *from) {
    inode *each = &all[in->nodeid];
    uint64_t end = from->offset + from->size < each->size ? from->offset + from->size : each->size;
    size_t length = end > from->offset ? end - from->offset : 0;
    memset(reply, 0, length);
    if (length && store >= 0 && pread(file_of(each, false), reply, length, (off_t)from->offset) < 0)
        say(in, EIO, NULL, 0);
    else
        say(in, 0, reply, length);
}

/* ---------------------------------------------------------------- listings */

static bool add_line(size_t *used, size_t room, uint32_t ino, uint64_t offset, const char *name, bool counts) {
    size_t length = strlen(name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
    struct fuse_direntplus *line = (void *)(reply + *used);
    if (*used + size > room)
        return false;
    memset(line, 0, size);
    if (counts)
        line->entry_out = entry(&all[ino]);
    line->dirent = (struct fuse_dirent){ino, offset, (uint32_t)length, all[ino].mode >> 12};
    memcpy(line->dirent.name, name, length);
    *used += size;
    return true;
}

/* An offset is 2 more than all numbers of inodes less that of the line; 1 and 2 are those of . and .. */
static void list(const struct fuse_in_header *in, const struct fuse_read_in *from) {
    size_t used = 0, room = from->size < BUFFER ? from->size : BUFFER;
    uint32_t directory = (uint32_t)in->nodeid, each = all[directory].child;
    bool goes_on = from->offset >= 1 || add_line(&used, room, directory, 1, ".", false);
    goes_on = goes_on && (from->offset >= 2 || add_line(&used, room, directory, 2, "..", false));
    uint64_t last = from->offset > 2 ? MOST + 2 - from->offset : MOST;
    if (last < MOST && all[last].parent == directory)
        each = all[last].sibling;
    while (each && each >= last)
        each = all[each].sibling; /* what was there is gone */
    for (; goes_on && each; each = all[each].sibling)
        goes_on = add_line(&used, room, each, MOST + 2 - each, all[each].name, true);
    say(in, 0, reply, used);
}

/* ---------------------------------------------------------------- requests */

static void begin(const struct fuse_in_header *in, const struct fuse_init_in *from) {
    struct fuse_init_out out = {
        .major = 7, .minor = 31, .max_readahead = from->max_readahead, .max_background = 64,
        .congestion_threshold = 48, .max_write = 524288, .time_gran = 1, .max_pages = 128,
        .flags = FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_AUTO_INVAL_DATA |
                 FUSE_DO_READDIRPLUS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
                 FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT,
    };
    say(in, 0, &out, sizeof out);
}

static void look_up(const struct fuse_in_header *in, const char *name) {
    uint32_t ino = *find(in->nodeid, name);
    struct fuse_entry_out out = {.entry_valid = VALID_S};
    if (ino)
        out = entry(&all[ino]);
    say(in, 0, &out, sizeof out);
}

static void answer(const struct fuse_in_header *in) {
    static const struct fuse_statfs_out room = {
        .st = {.blocks = 1 << 30, .bfree = 1 << 30, .bavail = 1 << 30, .files = MOST, .ffree = MOST, .bsize = 4096,
               .namelen = 255, .frsize = 4096}};
    const void *body = in + 1;
    const struct fuse_mknod_in *node = body;
    const struct fuse_mkdir_in *directory = body;
    const struct fuse_rename_in *target = body;
    const struct fuse_rename2_in *target2 = body;
    const struct fuse_getxattr_in *wanted = body;
    static const struct fuse_getxattr_out none;
    switch (in->opcode) {
    case FUSE_INIT:
        begin(in, body);
        break;
    case FUSE_LOOKUP:
        look_up(in, body);
        break;
    case FUSE_GETATTR:
        say_attributes(in, &all[in->nodeid]);
        break;
    case FUSE_SETATTR:
        set_attributes(in, body);
        break;
    case FUSE_MKNOD:
        make(in, node->mode & ~node->umask, (const char *)(node + 1), NULL);
        break;
    case FUSE_MKDIR:
        make(in, S_IFDIR | (directory->mode & ~directory->umask), (const char *)(directory + 1), NULL);
        break;
    case FUSE_SYMLINK:
        make(in, S_IFLNK | 0777, body, (const char *)body + strlen(body) + 1);
        break;
    case FUSE_READLINK:
        say(in, 0, all[in->nodeid].target, all[in->nodeid].size);
        break;
    case FUSE_UNLINK:
    case FUSE_RMDIR:
        remove_name(in, body);
        break;
    case FUSE_RENAME:
        rename_to(in, target->newdir, (const char *)(target + 1));
        break;
    case FUSE_RENAME2:
        rename_to(in, target2->newdir, (const char *)(target2 + 1));
        break;
    case FUSE_WRITE:
        write_bytes(in, body);
        break;
    case FUSE_READ:
        read_bytes(in, body);
        break;
    case FUSE_READDIRPLUS:
        list(in, body);
        break;
    case FUSE_GETXATTR:
        say(in, ENODATA, NULL, 0);
        break;
    case FUSE_LISTXATTR:
        say(in, 0, &none, wanted->size ? 0 : sizeof none);
        break;
    case FUSE_STATFS:
        say(in, 0, &room, sizeof room);
        break;
    case FUSE_SETXATTR: /* which nobody reads again */
    case FUSE_REMOVEXATTR:
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        say(in, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default: /* also OPEN, OPENDIR, FLUSH and CREATE, as of tierfs: the kernel asks once */
        say(in, ENOSYS, NULL, 0);
    }
}

static int64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* How long a core may take to wake, in microseconds (PM QoS); -1: no limit. */
static void limit_latency(int32_t us) {
    static int qos = -2;
    if (qos == -2)
        qos = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
    ssize_t written = qos < 0 ? 0 : write(qos, &us, sizeof us);
    (void)written; /* it is slower without */
}

static void serve(void) {
    unsigned found = 0;
    bool held = false;
    for (int64_t last = monotonic_ns();;) {
        ssize_t got = read(device, request, sizeof request);
        if (got >= (ssize_t)sizeof(struct fuse_in_header)) {
            answer((void *)request);
            last = monotonic_ns();
            if (++found >= ENOUGH && !held) {
                limit_latency(0);
                held = true;
            }
        } else if (got < 0 && errno == EAGAIN && monotonic_ns() - last < SPIN_NS) {
            sched_yield();
        } else if (got < 0 && errno == EAGAIN) {
            struct pollfd readable = {.fd = device, .events = POLLIN};
            if (!poll(&readable, 1, held ? PATIENCE_MS : -1)) {
                limit_latency(-1);
                held = false;
            }
            found = 0;
            last = monotonic_ns();
        } else if (got < 0 && errno != EINTR && errno != ENOENT) {
            return; /* unmounted */
        }
    }
}

int main(int count, char **words) {
    char options[128];
    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: floor MOUNTPOINT [DIRECTORY]\n");
        return 2;
    }
    all = mmap(NULL, MOST * sizeof *all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (count == 3)
        store = open(words[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (all == MAP_FAILED || device < 0 || (count == 3 && store < 0)) {
        perror("floor");
        return 1;
    }
    struct timespec t = now();
    all[FUSE_ROOT_ID] = (inode){.ino = FUSE_ROOT_ID, .mode = S_IFDIR | 0755, .uid = getuid(), .gid = getgid(),
                                .nlink = 2, .size = 4096, .fd = -1, .atime = t, .mtime = t, .ctime = t};
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,allow_other",
             device, getuid(), getgid());
    if (mount("floor", words[1], "fuse.floor", MS_NOSUID | MS_NODEV, options) < 0) {
        perror("floor: mount");
        return 1;
    }
    if (daemon(0, 0) < 0) {
        perror("floor");
        return 1;
    }
    serve();
    return 0;
}
