/* Any clients and any origins round a whole gyre on the simulated ring: nothing hangs or leaks, no
 * request means anything else behind gyre than before it, no answer goes astray.
 *
 * GYRE_FUZZ_SHOW=1 in the environment shows each play. */
#include <stdlib.h>

#include "exchange_judge.h"
#include "exchange_stage.h"
#include "script/lab.h"
#include "sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- To see what has happened ------------------------------------------------------------- */

static void show_bytes(const char *who, uint32_t n, const char *what, struct str bytes) {
    fprintf(stderr, "--- %s %u %s, %u bytes\n", who, n, what, bytes.len);
    for (uint32_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c == '\n') {
            fputs("\\n\n", stderr);
        } else if (c == '\r') {
            fputs("\\r", stderr);
        } else if (c < ' ' || c >= 0x7f) {
            fprintf(stderr, "\\x%02x", c);
        } else {
            fputc(c, stderr);
        }
    }
    fputs("\n", stderr);
}

static void show_moves(const char *who, uint32_t n, const struct script *s) {
    static const char *const kinds[] = {"send", "wait", "await", "FIN", "close", "reset", "pause",
                                        "resume"};
    fprintf(stderr, "--- %s %u, act %x:", who, n, s->when);
    for (uint32_t i = 0; i < s->count; i++) {
        fprintf(stderr, " %s %u", kinds[s->moves[i].kind], s->moves[i].len);
    }
    fputs("\n", stderr);
}

static unsigned long long since_us(uint64_t us) {
    return us != 0 ? us - stage.began_us : 0;
}

static void show_times(const struct conn *c) {
    fprintf(stderr, "    made at %llu us, hung up at %llu, ended at %llu; requests at",
            since_us(c->accepted_us), since_us(c->actor.hung_us), since_us(c->actor.ended_us));
    for (uint32_t i = 0; i < stage.record_count; i++) {
        if (stage.records[i]->conn == c) {
            fprintf(stderr, " %llu", since_us(stage.records[i]->at_us));
        }
    }
    fprintf(stderr, "; spoke at");
    for (uint32_t i = 0; i < c->old_count; i++) {
        fprintf(stderr, " %llu", since_us(c->old_us[i]));
    }
    fprintf(stderr, "\n");
}

static struct str said_by(const struct actor *a) {
    return (struct str){a->said.bytes, a->said.len};
}

static void show(void) {
    const struct play *play = &stage.play;
    fprintf(stderr, "conf %02x faults %02x network %02x seed %02x\n", play->conf, play->faults,
            play->network, play->seed);
    for (uint32_t i = 0; i < play->client_count; i++) {
        const struct actor *a = &stage.clients[i];
        show_moves("client", i, &play->clients[i]);
        show_bytes("client", i, "said", said_by(a));
        show_bytes("client", i, "got", heard(a));
        fprintf(stderr, "--- client %u %s%s%s at the end\n", i, a->peer->eof ? "EOF " : "",
                a->peer->reset ? "reset " : "", a->left ? "left " : "");
    }
    for (uint32_t i = 0; i < play->reply_count; i++) {
        show_moves("answer", i, &play->replies[i]);
    }
    for (uint32_t i = 0; i < stage.conn_count; i++) {
        const struct actor *a = &stage.conns[i]->actor;
        show_bytes("origin", i, "got", heard(a));
        show_bytes("origin", i, "said", said_by(a));
        fprintf(stderr, "--- origin %u %s%s%s at the end, server %u\n", i,
                a->peer->eof ? "EOF " : "", a->peer->reset ? "reset " : "",
                a->hung_up ? "hung up " : "", stage.conns[i]->server);
        show_times(stage.conns[i]);
    }
}

static void fail(const char *wrong) {
    show();
    fprintf(stderr, "%s\n", wrong);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool shows;
    static bool looked;
    if (!looked) {
        looked = true;
        shows = getenv("GYRE_FUZZ_SHOW") != NULL;
    }
    if (!play_read(&stage.play, data, size)) {
        return 0;
    }
    const char *wrong = stage_play();
    wrong = wrong != NULL ? wrong : judge();
    if (wrong != NULL) {
        fail(wrong);
    }
    if (shows) {
        show();
    }
    wrong = stage_close();
    if (wrong != NULL) {
        fprintf(stderr, "%s\n", wrong);
        abort();
    }
    return 0;
}
