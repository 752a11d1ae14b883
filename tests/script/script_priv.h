/* What the files of the player share: a script at work. */
#ifndef GYRE_TESTS_SCRIPT_SCRIPT_PRIV_H
#define GYRE_TESTS_SCRIPT_SCRIPT_PRIV_H

#include <string.h>

#include "base/mem.h"
#include "script/script.h"

#define ORIGIN_CONNECTIONS_MAX 16
#define SERVERS_MAX 2

struct faulted;                     /* what a run under a fault has seen */

struct play {
    const struct script *script;
    const struct script_mode *mode;
    const struct script_step *step;
    struct lab lab;
    struct addr at;                              /* gyre's listener */
    char port[8];
    struct peer *client;
    void *tls;
    struct peer_listener *servers[SERVERS_MAX], *full;
    struct peer *fillers[3];                     /* of full's backlog */
    struct peer *origins[ORIGIN_CONNECTIONS_MAX];
    bool origin_ended[ORIGIN_CONNECTIONS_MAX];   /* by the script */
    uint32_t origin_count;
    struct peer *origin;                         /* the one taken last */
    bool client_finished, mismatch;
    char *text;                                  /* of the step */
    size_t text_len;
    bool (*cond)(struct play *);
    uint64_t body_at;                            /* bytes of a body that the step has seen */
    char *why;
    struct faulted *faulted;                     /* NULL: everything must be as the script says */
    bool off;                                    /* under a fault: it is no more */
};

/* script_match.c: texts and bodies. */
struct put_in {
    const char *name;
    char text[ADDR_TEXT_MAX];
};
/* The text with each name replaced, in new memory. */
char *text_make(const char *from, size_t len, const struct put_in *names, size_t count,
                size_t *made_len);

enum { MATCH_MORE = 0, MATCH_NOT = -1 };
/* How many of the bytes the pattern takes; MATCH_MORE, MATCH_NOT. */
long match_text(const char *pattern, size_t pattern_len, const uint8_t *p, size_t len);
/* One whole chunk, or the line of the last one. text NULL: of the pattern. size: of body in it. */
long match_chunk(const char *text, uint64_t body_len, uint64_t body_at, const uint8_t *p,
                 size_t len, uint64_t *size);
/* True when these are bytes of the body from `at` on; of the text, or (NULL) of the pattern. */
bool body_is(const char *text, uint64_t size, uint64_t at, const uint8_t *p, size_t len);
uint8_t pattern_at(uint64_t i);

/* script_step.c: the steps. */
/* Remembers the first thing that was wrong; returns false. */
bool play_wrong(struct play *, const char *what, const void *got, size_t len);
bool play_step(struct play *);
/* As peers_run. The client's TLS has work to do whatever the script waits for. */
enum peers_end play_run(struct play *, bool (*cond)(struct play *), uint64_t ms);
void play_client_come(struct play *);
void play_client_fin(struct play *);
void play_client_go(struct play *);
bool play_client_ended(struct play *);
const uint8_t *play_client_bytes(struct play *, size_t *len);
/* The next connection at that server; false when there is none. */
bool play_take_origin(struct play *, uint32_t server);

/* script.c: a gyre of the play's own, and servers round it. */
void play_begin(struct play *);
void play_end(struct play *);

/* script_fault.c: what is seen under a fault is kept. */
void faulted_saw(struct play *, bool client, const void *, size_t len);
void faulted_client_gone(struct play *);
void faulted_turn(struct play *);

#endif
