/* malloc that does not return NULL, and one that may; both counted. */
#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/ensure.h"
#include "base/memory.h"

static void *counted(void *p) {
    memory_count((int64_t)malloc_usable_size(p));
    return p;
}

void *mem_try_alloc(size_t size) {
    return memory_has(size) ? counted(malloc(size ? size : 1)) : NULL;
}

void *mem_try_zero(size_t size) {
    return memory_has(size) ? counted(calloc(1, size ? size : 1)) : NULL;
}

void *mem_alloc(size_t size) {
    void *p = counted(malloc(size ? size : 1));
    ensure(p != NULL && "out of memory");
    return p;
}

void *mem_zero(size_t size) {
    void *p = counted(calloc(1, size ? size : 1));
    ensure(p != NULL && "out of memory");
    return p;
}

void *mem_regrow(void *old, size_t size) {
    if (old == NULL) {      /* most of OpenSSL's calls */
        return counted(malloc(size ? size : 1));
    }
    int64_t had = (int64_t)malloc_usable_size(old);
    void *p = realloc(old, size ? size : 1);
    if (p != NULL) {
        memory_count((int64_t)malloc_usable_size(p) - had);
    }
    return p;
}

void *mem_grow(void *old, size_t size) {
    void *p = mem_regrow(old, size);
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
    char *p = mem_alloc(len + 1);
    if (len != 0) {
        memcpy(p, from, len);
    }
    p[len] = '\0';
    return p;
}

void mem_free(void *p) {
    memory_count(-(int64_t)malloc_usable_size(p));
    free(p);
}
