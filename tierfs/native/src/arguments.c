#include "arguments.h"

#include <string.h>

#include "listing.h"

typedef struct {
    const uint8_t *at, *end;
    size_t announced; /* by S */
} cursor;

static bool skip(cursor *c, size_t length) {
    if ((size_t)(c->end - c->at) < length)
        return false;
    c->at += length;
    return true;
}

static bool take_number(cursor *c, size_t size, uint64_t *number) {
    const uint8_t *from = c->at;
    *number = 0;
    if (!skip(c, size))
        return false;
    memcpy(number, from, size); /* little-endian, as every architecture that pyfuse3 is built for */
    return true;
}

static bool take_name(cursor *c, argument *into) {
    const uint8_t *end = memchr(c->at, 0, (size_t)(c->end - c->at));
    into->kind = ARGUMENT_BYTES;
    into->bytes = c->at;
    into->length = end ? (size_t)(end - c->at) : 0;
    return into->length && skip(c, into->length + 1);
}

static bool take_bytes(cursor *c, argument *into, argument_kind kind) {
    into->kind = kind;
    into->bytes = c->at;
    into->length = c->announced;
    return skip(c, c->announced) && (kind != ARGUMENT_DATA || c->at == c->end);
}

/* Into the argument, or past what is none; false: the message is too short. */
static bool take(cursor *c, char what, argument *into, bool *is_argument) {
    uint64_t length;
    *is_argument = what != '.' && what != ':' && what != 'S';
    switch (what) {
    case '.':
        return skip(c, sizeof(uint32_t));
    case ':':
        return skip(c, sizeof(uint64_t));
    case 'S':
        if (!take_number(c, sizeof(uint32_t), &length))
            return false;
        c->announced = (size_t)length;
        return true;
    case 'I':
        return take_number(c, sizeof(uint32_t), &into->number);
    case 'q':
        into->kind = ARGUMENT_SIGNED;
        return take_number(c, sizeof(uint64_t), &into->number);
    case 'Q':
        return take_number(c, sizeof(uint64_t), &into->number);
    case 'K':
        if (!take_number(c, sizeof(uint64_t), &into->number))
            return false;
        into->number = tfs_listing_cookie(into->number);
        return true;
    case 'N':
        return take_name(c, into);
    case 'V':
        return take_bytes(c, into, ARGUMENT_BYTES);
    case 'D':
        return take_bytes(c, into, ARGUMENT_DATA);
    case 'C':
        into->kind = ARGUMENT_CALLER;
        return true;
    case 'A':
        into->kind = ARGUMENT_AGAIN;
        return true;
    case 'W':
        into->kind = ARGUMENT_WAIT;
        return true;
    default:
        into->kind = what == '(' ? ARGUMENT_OPEN : ARGUMENT_CLOSE;
        return true;
    }
}

int tfs_arguments_parse(const char *format, const request *q, argument out[MOST_ARGUMENTS]) {
    cursor c = {q->body, q->body + q->length, 0};
    int count = 0;
    for (; *format && count < MOST_ARGUMENTS; format++) {
        bool is_argument;
        out[count] = (argument){.kind = ARGUMENT_UNSIGNED};
        if (!take(&c, *format, &out[count], &is_argument))
            return -1;
        count += is_argument;
    }
    return count;
}
