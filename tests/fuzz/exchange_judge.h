/* Judges what was said in fuzz_exchange, by readers that know nothing of gyre: what reached an
 * origin is a request of its client, in order, whole or visibly cut, and read alike by everybody;
 * what reached a client is a page, or the answer to its own request; and what the mode of the
 * backend promises was kept. NULL, or what is wrong. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_H
#define GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_H

#include "exchange_judge_down.h"

/* --- All of it ---------------------------------------------------------------------------- */

static const char *judge(void) {
    const char *wrong = NULL;
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        if (!asked_read(i) || stage.too_much) {
            return NULL;          /* more than is kept */
        }
    }
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        wrong = conn_check(stage.conns[i]);
    }
    for (uint32_t i = 0; i < stage.record_count && wrong == NULL; i++) {
        wrong = record_check(stage.records[i]);
    }
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        wrong = reuse_check(stage.conns[i]);
    }
    for (uint32_t i = 0; i < stage.record_count && wrong == NULL; i++) {
        wrong = order_check(stage.records[i]);
    }
    if (wrong == NULL) {
        wrong = mode_check();
    }
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        wrong = taken_check(stage.conns[i]);
    }
    unheard_add();
    for (uint32_t i = 0; i < stage.play.client_count && wrong == NULL; i++) {
        wrong = client_check(i);
        wrong = wrong == NULL ? awaited_check(i) : wrong;
    }
    return wrong;
}

#endif
