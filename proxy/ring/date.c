/* The date as HTTP writes it (RFC 9110 5.6.7), without libc's locale and time zone. */
#include <string.h>

#include "ring/ring_priv.h"

static void two_digits(char *p, unsigned n) {
    p[0] = (char)('0' + n / 10);
    p[1] = (char)('0' + n % 10);
}

void http_date_print(char p[HTTP_DATE_LEN], uint64_t unix_s) {
    static const char days[] = "ThuFriSatSunMonTueWed";   /* 1970 began on a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t day = unix_s / 86400;
    unsigned second = (unsigned)(unix_s % 86400);
    /* Years that begin in March put the leap day last; 719468 days lie between 0000-03-01 and
     * 1970-01-01, and 146097 days are 400 years. */
    uint64_t shifted = day + 719468;
    uint64_t era = shifted / 146097;
    unsigned of_era = (unsigned)(shifted % 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    unsigned of_month = of_year - (153 * from_march + 2) / 5 + 1;
    unsigned month = from_march < 10 ? from_march + 2 : from_march - 10;   /* 0 is January */
    unsigned year = (unsigned)(era * 400) + year_of_era + (month < 2 ? 1 : 0);

    memcpy(p, "Ddd, 00 Mmm 0000 00:00:00 GMT", HTTP_DATE_LEN);
    memcpy(p, days + 3 * (day % 7), 3);
    two_digits(p + 5, of_month);
    memcpy(p + 8, months + 3 * (size_t)month, 3);
    two_digits(p + 12, year / 100 % 100);
    two_digits(p + 14, year % 100);
    two_digits(p + 17, second / 3600);
    two_digits(p + 20, second / 60 % 60);
    two_digits(p + 23, second % 60);
}

struct str ring_http_date(struct ring *ring) {
    struct ring_core *core = core_of(ring);
    uint64_t now_s = core->wall_us / 1000000;
    if (now_s != core->date_s || core->date[0] == '\0') {
        core->date_s = now_s;
        http_date_print(core->date, now_s);
    }
    return (struct str){core->date, HTTP_DATE_LEN};
}
