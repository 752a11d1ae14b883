/* Plays a table of scripts with each visit of each fault point failing in turn. Included by stage.h
 * where GYRE_FAULTS is set. */
#ifndef GYRE_TESTS_SCRIPT_STAGE_FAULT_H
#define GYRE_TESTS_SCRIPT_STAGE_FAULT_H

#include <signal.h>
#include <unistd.h>

#include "script/script_fault.h"

/* Without FAULTS=all a script gets so many runs, spread over all that there are. */
#define RUNS_PER_SCRIPT 24u

static struct {
    uint64_t runs, hits, worlds;
    uint64_t visits[FAULT_COUNT];
    char now[512];                 /* the run that is going on */
} stage_fault;

static void stage_abort(int number) {
    (void)number;
    ssize_t n = write(STDERR_FILENO, stage_fault.now, strlen(stage_fault.now));
    (void)n;
}

void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static void stage_death(void) {
    stage_abort(0);
}

static void stage_fault_begin(void) {
    signal(SIGABRT, stage_abort);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(stage_death);
    }
}

/* A world of its own for each script, the same for all its runs. */
static struct sim_params stage_params(uint64_t seed) {
    struct sim_params p = sim_params_clean();
    static const uint32_t latencies[] = {0, 300, 4000};
    p.latency_us = latencies[seed % 3];
    /* With little in flight what is large waits in gyre, and is at its marks there. */
    p.pipe_min = p.pipe_max = seed % 2 == 0 ? 65536 : 8192;
    return p;
}

static void stage_run_one(const struct script *script, uint64_t seed, struct script_fault *fault,
                          const struct script_fault *good) {
    static char why[SCRIPT_TEXT_MAX];
    snprintf(stage_fault.now, sizeof stage_fault.now,
             "%s: SCRIPT='%s' SIM_SEED=%d FAULT=%s:%llu%s%s\n", script->name, script->name,
             (int)seed, fault_word(fault->point), (unsigned long long)fault->first,
             fault->count == 0 ? ":none" : fault->count > 1 ? ":all" : "",
             fault->polite ? ":polite" : "");
    struct sim_params params = stage_params(seed);
    struct sim *sim = sim_new(seed + 1, &params);
    struct script_mode mode = {.on_sim = true, .limit_ms = 60000, .tls = &stage_tls_door,
                               .ring = {.sq_entries = 64, .cq_entries = 256, .buf_size = 4096,
                                        .buf_window = 16, .buf_max = 256,
                                        .one_shot = seed % 5 == 4}};
    bool ok = script_play_faulty(script, &mode, fault, why);
    char leaks[128];
    if (ok && sim_leaks(sim, leaks, sizeof leaks) != 0) {
        snprintf(why, sizeof why, "leaks %s", leaks);
        ok = false;
    }
    sim_free(sim);
    ok = ok && (good == NULL || script_fault_check(script, good, fault, why));
    stage_fault.runs++;
    stage_fault.hits += fault->hits;
    if (!ok) {
        fail_msg("%s%s", stage_fault.now, why);
    }
}

/* One visit fails, or all from it on: a shortage that lasts. */
struct stage_case {
    enum fault_point point;
    uint64_t first, count;
    bool polite;
};

/* FAULT=word:first[:all][:polite] */
static bool stage_asked(struct stage_case *one) {
    const char *text = getenv("FAULT");
    if (text == NULL) {
        return false;
    }
    char word[64] = "";
    unsigned long long first = 0;
    sscanf(text, "%63[^:]:%llu", word, &first);
    one->point = fault_of_pool(word);
    one->first = first;
    one->count = strstr(text, ":all") != NULL ? UINT64_MAX : strstr(text, ":none") ? 0 : 1;
    one->polite = strstr(text, ":polite") != NULL;
    return true;
}

static void stage_case_run(const struct script *script, uint64_t seed, struct stage_case one,
                           const struct script_fault *good) {
    struct script_fault *fault = mem_zero(sizeof *fault);
    fault->point = one.point;
    fault->first = one.first;
    fault->count = one.count;
    fault->polite = one.polite;
    stage_run_one(script, seed, fault, good);
    script_fault_fini(fault);
    mem_free(fault);
}

/* All that can be made to fail, numbered: each visit alone, and from each of the first ones on. */
static bool stage_case_at(const struct script_fault good[2], uint64_t number,
                          struct stage_case *one) {
    enum { LASTING_MAX = 6 };
    for (int polite = 0; polite < 2; polite++) {
        for (int p = 0; p < FAULT_COUNT; p++) {
            uint64_t visits = good[polite].visits[p];
            /* Those who are polite at the end take the even ones. */
            uint64_t alone = (visits + (polite ? 1 : 0)) / 2;
            uint64_t lasting = polite ? 0 : visits < LASTING_MAX ? visits : LASTING_MAX;
            if (number < alone + lasting) {
                bool lasts = number >= alone;
                *one = (struct stage_case){
                    .point = (enum fault_point)p,
                    .first = lasts ? number - alone : 2 * number + (polite ? 0 : 1),
                    .count = lasts ? UINT64_MAX : 1,
                    .polite = polite,
                };
                return true;
            }
            number -= alone + lasting;
        }
    }
    return false;
}

static void stage_all(const struct script *script, uint64_t seed,
                      const struct script_fault good[2]) {
    const char *faults = getenv("FAULTS");
    bool all = faults != NULL && strcmp(faults, "all") == 0;
    struct stage_case one;
    uint64_t cases = 0;
    while (stage_case_at(good, cases, &one)) {
        cases++;
    }
    uint64_t runs = all || cases < RUNS_PER_SCRIPT ? cases : RUNS_PER_SCRIPT;
    for (uint64_t i = 0; i < runs; i++) {
        /* Spread evenly, beginning elsewhere in each script. */
        uint64_t number = (i * cases / runs + seed) % cases;
        if (stage_case_at(good, number, &one)) {
            stage_case_run(script, seed, one, &good[one.polite]);
        }
    }
}

static void stage_play(void **state) {
    const struct script *script = *state;
    const char *text = getenv("SIM_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : stage_fault.worlds++;
    static struct script_fault good[2];
    for (int polite = 0; polite < 2; polite++) {
        script_fault_fini(&good[polite]);   /* of a script that failed */
        good[polite].polite = polite;
        stage_run_one(script, seed, &good[polite], NULL);
        if (!good[polite].as_written) {
            fail_msg("%sis not played as written without any fault", stage_fault.now);
        }
        for (int p = 0; p < FAULT_COUNT; p++) {
            stage_fault.visits[p] += good[polite].visits[p];
        }
    }
    struct stage_case one;
    if (stage_asked(&one)) {
        stage_case_run(script, seed, one, &good[one.polite]);
    } else {
        stage_all(script, seed, good);
    }
    for (int polite = 0; polite < 2; polite++) {
        script_fault_fini(&good[polite]);
    }
}

static void stage_fault_tell(void) {
    fprintf(stderr, "%llu runs, %llu failures\n", (unsigned long long)stage_fault.runs,
            (unsigned long long)stage_fault.hits);
    for (int p = 0; p < FAULT_COUNT && getenv("FAULTS") != NULL; p++) {
        fprintf(stderr, "%16s %8llu visits\n", fault_word((enum fault_point)p),
                (unsigned long long)stage_fault.visits[p]);
    }
}

#endif
