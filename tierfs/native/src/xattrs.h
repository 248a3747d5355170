/* Extended attributes of one inode, packed: for each uint16 length of the name, uint16 length of the
   value, name, value. */
#ifndef TIERFS_XATTRS_H
#define TIERFS_XATTRS_H

#include <stddef.h>
#include <stdint.h>

#include "cache.h"

enum {
    XATTRS_MAX = 8192, /* bytes of all that is packed for one inode */
    XATTR_HEADER = 4,
};

/* Appends to `packed`, which has XATTRS_MAX bytes; the new length, or 0 where there is no room. */
size_t tfs_xattrs_pack(uint8_t *packed, size_t at, const char *name, size_t name_length,
                       const char *value, size_t length);

/* As tfs_cache_getxattr(). MISS for names that only Python knows: virtual and unknown ones. */
cache_result tfs_xattrs_value(const uint8_t *packed, size_t packed_length, const char *name,
                               size_t name_length, uint8_t *out, size_t room, size_t *length);

/* The names, each with a NUL. MISS where one is `trusted.`: who may see it, Python finds out. */
cache_result tfs_xattrs_names(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t room,
                               size_t *length);

#endif
