/* net/client: connections by client address, against a plain model, and by many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/net.h"

static struct endpoint v4(uint32_t n) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(n)};
    struct endpoint e;
    endpoint_of(&e, (struct sockaddr *)&in, sizeof in);
    return e;
}

static struct endpoint v6(const char *text) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    struct endpoint e;
    endpoint_of(&e, (struct sockaddr *)&in6, sizeof in6);
    return e;
}

static void gives(struct client_counts *c, const struct endpoint *e, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        client_give(c, e);
    }
}

static void test_the_limit(void **state) {
    (void)state;
    struct client_counts *c = client_counts_new(3, "web", NULL, 0);
    struct endpoint a = v4(0x0a000001), b = v4(0x0a000002);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(client_take(c, &a, 0));
    }
    assert_false(client_take(c, &a, 0));
    assert_int_equal(client_held(c, &a), 3);
    assert_true(client_take(c, &b, 0));
    client_give(c, &a);
    assert_true(client_take(c, &a, 0));
    assert_false(client_take(c, &a, 0));
    gives(c, &a, 3);
    client_give(c, &b);
    assert_int_equal(client_held(c, &a), 0);
    client_counts_free(c);
}

/* Whoever has an IPv6 address has a network of them; v4 in v6 clothes is v4. */
static void test_networks(void **state) {
    (void)state;
    struct client_counts *c = client_counts_new(2, "web", NULL, 0);
    struct endpoint one = v6("2001:db8:1:2::1"), same = v6("2001:db8:1:2:ffff:ffff:ffff:ffff");
    struct endpoint other = v6("2001:db8:1:3::1");
    assert_true(client_take(c, &one, 0));
    assert_true(client_take(c, &same, 0));
    assert_false(client_take(c, &one, 0));
    assert_true(client_take(c, &other, 0));
    struct endpoint mapped = v6("::ffff:10.0.0.1"), plain = v4(0x0a000001);
    assert_true(client_take(c, &mapped, 0));
    assert_true(client_take(c, &plain, 0));
    assert_false(client_take(c, &mapped, 0));
    /* An IPv4 address is no network of the same bytes. */
    struct endpoint looks_alike = v6("a00:1::1");
    assert_true(client_take(c, &looks_alike, 0));
    assert_int_equal(client_held(c, &looks_alike), 1);
    gives(c, &one, 2);
    gives(c, &plain, 2);
    client_give(c, &other);
    client_give(c, &looks_alike);
    client_counts_free(c);
}

static void test_who_is_not_counted(void **state) {
    (void)state;
    struct cidr exempt[2];
    const char *why;
    assert_true(cidr_parse(&exempt[0], STR("10.0.0.0/8"), &why));
    assert_true(cidr_parse(&exempt[1], STR("2001:db8::/32"), &why));
    struct client_counts *c = client_counts_new(1, "web", exempt, 2);
    struct endpoint local = {.family = AF_UNIX}, unknown = {0};
    struct endpoint balancer = v4(0x0a010203), balancer6 = v6("2001:db8::1"), usual = v4(0x0b000001);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(client_take(c, &local, 0) && client_take(c, &unknown, 0));
        assert_true(client_take(c, &balancer, 0) && client_take(c, &balancer6, 0));
    }
    assert_int_equal(client_held(c, &balancer), 0);
    assert_true(client_take(c, &usual, 0));
    assert_false(client_take(c, &usual, 0));
    gives(c, &local, 5);
    gives(c, &balancer, 5);
    client_give(c, &usual);
    client_counts_free(c);
}

/* Many addresses come and go; the table says what a plain array says. */
#define ADDRESSES 30000u

static uint64_t luck = 88172645463325252u;

static uint32_t draw(uint32_t below) {
    luck ^= luck << 13;
    luck ^= luck >> 7;
    luck ^= luck << 17;
    return (uint32_t)(luck >> 20) % below;
}

static void model_run(struct client_counts *c, uint8_t *model, uint32_t addresses, uint32_t steps,
                      uint32_t takes_of_ten) {
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t n = draw(addresses);
        struct endpoint e = v4(0x0a000000 + n * 256);
        if (draw(10) < takes_of_ten) {
            bool taken = client_take(c, &e, 0);
            assert_int_equal(taken, model[n] < 4);
            model[n] += taken;
        } else if (model[n] > 0) {
            client_give(c, &e);
            model[n]--;
        }
        assert_int_equal(client_held(c, &e), model[n]);
    }
}

static void test_against_a_model(void **state) {
    (void)state;
    static uint8_t model[ADDRESSES];
    struct client_counts *c = client_counts_new(4, "web", NULL, 0);
    model_run(c, model, 300, 20000, 6);
    model_run(c, model, ADDRESSES, 200000, 7);      /* it grows */
    model_run(c, model, ADDRESSES, 300000, 2);      /* and shrinks */
    model_run(c, model, 3000, 50000, 5);
    for (uint32_t n = 0; n < ADDRESSES; n++) {
        struct endpoint e = v4(0x0a000000 + n * 256);
        assert_int_equal(client_held(c, &e), model[n]);
        gives(c, &e, model[n]);
    }
    client_counts_free(c);                          /* ensures that it is empty */
}

/* Threads at the same few addresses: none ever holds more than it may, and none is lost. */
#define THREADS 4u
#define SHARED 5u
#define MAX 3u

static struct client_counts *shared;
static _Atomic uint32_t held[SHARED], peak[SHARED];
static _Atomic uint32_t too_many, refused;

static void *thread_run(void *arg) {
    uint32_t seed = *(uint32_t *)arg;
    for (uint32_t i = 0; i < 40000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t n = (seed >> 16) % SHARED;
        struct endpoint e = v4(0x0a000000 + n);
        if (!client_take(shared, &e, i / 4)) {
            atomic_fetch_add(&refused, 1);
            continue;
        }
        uint32_t now = atomic_fetch_add(&held[n], 1) + 1;
        if (now > MAX) {
            atomic_fetch_add(&too_many, 1);
        }
        if (now > atomic_load(&peak[n])) {
            atomic_store(&peak[n], now);
        }
        if ((seed >> 24) % 8 == 0) {
            sched_yield();
        }
        atomic_fetch_sub(&held[n], 1);
        client_give(shared, &e);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    shared = client_counts_new(MAX, "web", NULL, 0);
    pthread_t threads[THREADS];
    uint32_t seeds[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        seeds[i] = i * 7919 + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, thread_run, &seeds[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(too_many, 0);
    for (uint32_t n = 0; n < SHARED; n++) {
        struct endpoint e = v4(0x0a000000 + n);
        assert_int_equal(client_held(shared, &e), 0);
        assert_true(peak[n] > 0);
    }
    client_counts_free(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_limit),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_who_is_not_counted),
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
