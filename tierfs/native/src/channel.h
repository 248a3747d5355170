/* Where a request came from, and its reply goes: /dev/fuse, or an entry of a ring (uring.c). */
#ifndef TIERFS_CHANNEL_H
#define TIERFS_CHANNEL_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct channel channel;
struct channel {
    /* From any thread; false when the kernel no longer waits for it (ENOENT: interrupted). */
    bool (*reply)(channel *c, const struct fuse_out_header *header, const void *body, size_t length);
};

/* What is attributed of a request (attribution.h): after the reply a ring may have the next one in its place. */
typedef struct {
    bool on;        /* somebody watches */
    bool by_python; /* its answer needed an upcall */
    uint32_t thread;
    uint64_t ino;
    uint64_t offset; /* of a READ or WRITE */
    uint32_t size;
} watched_request;

/* A request as it was read; `length` is that of the body, and was checked against the header. */
typedef struct {
    channel *channel; /* NULL: nobody waits for a reply */
    const struct fuse_in_header *header;
    const uint8_t *body;
    size_t length;
    uint64_t started_ns;
    void *resume; /* NULL, or what an upcall continues with that had to wait (upcall.h) */
    watched_request watched;
} request;

bool tfs_reply(const request *q, const void *body, size_t length);
/* `error` as of errno(3). */
bool tfs_reply_error(const request *q, int error);

typedef struct {
    channel channel;
    int fd; /* -1: closed; then written under `notifying` */
    pthread_mutex_t notifying; /* while a notification is written, and while the device is closed */
} device_channel;

void tfs_device_init(device_channel *d, int fd);
void tfs_device_close(device_channel *d);
/* FUSE_NOTIFY_RESEND and FUSE_UNIQUE_RESEND of linux/fuse.h, Linux 6.9: the bit is set in `unique` of a request that
   came before. */
enum { NOTIFY_RESEND = 7 };
#define UNIQUE_RESEND (UINT64_C(1) << 63)

/* Writes a notification: `code` is a FUSE_NOTIFY_...; false with errno where the kernel refused it. */
bool tfs_device_notify(device_channel *d, int32_t code, const void *body, size_t length);
/* The same of one that may wait for other requests, which may write notifications as well. */
void tfs_device_notify_and_wait(device_channel *d, int32_t code, const void *body, size_t length);
/* Reads a request: its size, 0 when there is none, -1 at the end. */
ssize_t tfs_device_read(device_channel *d, uint8_t *buffer, size_t room);
/* The same into an empty pipe, which holds `room` bytes or more. */
ssize_t tfs_device_splice(device_channel *d, int pipe, size_t room);

#endif
