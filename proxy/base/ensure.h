/* Assertions about our own mistakes. They stay on in production. */
#ifndef GYRE_BASE_ENSURE_H
#define GYRE_BASE_ENSURE_H

#include <stddef.h>

/* Stops the process when cond is false. For broken invariants of gyre only: an operating error
 * (a peer, the kernel, a full pool) is never an ensure. */
#define ensure(cond) \
    ((cond) ? (void)0 : ensure_failed(#cond, __FILE__, __LINE__, __func__))

/* Every long-lived object carries its type's magic first, so that a stale or wild pointer is
 * caught at the door and not three rooms later. */
#define ensure_magic(object, value) ensure((object) != NULL && (object)->magic == (value))

_Noreturn void ensure_failed(const char *cond, const char *file, int line, const char *func);

#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
