/* The life of an exchange: out of the inbox, through its steps, into the log. */
#include "base/log.h"
#include "exchange/exchange_priv.h"

/* Steps run at one go; an exchange that finds ever more to do lets others have their turn. */
#define STEPS_PER_RUN 16u

static enum step (*const steps[STEP_COUNT])(struct exchange *) = {
#define STEP(name) step_##name,
#include "exchange/step.def"
#undef STEP
};

/* What was wrong with the message that is the reason. */
static uint8_t exchange_refusal(const struct exchange *e) {
    if (e->up != NULL && e->why == e->up->why) {
        return e->up->refusal;   /* of a response; or of a request that no packet can hold */
    }
    if (e->why == e->down->why) {
        return e->down->refusal;
    }
    return e->request != NULL ? (uint8_t)e->request->refusal : REFUSE_NONE;
}

enum step exchange_fail(struct exchange *e, enum close_reason why) {
    ensure(why != CLOSE_NONE);
    if (e->why == CLOSE_NONE) {
        e->why = (uint8_t)why;
        e->refusal = exchange_refusal(e);
    }
    /* Before the final head there is a page for every reason; after it only the cut is left. */
    if (!e->head_sent && reply_status(why) != 0) {
        return STEP_reply;
    }
    e->cut = true;
    return STEP_done;
}

/* Where gyre itself stopped reading the client is still there and gets its answer. */
static bool client_listens(enum close_reason why) {
    return why == CLOSE_BODY_TIMEOUT || why == CLOSE_BODY_SLOW || why == CLOSE_BODY_TOO_LARGE ||
           why == CLOSE_BAD_REQUEST || why == CLOSE_NO_MEMORY;
}

/* The client's side broke. */
static enum step exchange_down_lost(struct exchange *e) {
    enum close_reason why = e->down->why;
    e->down->ready &= (uint8_t)~STREAM_LOST;
    if (!e->down->gone && client_listens(why)) {
        if (!e->head_sent) {
            e->why = CLOSE_NONE;   /* whatever it would have been answered: this is worse */
            e->own_status = 0;
        }
        return exchange_fail(e, why);
    }
    if (e->why == CLOSE_NONE) {
        e->why = (uint8_t)why;
    }
    e->cut = true;
    return STEP_done;
}

static void exchange_free(struct exchange *e) {
    struct exchanges *room = e->room;
    timer_cancel(room->ring, &e->timer);
    task_cancel(room->ring, &e->task);
    room->generation_holders--;
    e->magic = 0;
    pool_put(&room->pool, e);
}

/* A head that came together with the loss is taken first: it says whom to answer, and how. */
static bool is_down_lost(const struct exchange *e) {
    bool has_head = e->step == STEP_head && (e->down->ready & STREAM_HEAD) != 0;
    return (e->down->ready & STREAM_LOST) != 0 && e->step != STEP_done && !has_head;
}

static void exchange_run(struct task *task) {
    struct exchange *e = container_of(task, struct exchange, task);
    ensure_magic(e, EXCHANGE_MAGIC);
    for (unsigned i = 0; i < STEPS_PER_RUN; i++) {
        enum step now = e->step;
        bool lost = is_down_lost(e);
        enum step next = lost ? exchange_down_lost(e) : steps[now](e);
        if (now == STEP_done) {
            exchange_free(e);
            return;
        }
        if (next == now && !lost) {   /* lost on the way to a step: that step is still due */
            return;
        }
        e->step = (uint8_t)next;
    }
    task_yield(e->room->ring, &e->task);
}

static void exchange_late(struct timer *timer) {
    struct exchange *e = container_of(timer, struct exchange, timer);
    e->late = true;
    task_wake(e->room->ring, &e->task);
}

/* The pool is at its bound, or memory_max is near: an answer without an exchange, and its line in
 * the log. In the latter case its connection goes as well: what it holds is wanted, and what it has
 * sent ahead would be shed one by one. */
static void exchange_shed(struct exchanges *room, struct stream *down) {
    static struct log_limit said;   /* of all rings */
    if (memory_is_tight()) {
        log_warn_limited(&said, ring_now_ms(room->ring),
                         "answering 503: %llu MiB of memory are in use, and memory_max is near",
                         (unsigned long long)(memory_used() >> 20));
        down->why = CLOSE_NO_MEMORY;
    } else {
        log_warn_limited(&said, ring_now_ms(room->ring),
                         "answering 503: the pool of exchanges is at its bound");
    }
    struct head *request = stream_take_head(down);
    struct exchange e = {.room = room, .down = down, .request = request, .why = CLOSE_NO_MEMORY,
                         .client = request->conn->client, .began_us = down->began_us};
    e.status = reply_status(e.why);
    reply_bare(down, e.status);
    accesslog_write(room->log, &e);
    stats_end(ring_stats(room->ring), CLOSE_NO_MEMORY);
    down->ops->release(down, CLOSE_NONE);
}

static void exchange_new(struct exchanges *room, struct stream *down) {
    struct exchange *e = memory_is_tight() ? NULL : pool_get(&room->pool);
    if (e == NULL) {
        exchange_shed(room, down);
        return;
    }
    *e = (struct exchange){.magic = EXCHANGE_MAGIC, .step = STEP_head, .room = room,
                           .generation = room->generation, .down = down,
                           .began_us = down->began_us};
    room->generation_holders++;
    task_init(&e->task, exchange_run);
    timer_init(&e->timer, exchange_late);
    down->owner = &e->task;
    exchange_run(&e->task);
}

static void front_run(struct task *task) {
    struct exchanges *room = container_of(task, struct exchanges, front);
    for (struct stream *down; (down = inbox_pop(&room->inbox)) != NULL;) {
        exchange_new(room, down);
    }
}

void exchanges_init(struct exchanges *room, struct http *http, struct upstream *upstream,
                    struct generation *generation, struct accesslog *log,
                    struct spool_store *store) {
    *room = (struct exchanges){.magic = EXCHANGES_MAGIC, .ring = http->ring, .http = http,
                               .upstream = upstream, .generation = generation, .log = log,
                               .store = store, .splice_min = SPLICE_BYTES_MIN};
    pool_init(&room->pool, "exchanges", sizeof(struct exchange), 0);
    pool_init(&room->spools, "spools", sizeof(struct spool), 0);
    task_init(&room->front, front_run);
    list_init(&room->inbox.streams);
    room->inbox.task = &room->front;
}

void exchanges_bound(struct exchanges *room, uint32_t count) {
    room->pool.live_max = count;
    room->spools.live_max = 3 * count;   /* both bodies, and those that the disk still holds */
}

void exchanges_trim(struct exchanges *room) {
    pool_trim(&room->pool);
    pool_trim(&room->spools);
}

uint32_t exchanges_running(const struct exchanges *room) {
    return room->pool.live;
}

bool exchanges_are_over(const struct exchanges *room) {
    return room->pool.live == 0 && room->spools.live == 0;
}

void exchanges_fini(struct exchanges *room) {
    ensure_magic(room, EXCHANGES_MAGIC);
    ensure(room->generation_holders == 0);
    task_cancel(room->ring, &room->front);
    pool_fini(&room->pool);
    pool_fini(&room->spools);
    room->magic = 0;
}
