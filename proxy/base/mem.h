/* Memory from the C library, for small things that are not pooled. */
#ifndef GYRE_BASE_MEM_H
#define GYRE_BASE_MEM_H

#include <stddef.h>

/* None of these returns NULL: what clients can make grow is bounded by pools and marks, which
 * refuse long before the C library does, so a failure here means that the machine has refused us
 * a page, and we stop with a clear message (the service manager starts us again). */
void *mem_alloc(size_t size);                  /* uninitialized */
void *mem_zero(size_t size);                   /* zeroed */
void *mem_grow(void *old, size_t size);
char *mem_copy(const char *from, size_t len);  /* NUL-terminated copy */
void mem_free(void *);

#endif
