/* The retry budget: how many requests may go again, of those that the whole process had lately. */
#include "base/mem.h"
#include "upstream/upstream_priv.h"

/* What counts is what was in the last WINDOW_MS. It fades away as time goes by, and nothing is
 * counted for it while all is well: the rings count their requests anyhow, and they are looked at
 * when one is to go again. So what came since the last look is taken to have come evenly. */
#define WINDOW_MS 10000u
/* A site with few requests has some, too, that go again: three a second, and so many at once. */
#define FLOOR 30u
/* Of numbers that fade away in small steps. */
#define SHIFT 16u

struct budget {
    pthread_mutex_t lock;
    uint32_t percent, ring_count;
    struct stats **rings;            /* by index; NULL: it does not run */
    uint64_t counted;                /* requests of all rings, when they were looked at last, */
    uint64_t looked_ms;              /* then */
    uint64_t recent, spent;          /* requests, and those that went again, shifted */
};

struct budget *budget_new(uint32_t percent, uint32_t ring_count) {
    struct budget *budget = mem_zero(sizeof *budget);
    pthread_mutex_init(&budget->lock, NULL);
    budget->percent = percent;
    budget->ring_count = ring_count;
    budget->rings = mem_zero(ring_count * sizeof(struct stats *));
    return budget;
}

void budget_free(struct budget *budget) {
    pthread_mutex_destroy(&budget->lock);
    mem_free(budget->rings);
    mem_free(budget);
}

static uint64_t requests(const struct budget *budget) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < budget->ring_count; i++) {
        sum += budget->rings[i] != NULL ? stats_get(budget->rings[i], STAT_REQUESTS) : 0;
    }
    return sum;
}

static uint64_t faded(uint64_t shifted, uint64_t ms) {
    return ms < WINDOW_MS ? shifted * (WINDOW_MS - ms) / WINDOW_MS : 0;
}

static void look(struct budget *budget, uint64_t now) {
    uint64_t sum = requests(budget), came = sum - budget->counted;
    uint64_t ms = now > budget->looked_ms ? now - budget->looked_ms : 0;
    budget->recent = faded(budget->recent, ms) +
                     ((ms > WINDOW_MS ? came * WINDOW_MS / ms : came) << SHIFT);
    budget->spent = faded(budget->spent, ms);
    budget->counted = sum;
    budget->looked_ms += ms;
}

void budget_join(struct upstream *room) {
    struct budget *budget = room->registry->budget;
    struct stats *stats = ring_stats(room->ring);
    pthread_mutex_lock(&budget->lock);
    budget->rings[room->ring_index] = stats;
    budget->counted += stats_get(stats, STAT_REQUESTS);
    budget->looked_ms = ring_now_ms(room->ring);
    pthread_mutex_unlock(&budget->lock);
}

void budget_leave(struct upstream *room) {
    struct budget *budget = room->registry->budget;
    pthread_mutex_lock(&budget->lock);
    look(budget, ring_now_ms(room->ring));
    budget->rings[room->ring_index] = NULL;
    budget->counted = requests(budget);
    pthread_mutex_unlock(&budget->lock);
}

bool upstream_affords_retry(struct upstream *room) {
    struct budget *budget = room->registry->budget;
    pthread_mutex_lock(&budget->lock);
    look(budget, ring_now_ms(room->ring));
    uint64_t most = ((uint64_t)FLOOR << SHIFT) + budget->recent / 100 * budget->percent;
    uint64_t one = UINT64_C(1) << SHIFT;
    bool affords = budget->spent + one <= most;
    budget->spent += affords ? one : 0;
    pthread_mutex_unlock(&budget->lock);
    if (!affords) {
        stats_add(ring_stats(room->ring), STAT_RETRY_OVER_BUDGET, 1);
    }
    return affords;
}
