/* Queues of slices against a plain array of bytes, and who holds segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

#define MODEL_MAX (1u << 20)

static void fill(struct seg *seg, uint8_t *next) {
    for (uint32_t i = 0; i < seg->size; i++) {
        seg->data[i] = (*next)++;
    }
    seg->used = seg->size;
}

static void same(const struct bufq *q, const uint8_t *model, uint32_t len) {
    assert_int_equal(q->bytes, len);
    uint8_t *copy = malloc(len + 1);
    assert_int_equal(bufq_read(q, copy, len + 1), len);
    assert_memory_equal(copy, model, len);
    free(copy);
    struct iovec iov[64];
    uint32_t at = 0;
    while (at < len) {
        int n = bufq_peek(q, at, iov, 64);
        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            assert_true(iov[i].iov_len > 0);
            assert_memory_equal(iov[i].iov_base, model + at, iov[i].iov_len);
            at += (uint32_t)iov[i].iov_len;
        }
    }
}

struct pair {
    struct bufq q[2];
    uint8_t *model[2];
    uint32_t len[2];
};

static void model_move(struct pair *p, int to, int from, uint32_t n) {
    memcpy(p->model[to] + p->len[to], p->model[from], n);
    p->len[to] += n;
    memmove(p->model[from], p->model[from] + n, p->len[from] - n);
    p->len[from] -= n;
}

static void step_push(struct pair *p, int i, struct segpool *receive, uint8_t *next) {
    struct seg *seg = seg_new(receive);
    if (seg == NULL) {
        return;   /* at its bound, which another step relieves */
    }
    fill(seg, next);
    uint32_t off = (uint32_t)rand() % seg->size;
    uint32_t len = (uint32_t)rand() % (seg->size - off + 1);
    bufq_push(&p->q[i], seg, off, len);
    memcpy(p->model[i] + p->len[i], seg->data + off, len);
    p->len[i] += len;
    seg_unref(seg);
}

static void step_copy(struct pair *p, int i) {
    uint8_t bytes[3000];
    uint32_t len = (uint32_t)rand() % sizeof bytes;
    for (uint32_t k = 0; k < len; k++) {
        bytes[k] = (uint8_t)rand();
    }
    bufq_copy(&p->q[i], bytes, len);
    memcpy(p->model[i] + p->len[i], bytes, len);
    p->len[i] += len;
}

static void step_reserve(struct pair *p, int i) {
    uint32_t got;
    uint8_t *to = bufq_reserve(&p->q[i], 1 + (uint32_t)rand() % 1000, &got);
    uint32_t len = (uint32_t)rand() % (got + 1);
    memset(to, rand(), len);
    memcpy(p->model[i] + p->len[i], to, len);
    bufq_commit(&p->q[i], len);
    p->len[i] += len;
}

static void step(struct pair *p, struct segpool *receive, uint8_t *next) {
    int i = rand() % 2;
    uint32_t some = (uint32_t)rand() % 5000;
    uint32_t n;
    switch (rand() % 8) {
    case 0:
        step_push(p, i, receive, next);
        break;
    case 1:
        step_copy(p, i);
        break;
    case 2:
        step_reserve(p, i);
        break;
    case 3:
        n = bufq_move(&p->q[i], &p->q[1 - i], some);
        model_move(p, i, 1 - i, n);
        break;
    case 4:
        n = bufq_move_small(&p->q[i], &p->q[1 - i], some, 700);
        model_move(p, i, 1 - i, n);
        break;
    case 5:
        bufq_settle(&p->q[i]);
        assert_false(bufq_pins(&p->q[i]));
        break;
    default:
        n = some < p->len[i] ? some : p->len[i];
        bufq_drop(&p->q[i], n);
        memmove(p->model[i], p->model[i] + n, p->len[i] - n);
        p->len[i] -= n;
        break;
    }
}

static void against_a_model(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        srand(seed);
        struct segpool copies, receive;
        segpool_init(&copies, "copies", 1024, 0, false);
        segpool_init(&receive, "receive", 2048, 64, true);
        struct pair p = {.model = {malloc(MODEL_MAX), malloc(MODEL_MAX)}};
        uint8_t next = 0;
        for (int i = 0; i < 2; i++) {
            bufq_init(&p.q[i], 4096, &copies);
        }
        for (int n = 0; n < 600 && p.len[0] + p.len[1] < MODEL_MAX / 2; n++) {
            step(&p, &receive, &next);
            same(&p.q[0], p.model[0], p.len[0]);
            same(&p.q[1], p.model[1], p.len[1]);
            assert_int_equal(bufq_room(&p.q[0]), p.len[0] < 4096 ? 4096 - p.len[0] : 0);
        }
        for (int i = 0; i < 2; i++) {
            bufq_fini(&p.q[i]);
            assert_null(p.q[i].v);
            free(p.model[i]);
        }
        assert_int_equal(receive.live, 0);
        segpool_fini(&copies);
        segpool_fini(&receive);
    }
}

static void neighbours_merge(void **state) {
    (void)state;
    struct segpool receive;
    segpool_init(&receive, "receive", 4096, 4, true);
    struct seg *seg = seg_new(&receive);
    struct bufq q;
    bufq_init(&q, 100, NULL);
    bufq_push(&q, seg, 0, 10);
    bufq_push(&q, seg, 10, 20);
    assert_int_equal(q.count, 1);
    assert_int_equal(seg->refs, 2);
    bufq_push(&q, seg, 40, 5);
    assert_int_equal(q.count, 2);
    bufq_drop(&q, 35);
    assert_int_equal(seg->refs, 1);
    seg_unref(seg);
    bufq_fini(&q);
    segpool_fini(&receive);
}

/* A head that was written anew, and the body that came behind the old one: how many pieces? */
static unsigned pieces(uint32_t head, uint32_t came_behind, bool shared) {
    struct segpool copies, receive;
    segpool_init(&copies, "copies", 1024, 0, false);
    segpool_init(&receive, "receive", 4096, 0, true);
    struct bufq from, to, other;
    bufq_init(&from, 1 << 20, &copies);
    bufq_init(&to, 1 << 20, &copies);
    bufq_init(&other, 1 << 20, &copies);
    struct seg *seg = seg_new(&receive);
    uint8_t next = 0, model[1024 + 2000];
    fill(seg, &next);
    bufq_push(&from, seg, 0, came_behind + 2000);
    seg_unref(seg);
    bufq_drop(&from, came_behind);
    if (shared) {
        (void)bufq_share(&other, &from, 0, 1);
    }
    memset(model, 'h', head);
    bufq_copy(&to, model, head);
    (void)bufq_read(&from, model + head, 2000);
    assert_int_equal(bufq_move_small(&to, &from, 2000, 1000), 2000);
    same(&to, model, head + 2000);
    unsigned count = to.count;
    bufq_fini(&to);
    bufq_fini(&other);
    assert_int_equal(copies.live + receive.live, 0);
    segpool_fini(&copies);
    segpool_fini(&receive);
    return count;
}

static void small_leads_large(void **state) {
    (void)state;
    assert_int_equal(pieces(150, 200, false), 1);
    assert_int_equal(pieces(200, 200, false), 1);
    assert_int_equal(pieces(201, 200, false), 2);     /* no room */
    assert_int_equal(pieces(150, 200, true), 2);      /* somebody else's bytes may stand there */
    assert_int_equal(pieces(1001, 1100, false), 2);   /* not small */
}

static void settle_small_and_scarce(void **state) {
    (void)state;
    struct segpool copies, receive;
    segpool_init(&copies, "copies", 1024, 0, false);
    segpool_init(&receive, "receive", 65536, 4, true);
    struct bufq q;
    bufq_init(&q, 1 << 20, &copies);
    struct seg *small = seg_new(&receive), *large = seg_new(&receive);
    memset(small->data, 's', 65536);
    memset(large->data, 'l', 65536);
    bufq_push(&q, small, 0, 100);
    bufq_push(&q, large, 0, 60000);
    seg_unref(small);
    seg_unref(large);
    bufq_settle(&q);
    assert_int_equal(receive.live, 1);      /* the large one may wait while there are others */
    struct seg *more[2] = {seg_new(&receive), seg_new(&receive)};
    bufq_settle(&q);
    assert_int_equal(receive.live, 2);      /* but not when they run low */
    assert_int_equal(q.bytes, 60100);
    seg_unref(more[0]);
    seg_unref(more[1]);
    bufq_fini(&q);
    assert_int_equal(receive.live, 0);
    segpool_fini(&copies);
    segpool_fini(&receive);
}

static int homes;
static void came_home(struct segpool *pool) {
    (void)pool;
    homes++;
}

static void pool_has_a_bound(void **state) {
    (void)state;
    struct segpool receive;
    segpool_init(&receive, "receive", 65536, 2, true);
    receive.home = came_home;
    struct seg *a = seg_new(&receive), *b = seg_new(&receive);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(seg_new(&receive));
    seg_unref(a);
    assert_int_equal(homes, 1);
    a = seg_new(&receive);
    assert_non_null(a);
    seg_unref(a);
    seg_unref(b);
    assert_int_equal(receive.live_peak, 2);
    segpool_fini(&receive);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_a_model),
        cmocka_unit_test(neighbours_merge),
        cmocka_unit_test(small_leads_large),
        cmocka_unit_test(settle_small_and_scarce),
        cmocka_unit_test(pool_has_a_bound),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
