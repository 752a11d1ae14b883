/* Signatures with a secret of our own. */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/ensure.h"
#include "tls/tls.h"

void tls_mac(struct str key, struct str text, uint8_t mac[TLS_MAC_LEN]) {
    unsigned len = 0;
    const unsigned char *made = HMAC(EVP_sha256(), key.p, (int)key.len,
                                     (const unsigned char *)text.p, text.len, mac, &len);
    ensure(made != NULL && len == TLS_MAC_LEN);
}
