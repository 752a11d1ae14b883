/* For tests of which all cases use one site: made before the first of them, gone after the last. */
#ifndef GYRE_TESTS_UNIT_TLS_SITE_H
#define GYRE_TESTS_UNIT_TLS_SITE_H

#include "tls_lab.h"

static struct lab_site lab_own;

static inline int lab_setup(void **state) {
    if (lab_folder_make(state) != 0) {
        return -1;
    }
    lab_site_init(&lab_own);
    return 0;
}

static inline int lab_teardown(void **state) {
    lab_site_fini(&lab_own);
    return lab_folder_drop(state);
}

static const int lab_versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

#endif
