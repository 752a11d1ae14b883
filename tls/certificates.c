/* Certificates: reads a chain and its key from PEM files and checks that they can serve. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

/* A file larger than this is not a chain or a key. */
#define PEM_BYTES_MAX (1u << 20)
/* Of a path in a message; the rest of the message is for what is wrong. */
#define WHY_PATH_MAX 120u

void tls_why_set(char why[TLS_WHY_MAX], const char *path, const char *fmt, ...) {
    struct text text = text_on(why, TLS_WHY_MAX - 1);
    struct str shown = str_of(path);
    if (shown.len > WHY_PATH_MAX) {
        shown.p += shown.len - WHY_PATH_MAX;
        shown.len = WHY_PATH_MAX;
        text_str(&text, STR("..."));
    }
    text_str(&text, shown);
    if (shown.len > 0) {
        text_str(&text, STR(": "));
    }
    char message[TLS_WHY_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    text_str(&text, str_of(message));
    why[text.len] = '\0';
}

const char *tls_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "no reason given";
}

/* --- Files ------------------------------------------------------------------------------------ */

struct pem {
    uint8_t *bytes;
    uint32_t len;
};

static void pem_fini(struct pem *pem) {
    if (pem->bytes != NULL) {
        OPENSSL_cleanse(pem->bytes, PEM_BYTES_MAX);
        mem_free(pem->bytes);
    }
    pem->bytes = NULL;
}

/* Read by hand rather than by a file BIO: errno says more to the operator than OpenSSL does. */
static bool pem_read(struct pem *pem, const char *path, char why[TLS_WHY_MAX]) {
    *pem = (struct pem){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        tls_why_set(why, path, "can not be opened: %s", strerror(errno));
        return false;
    }
    pem->bytes = mem_zero(PEM_BYTES_MAX);
    ssize_t n;
    while ((n = read(fd, pem->bytes + pem->len, PEM_BYTES_MAX - pem->len)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            tls_why_set(why, path, "can not be read: %s", strerror(errno));
            break;
        }
        pem->len += (uint32_t)n;
    }
    close(fd);
    if (n == 0 && pem->len == PEM_BYTES_MAX) {
        tls_why_set(why, path, "is too large for a certificate or a key (1 MiB or more)");
        n = -1;
    }
    if (n < 0) {
        pem_fini(pem);
    }
    return n == 0;
}

static bool pem_has(const struct pem *pem, struct str what) {
    return memmem(pem->bytes, pem->len, what.p, what.len) != NULL;
}

/* DER starts with a SEQUENCE; so does PKCS#12. */
static const char *pem_hint(const struct pem *pem) {
    return pem->len > 0 && pem->bytes[0] == 0x30
               ? " (it seems to be DER or PKCS#12: convert it to PEM)"
               : "";
}

static BIO *pem_bio(const struct pem *pem) {
    BIO *bio = BIO_new_mem_buf(pem->bytes, (int)pem->len);
    ensure(bio != NULL && "out of memory");
    return bio;
}

/* --- Names ------------------------------------------------------------------------------------ */

static void name_add(struct tls_certificate *certificate, struct str name) {
    bool wild = str_starts(name, STR("*."));
    struct str rest = wild ? (struct str){name.p + 2, name.len - 2} : name;
    char room[TLS_NAME_MAX + 2];
    struct str normal;
    /* What is no host name can not be asked for; partial wildcards (f*.example.org) are dead:
     * RFC 9525 6.3. */
    if (!tls_name_normal(rest, room + 2, &normal)) {
        return;
    }
    if (wild) {
        room[0] = '*';
        room[1] = '.';
        normal = (struct str){room, normal.len + 2};
    }
    uint32_t count = certificate->name_count;
    certificate->names = mem_grow(certificate->names, (count + 1) * sizeof *certificate->names);
    certificate->names[count] = mem_copy(normal.p, normal.len);
    certificate->name_count = count + 1;
}

/* The common name counts only where there is no dNSName (RFC 6125 6.4.4). */
static void names_read(struct tls_certificate *certificate) {
    bool has_dns = false;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate->leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            has_dns = true;
            name_add(certificate, (struct str){(const char *)ASN1_STRING_get0_data(name->d.dNSName),
                                               (uint32_t)ASN1_STRING_length(name->d.dNSName)});
        }
    }
    GENERAL_NAMES_free(names);
    const X509_NAME *subject = X509_get_subject_name(certificate->leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (has_dns || at < 0) {
        return;
    }
    unsigned char *common = NULL;
    int len = ASN1_STRING_to_UTF8(&common,
                                  X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (len > 0) {
        name_add(certificate, (struct str){(const char *)common, (uint32_t)len});
    }
    OPENSSL_free(common);
}

bool tls_certificate_covers(const struct tls_certificate *certificate, struct str host) {
    const char *dot = memchr(host.p, '.', host.len);
    for (uint32_t i = 0; i < certificate->name_count; i++) {
        struct str name = str_of(certificate->names[i]);
        if (str_eq(name, host)) {
            return true;
        }
        if (dot != NULL && dot != host.p && name.p[0] == '*' &&
            str_eq((struct str){name.p + 1, name.len - 1},
                   (struct str){dot, host.len - (uint32_t)(dot - host.p)})) {
            return true;
        }
    }
    return false;
}

/* --- Chain and key ---------------------------------------------------------------------------- */

/* OpenSSL would ask on the terminal, which a server has not. */
static int passphrase_refuse(char *room, int size, int writing, void *asked) {
    (void)room, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool chain_read(struct tls_certificate *certificate, const struct pem *pem,
                       char why[TLS_WHY_MAX]) {
    bool asked = false, good = true;
    BIO *bio = pem_bio(pem);
    X509 *x;
    certificate->chain = sk_X509_new_null();
    while ((x = PEM_read_bio_X509(bio, NULL, passphrase_refuse, &asked)) != NULL) {
        if (certificate->leaf == NULL) {
            certificate->leaf = x;
        } else {
            ensure(sk_X509_push(certificate->chain, x) > 0);
        }
    }
    unsigned long error = ERR_peek_last_error();
    if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
        int number = certificate->leaf == NULL ? 1 : sk_X509_num(certificate->chain) + 2;
        tls_why_set(why, certificate->path, "certificate number %d in it is damaged (%s)", number,
                    tls_reason());
        good = false;
    } else if (certificate->leaf == NULL) {
        tls_why_set(why, certificate->path, "there is no PEM certificate in it%s", pem_hint(pem));
        good = false;
    }
    BIO_free(bio);
    return good;
}

static bool key_type_read(struct tls_certificate *certificate) {
    static const char *const names[KEY_TYPES] = {
        [KEY_EC] = "EC", [KEY_RSA] = "RSA", [KEY_RSA_PSS] = "RSA-PSS",
        [KEY_ED25519] = "ED25519", [KEY_ED448] = "ED448"};
    for (int type = 0; type < KEY_TYPES; type++) {
        if (EVP_PKEY_is_a(certificate->key, names[type])) {
            certificate->type = (enum tls_key_type)type;
            return true;
        }
    }
    return false;
}

static bool key_read(struct tls_certificate *certificate, const struct pem *pem, const char *path,
                     char why[TLS_WHY_MAX]) {
    bool asked = false;
    BIO *bio = pem_bio(pem);
    certificate->key = PEM_read_bio_PrivateKey(bio, NULL, passphrase_refuse, &asked);
    BIO_free(bio);
    if (certificate->key != NULL) {
        if (key_type_read(certificate)) {
            return true;
        }
        tls_why_set(why, path, "its key is neither RSA nor ECDSA nor EdDSA");
    } else if (asked) {
        tls_why_set(why, path, "the private key is encrypted, and nobody is there to type its "
                               "passphrase: store it decrypted (openssl pkey)");
    } else if (pem_has(pem, STR("PRIVATE KEY-----"))) {
        tls_why_set(why, path, "the private key in it is damaged (%s)", tls_reason());
    } else {
        tls_why_set(why, path, "there is no PEM private key in it%s", pem_hint(pem));
    }
    return false;
}

static bool match_check(const struct tls_certificate *certificate, const char *key_path,
                        char why[TLS_WHY_MAX]) {
    if (X509_check_private_key(certificate->leaf, certificate->key) == 1) {
        return true;
    }
    for (int i = 0; i < sk_X509_num(certificate->chain); i++) {
        if (X509_check_private_key(sk_X509_value(certificate->chain, i), certificate->key) == 1) {
            tls_why_set(why, certificate->path, "the chain is in the wrong order: the server's own "
                                                "certificate must come first");
            return false;
        }
    }
    tls_why_set(why, key_path, "the private key does not match the certificate in %s",
                strcmp(key_path, certificate->path) == 0 ? "the same file" : certificate->path);
    return false;
}

/* Asks OpenSSL now what it would say in every handshake: a key too short or a signature too weak
 * for the library's security level. */
static bool trial_check(const struct tls_certificate *certificate, char why[TLS_WHY_MAX]) {
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    bool good = ssl != NULL &&
                SSL_CTX_use_cert_and_key(ssl, certificate->leaf, certificate->key,
                                         certificate->chain, 1) == 1;
    if (!good) {
        tls_why_set(why, certificate->path, "OpenSSL refuses to serve it: %s", tls_reason());
    }
    SSL_CTX_free(ssl);
    return good;
}

static bool certificate_read(struct tls_certificate *certificate, const char *key_path,
                             char why[TLS_WHY_MAX]) {
    struct pem chain, key = {0};
    ERR_clear_error();
    if (!pem_read(&chain, certificate->path, why)) {
        return false;
    }
    bool good = chain_read(certificate, &chain, why);
    ERR_clear_error();
    if (good && key_path == NULL) {
        good = key_read(certificate, &chain, certificate->path, why);
    } else if (good) {
        good = pem_read(&key, key_path, why) && key_read(certificate, &key, key_path, why);
    }
    pem_fini(&chain);
    pem_fini(&key);
    ERR_clear_error();
    good = good && match_check(certificate, key_path ? key_path : certificate->path, why) &&
           trial_check(certificate, why);
    ERR_clear_error();
    return good;
}

struct tls_certificate *tls_certificate_load(const char *chain_path, const char *key_path,
                                             char why[TLS_WHY_MAX]) {
    struct tls_certificate *certificate = mem_zero(sizeof *certificate);
    certificate->magic = TLS_CERTIFICATE_MAGIC;
    atomic_init(&certificate->refs, 1);
    certificate->path = mem_copy(chain_path, strlen(chain_path));
    if (!certificate_read(certificate, key_path, why)) {
        tls_certificate_free(certificate);
        return NULL;
    }
    names_read(certificate);
    return certificate;
}

struct tls_certificate *tls_certificate_ref(struct tls_certificate *certificate) {
    ensure_magic(certificate, TLS_CERTIFICATE_MAGIC);
    atomic_fetch_add_explicit(&certificate->refs, 1, memory_order_relaxed);
    return certificate;
}

void tls_certificate_free(struct tls_certificate *certificate) {
    ensure_magic(certificate, TLS_CERTIFICATE_MAGIC);
    if (atomic_fetch_sub_explicit(&certificate->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (uint32_t i = 0; i < certificate->name_count; i++) {
        mem_free(certificate->names[i]);
    }
    mem_free(certificate->names);
    mem_free(certificate->path);
    EVP_PKEY_free(certificate->key);
    X509_free(certificate->leaf);
    sk_X509_pop_free(certificate->chain, X509_free);
    certificate->magic = 0;
    mem_free(certificate);
}
