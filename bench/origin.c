/* gyre-origin: the server behind the proxies that are measured. One answer for every request head
 * that comes, whatever it says: a server that parses would be what the benchmark waits for.
 *
 *   gyre-origin --bind ADDR [--bytes N] [--mute]
 *
 * --bytes: of the answer's body (1024). --mute: takes all that comes and never answers, as an app
 * that waits for the rest of a body. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bench/stage.h"

#define HEAD_MAX 256u
#define BODY_MAX (64u * 1024u * 1024u)

struct origin {
    struct stage stage;
    bool mute;
    struct seg *answer;      /* shared by all who get it: sends never change it */
    struct pool clients;
    struct list_node live;
};

struct client {
    struct origin *origin;
    struct wire *wire;
    unsigned matched;        /* bytes of the CR LF CR LF that ends a head */
    struct task turn;
    struct list_node live;
};

static void client_free(struct client *client) {
    task_cancel(client->origin->stage.ring, &client->turn);
    list_remove(&client->live);
    pool_put(&client->origin->clients, client);
}

/* How many heads end in these bytes. */
static unsigned client_count(struct client *client, const uint8_t *p, uint32_t len) {
    static const char end[] = "\r\n\r\n";
    unsigned heads = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (p[i] == end[client->matched]) {
            client->matched++;
        } else {
            client->matched = p[i] == '\r';
        }
        if (client->matched == 4) {
            client->matched = 0;
            heads++;
        }
    }
    return heads;
}

static void client_run(struct task *task) {
    struct client *client = container_of(task, struct client, turn);
    struct wire *wire = client->wire;
    unsigned ready = wire->ready;
    wire->ready = 0;
    if (ready & WIRE_LOST || wire->tx_dead) {
        wire_shut(wire, (enum close_reason)wire->why);
        client_free(client);
        return;
    }
    /* As long as there is room: who does not take answers is not asked for more. */
    uint32_t len;
    const uint8_t *p;
    while (bufq_room(&wire->tx) > 0 && (p = bufq_front(&wire->rx, &len)) != NULL) {
        unsigned heads = client->origin->mute ? 0 : client_count(client, p, len);
        for (; heads > 0; heads--) {
            bufq_push(&wire->tx, client->origin->answer, 0, client->origin->answer->used);
        }
        bufq_drop(&wire->rx, len);
        wire_push(wire);
    }
    wire_pull(wire);
    if (wire->eof && wire->rx.bytes == 0) {
        wire_end(wire, CLOSE_CLIENT_EOF);
        client_free(client);
    }
}

static void origin_accepted(struct stage *stage, int fd) {
    struct origin *origin = container_of(stage, struct origin, stage);
    struct client *client = pool_get(&origin->clients);
    *client = (struct client){.origin = origin};
    task_init(&client->turn, client_run);
    list_append(&origin->live, &client->live);
    struct wire_params params = {.fd = fd, .limits = &stage->wires, .limit = &stage->limit};
    client->wire = wire_accept(&stage->net, &params, &client->turn);
    if (client->wire == NULL) {
        client_free(client);
        return;
    }
    client->wire->tell_sent = false;
}

static void origin_ended(struct stage *stage) {
    struct origin *origin = container_of(stage, struct origin, stage);
    for (struct list_node *node; (node = list_first(&origin->live)) != NULL;) {
        struct client *client = container_of(node, struct client, live);
        wire_shut(client->wire, CLOSE_DRAIN);
        client_free(client);
    }
}

static struct seg *answer_new(uint32_t bytes) {
    struct seg *answer = seg_new_sized(HEAD_MAX + bytes);
    struct text head = text_on((char *)answer->data, HEAD_MAX);
    text_fmt(&head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %u\r\n\r\n",
             bytes);
    memset(answer->data + head.len, 'x', bytes);
    answer->used = head.len + bytes;
    return answer;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"bind", required_argument, NULL, 'b'},
                                            {"bytes", required_argument, NULL, 'n'},
                                            {"mute", no_argument, NULL, 'm'},
                                            {0}};
    static struct origin origin = {.stage = {.accepted = origin_accepted, .ended = origin_ended}};
    struct addr bind = {0};
    uint64_t bytes = 1024;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'b') {
            stage_address(&bind, optarg);
        } else if (c == 'm') {
            origin.mute = true;
        } else if (c == '?') {
            return 2;   /* getopt has said why */
        } else if (!str_to_u64(str_of(optarg), &bytes)) {
            bytes = BODY_MAX + 1;
        }
    }
    if (optind < argc || bind.len == 0 || bytes > BODY_MAX) {
        log_error("usage: gyre-origin --bind ADDR [--bytes N] [--mute]");
        return 2;
    }
    pool_init(&origin.clients, "clients", sizeof(struct client), 0);
    list_init(&origin.live);
    origin.answer = answer_new((uint32_t)bytes);
    stage_init(&origin.stage, &bind);
    stage_run(&origin.stage);
    pool_fini(&origin.clients);
    stage_fini(&origin.stage);
    seg_unref(origin.answer);
    return 0;
}
