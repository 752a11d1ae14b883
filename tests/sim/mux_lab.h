/* Both ends of the multiplexed connections: clients of many streams, origins of HTTP/1.1, and what
 * each knows of what was asked. */
#ifndef GYRE_TESTS_SIM_MUX_LAB_H
#define GYRE_TESTS_SIM_MUX_LAB_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mux_codec.h"
#include "sim/peer.h"

#define CALLS_MAX 512u
#define CLIENTS_MAX 8u

static const char *broken;      /* what an oracle found wrong */
static uint32_t broken_id;

static void wrong(const char *what, uint32_t id) {
    if (broken == NULL) {
        broken = what;
        broken_id = id;
    }
}

static uint8_t pattern(uint32_t id, uint32_t i) {
    return (uint8_t)(id * 131u + i * 7u + (i >> 8));
}

/* --- What is asked, as both ends know it ------------------------------------------------- */

enum call_end { CALL_RUNS, CALL_GOOD, CALL_PAGE, CALL_RESET, CALL_CANCELLED };

struct call {
    bool post, sized, interim, trailers;
    char mode;                  /* of the response: l(ength), c(hunked), x (until close), n (204) */
    uint32_t up_len, down_len;
    uint32_t cancel_at;         /* bytes of response after which the client has enough */
    bool stalled;               /* the client gives no credit */
    uint32_t seen;              /* times that an origin read its head */
    /* The client's. */
    uint32_t sent, got, credit, status;
    bool end_sent, got_interim, got_trailer;
    enum call_end end;
};
static struct call calls[CALLS_MAX];
static uint32_t call_count;

/* --- The client -------------------------------------------------------------------------- */

struct client {
    struct peer *peer;
    uint32_t first, count, opened, window;   /* calls; at once */
    uint16_t last;                           /* stream of the last frame of data */
    uint32_t switches;                       /* times that another stream came next */
};
static struct client clients[CLIENTS_MAX];
static uint32_t client_count;

static void frame_send(struct client *c, enum mux_type type, uint32_t id, const void *payload,
                       uint32_t len) {
    uint8_t header[MUX_HEADER] = {(uint8_t)type, (uint8_t)(id >> 8), (uint8_t)id,
                                  (uint8_t)(len >> 8), (uint8_t)len};
    peer_send(c->peer, header, sizeof header);
    peer_send(c->peer, payload, len);
}

static void call_open(struct client *c, uint32_t id) {
    struct call *a = &calls[id];
    char text[200];
    struct text head = text_on(text, sizeof text);
    text_fmt(&head, "%s /r/%u\nx-ask: %u\n", a->post ? "POST" : "GET", id, id);
    if (a->post && a->sized) {
        text_fmt(&head, "content-length: %u\n", a->up_len);
    }
    a->credit = MUX_WINDOW;
    a->end_sent = !a->post;
    frame_send(c, a->post ? MUX_HEAD : MUX_HEAD_END, id, text, head.len);
}

static void call_cancel(struct client *c, uint32_t id) {
    frame_send(c, MUX_RESET, id, NULL, 0);
    calls[id].end = CALL_CANCELLED;
}

/* One frame of the request's body, or its end. */
static bool call_send(struct client *c, uint32_t id) {
    struct call *a = &calls[id];
    if (a->end != CALL_RUNS || a->end_sent) {
        return false;
    }
    if (a->sent == a->up_len) {
        const char *trailer = a->trailers && !a->sized ? "x-sum: 7\n" : "";
        frame_send(c, MUX_END, id, trailer, (uint32_t)strlen(trailer));
        a->end_sent = true;
        return true;
    }
    uint8_t bytes[MUX_DATA_MAX];
    uint32_t n = a->up_len - a->sent, most = 1 + (id * 13 + a->sent) % MUX_DATA_MAX;
    n = n < most ? n : most;
    n = n < a->credit ? n : a->credit;
    for (uint32_t i = 0; i < n; i++) {
        bytes[i] = pattern(id, a->sent + i);
    }
    if (n > 0) {
        frame_send(c, MUX_DATA, id, bytes, n);
        a->sent += n;
        a->credit -= n;
    }
    return n > 0;
}

static void call_over(uint32_t id) {
    struct call *a = &calls[id];
    if (a->status == 200 || a->status == 204) {
        uint32_t want = a->mode == 'n' ? 0 : a->down_len;
        if (a->got != want) {
            wrong("a response is short and looks whole", id);
        }
        if (a->interim && !a->got_interim) {
            wrong("an interim response is lost", id);
        }
        if (a->trailers && a->mode == 'c' && !a->got_trailer) {
            wrong("a trailer is lost", id);
        }
        a->end = CALL_GOOD;
    } else {
        a->end = CALL_PAGE;
    }
}

static void call_got_data(struct client *c, uint32_t id, const uint8_t *p, uint32_t len) {
    struct call *a = &calls[id];
    for (uint32_t i = 0; a->status == 200 && i < len; i++) {
        if (p[i] != pattern(id, a->got + i)) {
            wrong("a response's bytes are not its own", id);
            return;
        }
    }
    a->got += len;
    c->switches += c->last != id;
    c->last = (uint16_t)id;
    if (!a->stalled) {
        uint8_t credit[2] = {(uint8_t)(len >> 8), (uint8_t)len};
        frame_send(c, MUX_CREDIT, id, credit, sizeof credit);
    }
    if (a->got >= a->cancel_at) {
        call_cancel(c, id);
    }
}

static void call_got_head(uint32_t id, const uint8_t *p, uint32_t len) {
    char text[MUX_HEAD_MAX + 1], own[32];
    memcpy(text, p, len);
    text[len] = '\0';
    uint32_t status = (uint32_t)strtoul(text, NULL, 10);
    if (status < 200) {
        calls[id].got_interim = true;
        return;
    }
    calls[id].status = status;
    snprintf(own, sizeof own, "X-Id: %u\n", id);
    if ((status == 200 || status == 204) && strstr(text, own) == NULL) {
        wrong("a response went to another request", id);
    }
}

static void client_frame(struct client *c, uint8_t type, uint32_t id, const uint8_t *p,
                         uint32_t len) {
    if (id < c->first || id >= c->first + c->opened) {
        wrong("a frame of a stream that is not this client's", id);
        return;
    }
    struct call *a = &calls[id];
    if (a->end != CALL_RUNS) {
        return;   /* it was on its way */
    }
    if (type == MUX_HEAD || type == MUX_HEAD_END) {
        call_got_head(id, p, len);
    } else if (type == MUX_DATA) {
        call_got_data(c, id, p, len);
    } else if (type == MUX_CREDIT) {
        a->credit += (uint32_t)(p[0] << 8 | p[1]);
    } else if (type == MUX_RESET) {
        a->end = CALL_RESET;
    }
    if (type == MUX_END) {
        a->got_trailer = len > 0;
    }
    if ((type == MUX_END || type == MUX_HEAD_END) && a->end == CALL_RUNS) {
        call_over(id);
    }
}

static uint32_t client_running(const struct client *c) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->opened; i++) {
        n += calls[c->first + i].end == CALL_RUNS;
    }
    return n;
}

static void client_write(struct client *c) {
    while (c->opened < c->count && client_running(c) < c->window) {
        uint32_t id = c->first + c->opened++;
        call_open(c, id);
        if (calls[id].cancel_at == 0) {
            call_cancel(c, id);
        }
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < c->opened; i++) {
            more |= call_send(c, c->first + i);
        }
    }
}

static void client_changed(struct peer *p) {
    struct client *c = p->user;
    uint32_t len;
    while (p->rx_len >= MUX_HEADER &&
           p->rx_len >= MUX_HEADER + (len = (uint32_t)(p->rx[3] << 8 | p->rx[4]))) {
        client_frame(c, p->rx[0], (uint32_t)(p->rx[1] << 8 | p->rx[2]), p->rx + MUX_HEADER, len);
        peer_drop(p, MUX_HEADER + len);
    }
    if (p->eof || p->reset || p->state == PEER_REFUSED) {
        c->opened = c->count;
        for (uint32_t i = 0; i < c->count; i++) {
            struct call *a = &calls[c->first + i];
            a->end = a->end == CALL_RUNS ? CALL_RESET : a->end;
        }
    } else if (p->state == PEER_OPEN) {
        client_write(c);
    }
}

/* --- The origin: HTTP/1.1 ---------------------------------------------------------------- */

struct origin {
    bool in_body, chunked, in_chunk, last, dead, silent;
    uint32_t id, got;
    uint64_t left;
};
static struct origin origins[4096];
static uint32_t origin_count;
static bool origins_silent;     /* they read no body and answer nothing */

static void send_pattern(struct peer *p, uint32_t id, uint32_t from, uint32_t len) {
    uint8_t *bytes = mem_alloc(len);
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(id, from + i);
    }
    peer_send(p, bytes, len);
    mem_free(bytes);
}

static void send_chunks(struct peer *p, uint32_t id) {
    const struct call *a = &calls[id];
    char line[32];
    for (uint32_t at = 0, n; at < a->down_len; at += n) {
        n = 1 + (id * 977u + at * 13u) % 900u;
        n = n < a->down_len - at ? n : a->down_len - at;
        snprintf(line, sizeof line, "%x\r\n", n);
        peer_send_text(p, line);
        send_pattern(p, id, at, n);
        peer_send_text(p, "\r\n");
    }
    peer_send_text(p, a->trailers ? "0\r\nX-Sum: 8\r\n\r\n" : "0\r\n\r\n");
}

static void origin_answer(struct peer *p, struct origin *o) {
    const struct call *a = &calls[o->id];
    char head[200];
    if (a->interim) {
        peer_send_text(p, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    }
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nX-Id: %u\r\n",
             a->mode == 'n' ? "204 No Content" : "200 OK", o->id);
    peer_send_text(p, head);
    if (a->mode == 'l') {
        snprintf(head, sizeof head, "Content-Length: %u\r\n\r\n", a->down_len);
        peer_send_text(p, head);
        send_pattern(p, o->id, 0, a->down_len);
    } else if (a->mode == 'c') {
        peer_send_text(p, "Transfer-Encoding: chunked\r\n\r\n");
        send_chunks(p, o->id);
    } else if (a->mode == 'x') {
        peer_send_text(p, "Connection: close\r\n\r\n");
        send_pattern(p, o->id, 0, a->down_len);
        peer_fin(p);
        o->dead = true;
    } else {
        peer_send_text(p, "\r\n");
    }
}

static const char *field_at(char *head, const char *name) {
    char *at = strcasestr(head, name);
    return at != NULL ? at + strlen(name) : NULL;
}

/* False when it is not all here. */
static bool origin_head(struct peer *p, struct origin *o) {
    char head[2048];
    const uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    size_t len = end != NULL ? (size_t)(end - p->rx) + 4 : 0;
    if (len == 0 || len >= sizeof head) {
        return false;
    }
    memcpy(head, p->rx, len);
    head[len] = '\0';
    peer_drop(p, len);
    const char *id = field_at(head, "\r\nx-ask: ");
    const char *length = field_at(head, "\r\ncontent-length: ");
    *o = (struct origin){.in_body = true, .silent = o->silent,
                         .chunked = field_at(head, "\r\ntransfer-encoding: ") != NULL};
    o->id = id != NULL ? (uint32_t)strtoul(id, NULL, 10) : CALLS_MAX;
    if (o->id >= call_count || field_at(head, "\r\nhost: mux\r\n") == NULL) {
        wrong("the origin got a request that nobody sent", o->id);
        return false;
    }
    o->left = length != NULL ? strtoull(length, NULL, 10) : 0;
    if (++calls[o->id].seen > (calls[o->id].post ? 1 : 2)) {
        wrong("a request was repeated that may not be", o->id);
    }
    return true;
}

static bool origin_chunk_line(struct peer *p, struct origin *o) {
    const uint8_t *eol = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n", 2) : NULL;
    if (eol == NULL) {
        return false;
    }
    size_t len = (size_t)(eol - p->rx) + 2;
    if (!o->last) {
        o->left = strtoull((char *)p->rx, NULL, 16);
        o->last = o->left == 0;
        o->in_chunk = !o->last;
    } else if (len == 2) {
        o->in_body = false;   /* the empty line behind the trailers */
    }
    peer_drop(p, len);
    return true;
}

static void origin_bytes(struct peer *p, struct origin *o) {
    uint64_t n = p->rx_len < o->left ? p->rx_len : o->left;
    for (uint64_t i = 0; i < n; i++) {
        if (p->rx[i] != pattern(o->id, o->got + (uint32_t)i)) {
            wrong("a request's bytes are not its own", o->id);
            break;
        }
    }
    o->got += (uint32_t)n;
    o->left -= n;
    peer_drop(p, (size_t)n);
}

/* True when it got on. */
static bool origin_body(struct peer *p, struct origin *o) {
    if (!o->chunked) {
        origin_bytes(p, o);
        o->in_body = o->left > 0;
        return !o->in_body;
    }
    if (!o->in_chunk) {
        return origin_chunk_line(p, o);
    }
    origin_bytes(p, o);
    if (o->left > 0 || p->rx_len < 2) {
        return false;
    }
    peer_drop(p, 2);
    o->in_chunk = false;
    return true;
}

static void origin_changed(struct peer *p) {
    struct origin *o = p->user;
    bool more = !p->reset && !o->silent;
    while (more && !o->dead && broken == NULL) {
        if (!o->in_body) {
            more = origin_head(p, o);
        } else {
            more = origin_body(p, o);
        }
        if (more && !o->in_body) {
            if (o->got != calls[o->id].up_len) {
                wrong("the origin got a wrong body", o->id);
            }
            origin_answer(p, o);
        }
    }
    if (p->eof && p->state == PEER_OPEN && !p->reset) {
        peer_fin(p);
    }
}

static void origin_accepted(struct peer *p) {
    ensure(origin_count < 4096);
    struct origin *o = &origins[origin_count++];
    *o = (struct origin){.silent = origins_silent};
    p->user = o;
    p->changed = origin_changed;
    if (o->silent) {
        peer_pause(p, true);
    }
    origin_changed(p);
}

#endif
