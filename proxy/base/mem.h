/* Memory from the C library, for small things that are not pooled. */
#ifndef GYRE_BASE_MEM_H
#define GYRE_BASE_MEM_H

#include <stddef.h>

/* None of these returns NULL: they are for what is made when something begins (a process, a worker,
 * a configuration), where a failure means that the machine has refused us a page, and we stop with
 * a clear message (the service manager starts us again). */
void *mem_alloc(size_t size);                  /* uninitialized */
void *mem_zero(size_t size);                   /* zeroed */
void *mem_grow(void *old, size_t size);
char *mem_copy(const char *from, size_t len);  /* NUL-terminated copy */
void mem_free(void *);
/* realloc, counted; may give NULL, but asks for no bound: for libraries, and for who looks at
 * memory.h's level itself. */
void *mem_regrow(void *old, size_t size);

/* NULL when there is no memory, or memory.h's bound is reached: for what clients can make grow.
 * Those who ask for it answer for a failure, and have a row in fault.def. */
void *mem_try_alloc(size_t size);              /* uninitialized */
void *mem_try_zero(size_t size);               /* zeroed */
char *mem_try_copy(const char *from, size_t len);

#endif
