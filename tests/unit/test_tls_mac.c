/* Signatures: HMAC-SHA256 by the vectors of RFC 4231 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tls/tls.h"

#define AA20 "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"
#define AA131 AA20 AA20 AA20 AA20 AA20 AA20 "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"
#define TEXT(literal) {literal, sizeof(literal) - 1}

static const struct {
    struct str key, text;
    const char *mac;
} rows[] = {
    {TEXT("Jefe"), TEXT("what do ya want for nothing?"),
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {TEXT(AA131), TEXT("Test Using Larger Than Block-Size Key - Hash Key First"),
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
};

static void vectors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t mac[TLS_MAC_LEN];
        char hex[2 * TLS_MAC_LEN + 1];
        tls_mac(rows[i].key, rows[i].text, mac);
        for (uint32_t k = 0; k < TLS_MAC_LEN; k++) {
            snprintf(hex + 2 * k, 3, "%02x", mac[k]);
        }
        assert_string_equal(hex, rows[i].mac);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
    return cmocka_run_group_tests_name("tls_mac", tests, NULL, NULL);
}
