/* Plays a script: a gyre of its own, servers and a client round it, and what is left at the end. */
#include "script/script_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct peer_listener *listen_at(const struct addr *addr, uint32_t backlog) {
    struct peer_listener *listener = peer_listen(addr, backlog);
    ensure(listener != NULL);
    return listener;
}

/* On a port that is free. */
static struct peer_listener *listen_anywhere(uint32_t backlog) {
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in = (struct sockaddr_in){.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return listen_at(&addr, backlog);
}

static struct peer_listener *listen_unix(void) {
    struct addr addr;
    const char *why;
    char path[64];
    snprintf(path, sizeof path, "unix:/tmp/gyre-script-%d.sock", (int)getpid());
    ensure(addr_parse(&addr, str_of(path), &why));
    return listen_at(&addr, 64);
}

/* A server that answers no SYN: its backlog is full, and nobody takes from it. */
static void full_begin(struct play *play) {
    play->full = listen_anywhere(1);
    peer_listener_pause(play->full, true);
    for (size_t i = 0; i < sizeof play->fillers / sizeof play->fillers[0]; i++) {
        play->fillers[i] = peer_dial(&play->full->addr, NULL);
    }
    peers_sleep(20);
}

static void full_end(struct play *play) {
    for (size_t i = 0; i < sizeof play->fillers / sizeof play->fillers[0]; i++) {
        peer_free(play->fillers[i]);
    }
    peer_listener_close(play->full);
}

static bool has(const char *text, const char *word) {
    return text != NULL && strstr(text, word) != NULL;
}

static void servers_begin(struct play *play) {
    play->servers[0] = has(play->script->servers, "{unix}") ? listen_unix() : listen_anywhere(64);
    play->servers[1] = listen_anywhere(64);
    if (has(play->script->servers, "{full}")) {
        full_begin(play);
    }
}

static void port_choose(struct play *play) {
    play->at = lab_free_address(play->mode->on_sim);
    snprintf(play->port, sizeof play->port, "%u", addr_port(&play->at));
}

static const char *or_empty(const char *text) {
    return text != NULL ? text : "";
}

static bool gyre_begin(struct play *play) {
    const struct script *s = play->script;
    char ini[4096];
    snprintf(ini, sizeof ini,
             "[global]\nworkers = 1\n%s%s%s[listener web]\nbind = {web}\n%s%s%s"
             "[backend app]\n%s%s%s%s",
             has(s->global, "drain_timeout") ? "" : "drain_timeout = 2s\n", or_empty(s->global),
             play->faulted != NULL ? "access_log = /tmp/gyre-script.log\n" : "",
             s->tls || s->tls_port ? "certificate = toy.pem\nkey = toy.key\n" : "",
             s->bare ? "" : "backend = app\n", or_empty(s->listener),
             s->sync ? "mode = sync\n" : "mode = async\nqueue = 0\n",
             s->servers != NULL ? s->servers : "server = {app}\n", or_empty(s->backend),
             or_empty(s->more));
    struct put_in names[] = {{.name = "{web}"}, {.name = "{app}"}, {.name = "{second}"},
                             {.name = "{unix}"}, {.name = "{full}"},
                             {.name = "{dead}", .text = "127.0.0.1:1"}};
    addr_print(&play->at, names[0].text);
    addr_print(&play->servers[0]->addr, names[1].text);
    addr_print(&play->servers[1]->addr, names[2].text);
    addr_print(&play->servers[0]->addr, names[3].text);
    if (play->full != NULL) {
        addr_print(&play->full->addr, names[4].text);
    }
    size_t len;
    char *text = text_make(ini, strlen(ini), names, sizeof names / sizeof names[0], &len);
    bool ok = lab_start(&play->lab, play->mode->on_sim, text, &play->mode->ring);
    mem_free(text);
    return ok;
}

static bool all_have_ended(struct play *play) {
    bool all = play_client_ended(play) || play->client->state == PEER_CLOSED;
    for (uint32_t i = 0; i < play->origin_count; i++) {
        const struct peer *o = play->origins[i];
        all = all && (o->eof || o->reset || o->state != PEER_OPEN);
    }
    return all;
}

static void check_leftovers(struct play *play) {
    size_t len;
    const uint8_t *p = play_client_bytes(play, &len);
    if (len > 0) {
        play_wrong(play, "the client got more than the script says", p, len);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        if (play->origins[i]->rx_len > 0) {
            play_wrong(play, "a server got more than the script says", play->origins[i]->rx,
                  play->origins[i]->rx_len);
        }
    }
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        if (play_take_origin(play, i)) {
            play_wrong(play, "a server got a connection that the script does not name", NULL, 0);
        }
    }
}

/* Everybody says FIN, so that gyre need not wait for anybody; then it is told to stop. */
static void gyre_end(struct play *play) {
    if (!play->client_finished && play->client->state == PEER_OPEN) {
        play_client_fin(play);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        if (!play->origin_ended[i]) {
            peer_fin(play->origins[i]);
        }
    }
    peer_pause(play->client, false);
    if (!lab_stop(&play->lab, 20000)) {
        fprintf(stderr, "%s: gyre does not stop; before that: %s\n", play->script->name,
                play->why[0] != '\0' ? play->why : "nothing");
        abort();   /* its rings and threads are in the way of whatever comes next */
    }
    (void)play_run(play, all_have_ended, 500);
    check_leftovers(play);
}

void play_begin(struct play *play) {
    servers_begin(play);
    port_choose(play);
    ensure(gyre_begin(play));
}

void play_end(struct play *play) {
    if (play->client != NULL) {
        play_client_go(play);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        peer_free(play->origins[i]);
    }
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        peer_listener_close(play->servers[i]);
    }
    if (play->full != NULL) {
        full_end(play);
    }
}

bool script_play(const struct script *script, const struct script_mode *mode,
                 char why[SCRIPT_TEXT_MAX]) {
    struct play *play = mem_zero(sizeof *play);
    *play = (struct play){.script = script, .mode = mode, .step = script->steps, .why = why};
    why[0] = '\0';
    play_begin(play);
    play_client_come(play);
    while (play->step->kind != STEP_END && play_step(play)) {
        play->step++;
    }
    gyre_end(play);
    play_end(play);
    mem_free(play);
    return why[0] == '\0';
}
