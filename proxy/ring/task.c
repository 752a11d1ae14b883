/* Tasks: what is ready in this turn, what waits for the next one; handshakes and bulk apart. */
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

/* What live tasks ask of the kernel goes out at the end of the turn, behind the bulk that ran in
 * it: a piece is no more than what a few requests take, and one of so many that wait is moved.
 * Beside downloads that take all of a core, p99.9 of short requests is 1 to 8 ms; it was 0.1 to
 * 2.7 s where each connection moved 512 KiB among the live tasks (bench/run --rows late-download).
 */
#define BULK_SHARE 4u

void task_lanes_init(struct task_lanes *lanes, uint32_t handshakes_per_turn) {
    for (unsigned lane = 0; lane < TASK_LANES; lane++) {
        list_init(&lanes->ready[lane]);
    }
    list_init(&lanes->next);
    lanes->handshakes_per_turn = handshakes_per_turn;
    lanes->turns_stood_back = 0;
}

static void lane_append(struct task_lanes *lanes, struct task *task) {
    list_append(&lanes->ready[task->lane], &task->ready);
}

static void node_run(struct list_node *node) {
    struct task *task = container_of(node, struct task, ready);
    task->run(task);
}

static void live_run(struct task_lanes *lanes, unsigned *rounds) {
    for (; *rounds > 0 && !list_empty(&lanes->ready[TASK_LIVE]); (*rounds)--) {
        struct list_node batch, *node;
        list_take_all(&batch, &lanes->ready[TASK_LIVE]);
        while ((node = list_pop(&batch)) != NULL) {
            node_run(node);
        }
    }
}

static void some_run(struct list_node *lane, uint32_t most) {
    struct list_node *node;
    while (most-- > 0 && (node = list_pop(lane)) != NULL) {
        node_run(node);
    }
}

static uint32_t bulk_due(const struct list_node *bulk) {
    uint32_t waiting = 0;
    for (const struct list_node *node = bulk->next; node != bulk; node = node->next) {
        waiting++;
    }
    return (waiting + BULK_SHARE - 1) / BULK_SHARE;
}

static bool handshakes_stand_back(struct task_lanes *lanes, bool live) {
    if (live && !list_empty(&lanes->ready[TASK_HANDSHAKE]) &&
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
    struct list_node *bulk = &lanes->ready[TASK_BULK];
    bool live = !list_empty(&lanes->ready[TASK_LIVE]) || !list_empty(bulk);
    live_run(lanes, &rounds);
    some_run(bulk, bulk_due(bulk));
    if (!handshakes_stand_back(lanes, live)) {
        some_run(&lanes->ready[TASK_HANDSHAKE], lanes->handshakes_per_turn);
    }
    live_run(lanes, &rounds);
}

bool task_lanes_ready(const struct task_lanes *lanes) {
    bool ready = !list_empty(&lanes->next);
    for (unsigned lane = 0; lane < TASK_LANES; lane++) {
        ready = ready || !list_empty(&lanes->ready[lane]);
    }
    return ready;
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
