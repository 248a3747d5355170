/* The fields of a request's body, as a format says that they follow one another. */
#ifndef TIERFS_ARGUMENTS_H
#define TIERFS_ARGUMENTS_H

#include "channel.h"

enum { MOST_ARGUMENTS = 24 };

typedef enum {
    ARGUMENT_UNSIGNED,
    ARGUMENT_SIGNED,
    ARGUMENT_BYTES,  /* to be kept */
    ARGUMENT_DATA,   /* to be looked at during the call alone */
    ARGUMENT_CALLER, /* user, group and thread of who asks */
    ARGUMENT_AGAIN,  /* whether what was published did not help */
    ARGUMENT_WAIT,   /* whether the function may wait for a disk */
    ARGUMENT_OPEN,   /* a tuple begins, */
    ARGUMENT_CLOSE,  /* and ends */
} argument_kind;

typedef struct {
    argument_kind kind;
    uint64_t number;
    const uint8_t *bytes;
    size_t length;
} argument;

/* Of `format` each character stands for a field:

     I Q q     a number of 32 bits, of 64, of 64 with a sign
     K         the cookie of a listing, without its stamp (listing.h)
     . :       4 or 8 bytes that do not matter
     S         a number of 32 bits: the length of the V or D that comes
     N         a name, or another string: not empty, and NUL behind it
     V D       bytes, as many as S said; D must be the rest of the message
     C A W ( )  no field: see argument_kind

   How many arguments there are; -1: the message is not so. */
int tfs_arguments_parse(const char *format, const request *q, argument out[MOST_ARGUMENTS]);

#endif
