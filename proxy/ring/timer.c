/* Timers: a hierarchical wheel of slots, one due time per slot at the lowest level. */
#include "base/ensure.h"
#include "ring/ring_priv.h"

#define SLOT_BITS 6u
#define SLOT_MASK 63u
#define SPAN_MS (1ull << (SLOT_BITS * TIMER_LEVELS))
#define IN_MS_MAX (1ull << 40)   /* 34 years: far from any overflow */

/* A timer stands at the level of the highest group of 6 bits in which its due time differs from
 * at_ms, in the slot that these bits name, or, armed anew for later, in one that begins before.
 * So level 0 has a slot for each of the current 64 ms; what is not due when its slot begins is
 * dealt out again. No slot is ever passed over, so below the top level every occupied slot lies
 * ahead of at_ms and within its turn of the wheel. */

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms) {
    wheel->at_ms = now_ms;
    wheel->next_ms = TIMER_NEVER;
    wheel->next = NULL;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (unsigned slot = 0; slot <= SLOT_MASK; slot++) {
            list_init(&wheel->slot[level][slot]);
        }
    }
    list_init(&wheel->expired);
}

static void slot_put(struct timer_wheel *wheel, struct timer *timer) {
    uint64_t due_ms = timer->due_ms;
    if (due_ms - wheel->at_ms >= SPAN_MS) {
        due_ms = wheel->at_ms + SPAN_MS - 1;   /* as far as the wheel goes; then it is put again */
    }
    uint64_t differ = (due_ms ^ wheel->at_ms) | SLOT_MASK;
    unsigned level = (63u - (unsigned)__builtin_clzll(differ)) / SLOT_BITS;
    if (level >= TIMER_LEVELS) {
        level = TIMER_LEVELS - 1;              /* the top level goes round */
    }
    unsigned shift = level * SLOT_BITS;
    unsigned slot = (unsigned)(due_ms >> shift) & SLOT_MASK;
    list_append(&wheel->slot[level][slot], &timer->slot);
    wheel->occupied[level] |= 1ull << slot;
    if (due_ms >> shift << shift < wheel->next_ms) {
        wheel->next_ms = due_ms >> shift << shift;
        wheel->next = &wheel->slot[level][slot];
    }
}

/* Most are armed anew long before they are due, for later: those stay in their slot, and are put
 * where they belong when it begins. Not those of `expired`. */
void timer_wheel_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t due_ms) {
    due_ms = due_ms > wheel->at_ms ? due_ms : wheel->at_ms + 1;
    bool later = list_linked(&timer->slot) && timer->due_ms > wheel->at_ms &&
                 due_ms >= timer->due_ms;
    timer->due_ms = due_ms;
    if (!later) {
        list_remove(&timer->slot);
        slot_put(wheel, timer);
    }
}

/* Looks for the slot that is `next`. Cancelling leaves bits behind: they are cleared here. */
static void slot_find(struct timer_wheel *wheel) {
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        unsigned shift = level * SLOT_BITS;
        unsigned after = ((unsigned)(wheel->at_ms >> shift) + 1) & SLOT_MASK;
        while (wheel->occupied[level] != 0) {
            uint64_t bits = wheel->occupied[level];
            uint64_t ahead = bits >> after | bits << (-after & SLOT_MASK);
            unsigned slot = (after + (unsigned)__builtin_ctzll(ahead)) & SLOT_MASK;
            struct list_node *list = &wheel->slot[level][slot];
            if (list_empty(list)) {
                wheel->occupied[level] &= ~(1ull << slot);
                continue;
            }
            uint64_t round_ms = 1ull << (shift + SLOT_BITS);
            uint64_t ms = (wheel->at_ms & ~(round_ms - 1)) + ((uint64_t)slot << shift);
            wheel->next_ms = ms > wheel->at_ms ? ms : ms + round_ms;
            wheel->next = list;
            return;
        }
    }
    wheel->next_ms = TIMER_NEVER;
    wheel->next = NULL;
}

uint64_t timer_wheel_next(struct timer_wheel *wheel) {
    if (wheel->next != NULL && list_empty(wheel->next)) {   /* cancelled, all that stood there */
        slot_find(wheel);
    }
    return wheel->next_ms;
}

/* What begins until then: what is due in it has expired, the rest is dealt out again. */
static void slots_begin(struct timer_wheel *wheel, uint64_t now_ms) {
    while (timer_wheel_next(wheel) <= now_ms) {
        struct list_node moving, *node;
        list_take_all(&moving, wheel->next);
        wheel->at_ms = wheel->next_ms;
        slot_find(wheel);
        while ((node = list_pop(&moving)) != NULL) {
            struct timer *timer = container_of(node, struct timer, slot);
            if (timer->due_ms <= wheel->at_ms) {
                list_append(&wheel->expired, node);
            } else {
                slot_put(wheel, timer);
            }
        }
    }
}

void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms) {
    slots_begin(wheel, now_ms);
    if (wheel->at_ms < now_ms) {
        wheel->at_ms = now_ms;
    }
    /* All are collected before the first is fired: what fired() arms or cancels is seen, and what
     * it arms comes in a later turn. */
    struct list_node *node;
    while ((node = list_pop(&wheel->expired)) != NULL) {
        struct timer *timer = container_of(node, struct timer, slot);
        timer->fired(timer);
    }
}

/* Rounded up: the clock's ms may have begun almost one ms ago. */
void timer_arm(struct ring *ring, struct timer *timer, uint64_t in_ms) {
    struct ring_core *core = core_of(ring);
    ensure(timer->fired != NULL);
    if (in_ms > IN_MS_MAX) {
        in_ms = IN_MS_MAX;
    }
    timer_wheel_arm(&core->timers, timer, (core->now_us + in_ms * 1000 + 999) / 1000);
}

void timer_cancel(struct ring *ring, struct timer *timer) {
    (void)ring;
    list_remove(&timer->slot);
}
