#include "xattrs.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    const char *name;
    size_t name_length;
    const uint8_t *value;
    size_t length, next;
} pair;

static pair pair_at(const uint8_t *packed, size_t at) {
    uint16_t lengths[2];
    memcpy(lengths, packed + at, sizeof lengths);
    const uint8_t *name = packed + at + XATTR_HEADER;
    return (pair){(const char *)name, lengths[0], name + lengths[0], lengths[1],
                  at + XATTR_HEADER + lengths[0] + lengths[1]};
}

size_t tfs_xattrs_pack(uint8_t *packed, size_t at, const char *name, size_t name_length,
                       const char *value, size_t length) {
    if (name_length > XATTRS_MAX || length > XATTRS_MAX ||
        at + XATTR_HEADER + name_length + length > XATTRS_MAX)
        return 0;
    uint16_t lengths[2] = {(uint16_t)name_length, (uint16_t)length};
    memcpy(packed + at, lengths, sizeof lengths);
    memcpy(packed + at + XATTR_HEADER, name, name_length);
    memcpy(packed + at + XATTR_HEADER + name_length, value, length);
    return at + XATTR_HEADER + name_length + length;
}

static bool starts_with(const char *name, size_t length, const char *start) {
    size_t n = strlen(start);
    return length >= n && !memcmp(name, start, n);
}

/* The namespaces in which a name that is not stored does not exist (tierfs/fs/xattrs.py). */
static bool is_stored(const char *name, size_t length) {
    static const char *const spaces[] = {"user.", "trusted.", "security."};
    static const char *const acls[] = {"system.posix_acl_access", "system.posix_acl_default"};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (length > strlen(spaces[i]) && starts_with(name, length, spaces[i]))
            return true;
    for (size_t i = 0; i < sizeof acls / sizeof *acls; i++)
        if (length == strlen(acls[i]) && starts_with(name, length, acls[i]))
            return true;
    return false;
}

cache_result tfs_xattrs_value(const uint8_t *packed, size_t packed_length, const char *name,
                               size_t name_length, uint8_t *out, size_t room, size_t *length) {
    for (size_t at = 0; at < packed_length;) {
        pair each = pair_at(packed, at);
        if (each.name_length == name_length && !memcmp(each.name, name, name_length)) {
            *length = each.length;
            memcpy(out, each.value, each.length < room ? each.length : room);
            return HIT;
        }
        at = each.next;
    }
    return is_stored(name, name_length) ? NEGATIVE : MISS;
}

cache_result tfs_xattrs_names(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t room,
                               size_t *length) {
    *length = 0;
    for (size_t at = 0; at < packed_length;) {
        pair each = pair_at(packed, at);
        if (starts_with(each.name, each.name_length, "trusted."))
            return MISS;
        if (*length + each.name_length + 1 <= room) {
            memcpy(out + *length, each.name, each.name_length);
            out[*length + each.name_length] = 0;
        }
        *length += each.name_length + 1;
        at = each.next;
    }
    return HIT;
}
