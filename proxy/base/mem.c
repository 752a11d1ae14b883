/* malloc that does not return NULL, and one that may. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/ensure.h"

void *mem_try_alloc(size_t size) {
    return malloc(size ? size : 1);
}

void *mem_try_zero(size_t size) {
    return calloc(1, size ? size : 1);
}

void *mem_alloc(size_t size) {
    void *p = mem_try_alloc(size);
    ensure(p != NULL && "out of memory");
    return p;
}

void *mem_zero(size_t size) {
    void *p = mem_try_zero(size);
    ensure(p != NULL && "out of memory");
    return p;
}

void *mem_grow(void *old, size_t size) {
    void *p = realloc(old, size ? size : 1);
    ensure(p != NULL && "out of memory");
    return p;
}

char *mem_try_copy(const char *from, size_t len) {
    char *p = mem_try_alloc(len + 1);
    if (p == NULL) {
        return NULL;
    }
    if (len != 0) {
        memcpy(p, from, len);
    }
    p[len] = '\0';
    return p;
}

char *mem_copy(const char *from, size_t len) {
    char *p = mem_try_copy(from, len);
    ensure(p != NULL && "out of memory");
    return p;
}

void mem_free(void *p) {
    free(p);
}
