/* OpenSSL's memory is the process's like any other, and counted with it. */
#include <openssl/crypto.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

/* Nothing is refused here: of all that comes to gyre this is the least, and a handshake that is
 * under way is better ended than cut. */
static void *count_get(size_t size, const char *file, int line) {
    (void)file, (void)line;
    return mem_regrow(NULL, size);
}

static void *count_grow(void *p, size_t size, const char *file, int line) {
    (void)file, (void)line;
    return mem_regrow(p, size);
}

static void count_put(void *p, const char *file, int line) {
    (void)file, (void)line;
    mem_free(p);
}

void tls_count_memory(void) {
    ensure(CRYPTO_set_mem_functions(count_get, count_grow, count_put) == 1);
}
