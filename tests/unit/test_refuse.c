/* The table of what is refused: every row is whole, and names what there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "http/http.h"

static const char *const keys[] = {
#define KEY(section, key, ...) #key,
#include "conf/keys.def"
};

static bool is_key(const char *name) {
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void words(void **state) {
    (void)state;
    assert_string_equal(refuse_word(REFUSE_NONE), "-");
    for (enum refusal i = REFUSE_NONE + 1; i < REFUSE_COUNT; i++) {
        const char *word = refuse_word(i);
        assert_in_range(strlen(word), 3, 24);   /* a line of the log has room for it */
        assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz-"), strlen(word));
        for (enum refusal k = REFUSE_NONE + 1; k < i; k++) {
            assert_string_not_equal(word, refuse_word(k));
        }
    }
}

static void answers(void **state) {
    (void)state;
    for (enum refusal i = REFUSE_NONE + 1; i < REFUSE_COUNT; i++) {
        const struct refuse_row *row = refuse_row(i);
        bool response = row->sides == REFUSE_IN_RESPONSE;
        if (response ? row->status != 502 || row->why != CLOSE_BAD_RESPONSE
                     : row->status < 400 || row->status == 502 ||
                           status_reason(row->status).len == 0 || row->why == CLOSE_NONE) {
            fail_msg("%s: %u, %s", row->word, row->status, close_word(row->why));
        }
        assert_true(row->sides != 0);
    }
}

/* They become rows of a page. */
static void texts(void **state) {
    (void)state;
    for (enum refusal i = REFUSE_NONE + 1; i < REFUSE_COUNT; i++) {
        const struct refuse_row *row = refuse_row(i);
        size_t len = strlen(row->text);
        bool ok = len > 10 && row->text[len - 1] == '.' && strpbrk(row->text, "|`\n") == NULL &&
                  (strncmp(row->rule, "RFC ", 4) == 0 || strncmp(row->rule, "CVE-", 4) == 0) &&
                  (strcmp(row->setting, "none") == 0 || is_key(row->setting));
        if (!ok) {
            fail_msg("%s: %s (%s; %s)", row->word, row->text, row->rule, row->setting);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test(answers),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
