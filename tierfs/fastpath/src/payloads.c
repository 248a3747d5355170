#include "payloads.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hashing.h"

typedef struct {
    node node;
    uint64_t ticket;
    void *bytes;
    size_t length;
} payload;

struct payloads {
    pthread_mutex_t lock;
    hashing all;
    uint64_t last;
};

payloads *payloads_new(void) {
    payloads *p = calloc(1, sizeof *p);
    if (p && (pthread_mutex_init(&p->lock, NULL) || hashing_init(&p->all))) {
        free(p);
        return NULL;
    }
    return p;
}

static void drop(payload *gone) {
    free(gone->bytes);
    free(gone);
}

void payloads_free(payloads *p) {
    if (!p)
        return;
    for (size_t i = 0; i <= p->all.mask; i++)
        while (p->all.buckets[i]) {
            payload *gone = (payload *)p->all.buckets[i];
            hashing_remove(&p->all, &gone->node);
            drop(gone);
        }
    hashing_free(&p->all);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint64_t payloads_put(payloads *p, const void *bytes, size_t length) {
    payload *added = malloc(sizeof *added);
    void *copy = malloc(length);
    if (!added || !copy) {
        free(added);
        free(copy);
        return 0;
    }
    memcpy(copy, bytes, length);
    pthread_mutex_lock(&p->lock);
    uint64_t ticket = ++p->last;
    *added = (payload){.node.hash = hash_number(ticket), .ticket = ticket, .bytes = copy, .length = length};
    hashing_add(&p->all, &added->node);
    pthread_mutex_unlock(&p->lock);
    return ticket;
}

static payload *remove_ticket(payloads *p, uint64_t ticket) {
    node *each = hashing_first(&p->all, hash_number(ticket));
    while (each && ((payload *)each)->ticket != ticket)
        each = each->chain;
    if (each)
        hashing_remove(&p->all, each);
    return (payload *)each;
}

void *payloads_take(payloads *p, uint64_t ticket, size_t *length) {
    pthread_mutex_lock(&p->lock);
    payload *taken = remove_ticket(p, ticket);
    pthread_mutex_unlock(&p->lock);
    if (!taken)
        return NULL;
    void *bytes = taken->bytes;
    *length = taken->length;
    free(taken);
    return bytes;
}
