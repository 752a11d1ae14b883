/* The life of an op: idle, armed, cancelled, and idle again before its last done. */
#include <errno.h>

#include "base/ensure.h"
#include "ring/ring_priv.h"

#define ADDRESS_BITS 48u   /* of a user-space address, on every machine that we run on */

void op_begin(struct ring_core *core, struct op *op, enum op_kind kind, int fd) {
    ensure(op->state == OP_IDLE);
    ensure(op->done != NULL || kind == OP_WAKE);
    op->state = OP_ARMED;
    op->kind = kind;
    op->fd = fd;
    core->ops++;
    op_renew(core, op);
}

/* The generation is the ring's count, not the op's: an object that was given back and taken again
 * starts from zero, and a late completion of its earlier life must not match. */
void op_renew(struct ring_core *core, struct op *op) {
    op->generation = ++core->generation;
}

uint64_t op_token(const struct op *op) {
    uint64_t address = (uintptr_t)op;
    ensure(address >> ADDRESS_BITS == 0);
    return address | (uint64_t)op->generation << ADDRESS_BITS;
}

/* Reads the op's memory, which is why it must be type-stable. */
struct op *op_of(uint64_t token) {
    struct op *op = (struct op *)(uintptr_t)(token & ((1ull << ADDRESS_BITS) - 1));
    if (op->state == OP_IDLE || op->generation != (uint16_t)(token >> ADDRESS_BITS)) {
        return NULL;
    }
    return op;
}

void op_deliver(struct ring_core *core, struct op *op, int res, struct seg *seg, bool armed) {
    ensure(op->state != OP_IDLE);
    if (res > 0 && op->kind == OP_RECV) {
        stats_add(&core->stats, STAT_RX_BYTES, (uint64_t)res);
    } else if (res > 0 && (op->kind == OP_SEND || op->kind == OP_SENDV)) {
        stats_add(&core->stats, STAT_TX_BYTES, (uint64_t)res);
    }
    if (!armed) {
        op->state = OP_IDLE;
        core->ops--;
    }
    op->done(op, res, seg, armed);
}

void op_end_later(struct ring_core *core, struct op *op) {
    op->state = OP_CANCELLED;
    list_remove(&op->wait);
    list_append(&core->ended, &op->wait);
}

void op_ended_run(struct ring_core *core) {
    struct list_node ended, *node;
    list_take_all(&ended, &core->ended);
    while ((node = list_pop(&ended)) != NULL) {
        op_deliver(core, container_of(node, struct op, wait), -ECANCELED, NULL, false);
    }
}

void op_abandon(struct ring_core *core, struct op *op) {
    ensure(op->state != OP_IDLE);
    op->state = OP_IDLE;
    core->ops--;
}

void op_abandon_all(struct ring_core *core, struct list_node *list) {
    struct list_node *node;
    while ((node = list_pop(list)) != NULL) {
        op_abandon(core, container_of(node, struct op, wait));
    }
}
