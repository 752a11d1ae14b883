/* Tasks: what is ready in this turn, what waits for the next one, and handshakes apart. */
#include "base/ensure.h"
#include "ring/ring_priv.h"

/* Tasks wake tasks. Two that wake each other for ever must not hold up the turn: a chain longer
 * than this goes on in the next one. */
#define ROUNDS_PER_TURN 16u

/* A handshake is a fifth of a millisecond that nobody else runs in. What live tasks have asked of
 * the kernel goes out at the end of the turn, so a handshake of the same turn would hold it up:
 * handshakes stand back for a turn of their own, but for so many turns in a row at most, or live
 * connections could starve new ones. */
#define TURNS_STOOD_BACK_MAX 4u

void task_lanes_init(struct task_lanes *lanes, uint32_t handshakes_per_turn) {
    list_init(&lanes->live);
    list_init(&lanes->handshake);
    list_init(&lanes->next);
    lanes->handshakes_per_turn = handshakes_per_turn;
    lanes->turns_stood_back = 0;
}

static void lane_append(struct task_lanes *lanes, struct task *task) {
    list_append(task->lane == TASK_HANDSHAKE ? &lanes->handshake : &lanes->live, &task->ready);
}

static void node_run(struct list_node *node) {
    struct task *task = container_of(node, struct task, ready);
    task->run(task);
}

static void live_run(struct task_lanes *lanes, unsigned *rounds) {
    for (; *rounds > 0 && !list_empty(&lanes->live); (*rounds)--) {
        struct list_node batch, *node;
        list_take_all(&batch, &lanes->live);
        while ((node = list_pop(&batch)) != NULL) {
            node_run(node);
        }
    }
}

static bool handshakes_stand_back(struct task_lanes *lanes, bool live) {
    if (live && !list_empty(&lanes->handshake) &&
        lanes->turns_stood_back < TURNS_STOOD_BACK_MAX) {
        lanes->turns_stood_back++;
        return true;
    }
    lanes->turns_stood_back = 0;
    return false;
}

void task_lanes_run(struct task_lanes *lanes) {
    struct list_node *node;
    while ((node = list_pop(&lanes->next)) != NULL) {
        lane_append(lanes, container_of(node, struct task, ready));
    }
    unsigned rounds = ROUNDS_PER_TURN;
    bool live = !list_empty(&lanes->live);
    live_run(lanes, &rounds);
    if (handshakes_stand_back(lanes, live)) {
        return;
    }
    for (uint32_t n = 0; n < lanes->handshakes_per_turn; n++) {
        if ((node = list_pop(&lanes->handshake)) == NULL) {
            break;
        }
        node_run(node);
    }
    live_run(lanes, &rounds);
}

bool task_lanes_ready(const struct task_lanes *lanes) {
    return !list_empty(&lanes->live) || !list_empty(&lanes->handshake) ||
           !list_empty(&lanes->next);
}

void task_wake(struct ring *ring, struct task *task) {
    ensure(task->run != NULL);
    if (!list_linked(&task->ready)) {
        lane_append(&core_of(ring)->tasks, task);
    }
}

void task_yield(struct ring *ring, struct task *task) {
    ensure(task->run != NULL);
    list_remove(&task->ready);
    list_append(&core_of(ring)->tasks.next, &task->ready);
}

void task_cancel(struct ring *ring, struct task *task) {
    (void)ring;
    list_remove(&task->ready);
}
