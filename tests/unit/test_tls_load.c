/* Loading: what is wrong with a file is said in words, and with its name. */
#include <sys/stat.h>

#include "tls_lab.h"

static struct lab_pair ec, rsa, authority, signed_pair;

static int setup(void **state) {
    ec = lab_ec("ec.test", "DNS:ec.test");
    rsa = lab_rsa("rsa.test", "DNS:rsa.test");
    authority = lab_ec("authority", NULL);
    signed_pair = lab_make(EVP_EC_gen("P-384"), "leaf.test", "DNS:leaf.test", &authority);
    return lab_folder_make(state);
}

static int teardown(void **state) {
    lab_pair_free(&ec);
    lab_pair_free(&rsa);
    lab_pair_free(&authority);
    lab_pair_free(&signed_pair);
    return lab_folder_drop(state);
}

static void check_loads(const char *chain, const char *key) {
    char why[TLS_WHY_MAX] = "";
    struct tls_certificate *certificate = tls_certificate_load(chain, key, why);
    assert_string_equal(why, "");
    assert_non_null(certificate);
    assert_int_equal(ERR_peek_error(), 0);
    tls_certificate_free(certificate);
}

/* The message starts with the file that is to blame, and says what is wrong with it. */
static void check_fails(const char *chain, const char *key, const char *blamed, const char *what) {
    char why[TLS_WHY_MAX] = "";
    assert_null(tls_certificate_load(chain, key, why));
    if (strncmp(why, blamed, strlen(blamed)) != 0 || strstr(why, what) == NULL) {
        fail_msg("\"%s\" is not about %s: %s", why, blamed, what);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static void good_files(void **state) {
    (void)state;
    check_loads(lab_file("one.pem", NULL, ec.x, ec.key), NULL);
    const char *chain = lab_file("chain.pem", NULL, signed_pair.x, NULL);
    lab_file("chain.pem", NULL, authority.x, NULL);
    const char *key = lab_file("chain.key", NULL, NULL, signed_pair.key);
    check_loads(chain, key);
    /* The key in front, between text that is not PEM. */
    const char *mixed = lab_file("mixed.pem", "A key:\n", NULL, rsa.key);
    lab_file("mixed.pem", "subject=rsa.test\n", rsa.x, NULL);
    check_loads(mixed, NULL);
    check_loads(mixed, mixed);
}

static void unreadable_files(void **state) {
    (void)state;
    const char *good = lab_file("good.pem", NULL, ec.x, ec.key);
    const char *missing = lab_path("missing.pem");
    check_fails(missing, NULL, missing, "No such file");
    check_fails(good, missing, missing, "No such file");
    check_fails(lab_folder, NULL, lab_folder, "directory");
    const char *empty = lab_file("empty.pem", NULL, NULL, NULL);
    check_fails(empty, NULL, empty, "no PEM certificate");
    check_fails(good, empty, empty, "no PEM private key");
    check_fails("/dev/zero", NULL, "/dev/zero", "too large");
    if (geteuid() != 0) {
        const char *shut = lab_file("shut.pem", NULL, ec.x, ec.key);
        chmod(shut, 0);
        check_fails(shut, NULL, shut, "Permission denied");
    }
}

static void wrong_content(void **state) {
    (void)state;
    const char *good = lab_file("fine.pem", NULL, ec.x, ec.key);
    const char *text = lab_file("text.pem", "hello\n", NULL, NULL);
    check_fails(text, NULL, text, "no PEM certificate");
    const char *key_only = lab_file("only.key", NULL, NULL, ec.key);
    check_fails(key_only, NULL, key_only, "no PEM certificate");
    const char *chain_only = lab_file("only.pem", NULL, ec.x, NULL);
    check_fails(chain_only, NULL, chain_only, "no PEM private key");
    const char *bad = lab_file("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                          "-----END CERTIFICATE-----\n", NULL, NULL);
    check_fails(bad, NULL, bad, "number 1 in it is damaged");
    const char *second = lab_file("second.pem", NULL, ec.x, ec.key);
    lab_file("second.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", NULL,
             NULL);
    check_fails(second, NULL, second, "number 2 in it is damaged");
    const char *bad_key = lab_file("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"
                                              "-----END PRIVATE KEY-----\n", NULL, NULL);
    check_fails(good, bad_key, bad_key, "private key in it is damaged");
    /* DER */
    const char *der = lab_path("der.crt");
    FILE *file = fopen(der, "w");
    i2d_X509_fp(file, ec.x);
    fclose(file);
    check_fails(der, NULL, der, "DER");
}

static void encrypted_keys(void **state) {
    (void)state;
    char secret[] = "secret";
    const char *good = lab_file("plain.pem", NULL, ec.x, ec.key);
    const char *path = lab_path("encrypted.key");
    FILE *file = fopen(path, "w");
    PEM_write_PrivateKey(file, ec.key, EVP_aes_256_cbc(), NULL, 0, NULL, secret);
    fclose(file);
    check_fails(good, path, path, "encrypted");
    const char *old = lab_path("traditional.key");
    BIO *bio = BIO_new_file(old, "w");
    PEM_write_bio_PrivateKey_traditional(bio, rsa.key, EVP_aes_256_cbc(), NULL, 0, NULL, secret);
    BIO_free(bio);
    check_fails(good, old, old, "encrypted");
}

static void pairs_that_do_not_match(void **state) {
    (void)state;
    const char *chain = lab_file("match.pem", NULL, ec.x, NULL);
    const char *other = lab_file("other.key", NULL, NULL, authority.key);
    check_fails(chain, other, other, "does not match the certificate in");
    const char *type = lab_file("type.key", NULL, NULL, rsa.key);
    check_fails(chain, type, type, "does not match");
    const char *both = lab_file("both.pem", NULL, ec.x, rsa.key);
    check_fails(both, NULL, both, "the same file");
    const char *order = lab_file("order.pem", NULL, authority.x, NULL);
    lab_file("order.pem", NULL, signed_pair.x, signed_pair.key);
    check_fails(order, NULL, order, "wrong order");
}

static void keys_that_can_not_serve(void **state) {
    (void)state;
    struct lab_pair small = lab_make(EVP_RSA_gen(1024), "small.test", NULL, NULL);
    const char *path = lab_file("small.pem", NULL, small.x, small.key);
    SSL_CTX *probe = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_get_security_level(probe) >= 2) {
        check_fails(path, NULL, path, "too small");
    }
    SSL_CTX_free(probe);
    lab_pair_free(&small);
    EVP_PKEY *odd = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    const char *odd_path = lab_file("odd.key", NULL, NULL, odd);
    const char *chain = lab_file("odd.pem", NULL, ec.x, NULL);
    check_fails(chain, odd_path, odd_path, "neither RSA nor ECDSA nor EdDSA");
    EVP_PKEY_free(odd);
}

static void long_paths_keep_the_reason(void **state) {
    (void)state;
    char path[600], why[TLS_WHY_MAX];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    for (int i = 100; i < 600; i += 100) {
        path[i] = '/';
    }
    strcpy(path + sizeof path - 9, "last.pem");
    assert_null(tls_certificate_load(path, NULL, why));
    assert_non_null(strstr(why, "last.pem: can not be opened: No such file"));
    assert_true(strlen(why) < TLS_WHY_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files),
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(wrong_content),
        cmocka_unit_test(encrypted_keys),
        cmocka_unit_test(pairs_that_do_not_match),
        cmocka_unit_test(keys_that_can_not_serve),
        cmocka_unit_test(long_paths_keep_the_reason),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
