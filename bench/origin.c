/* gyre-origin: the server behind the proxies that are measured. One answer for every request head
 * that comes, whatever it says: a server that parses would be what the benchmark waits for.
 *
 *   gyre-origin --bind ADDR [--bytes N] [--takes N] [--message | --mute]
 *
 * --bytes: of the answer's body (1024); a long one is the same bytes again and again, and takes
 * no more memory than a short one. --takes: of a body that each request has, answered behind it
 * (0). --message: a WebSocket for every head, and a message for every message of gyre-load.
 * --mute: takes all that comes and never answers, as an app that waits for the rest of a body. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bench/message.h"
#include "bench/stage.h"

#define HEAD_MAX 256u
#define BLOCK_BYTES (1024u * 1024u)      /* bodies up to this leave with their head, in one send */
#define BODY_MAX (1ull << 40)

struct origin {
    struct stage stage;
    bool mute, messages;
    uint64_t takes;
    struct seg *answer;      /* shared by all who get it: sends never change it */
    struct seg *block;       /* what the rest of a long answer is made of */
    uint64_t rest;           /* of an answer's body, behind what is in answer */
    struct seg *message;
    struct pool clients;
    struct list_node live;
};

struct client {
    struct origin *origin;
    struct wire *wire;
    unsigned matched;        /* bytes of the CR LF CR LF that ends a head */
    bool tunnel;
    uint64_t body_left;      /* of a request; or, in a tunnel, of a message */
    unsigned owed;           /* long answers that have not begun */
    uint64_t rest;           /* of the one that has */
    struct task turn;
    struct list_node live;
};

static void client_free(struct client *client) {
    task_cancel(client->origin->stage.ring, &client->turn);
    list_remove(&client->live);
    pool_put(&client->origin->clients, client);
}

/* How many requests end in these bytes. */
static unsigned client_count(struct client *client, const uint8_t *p, uint32_t len) {
    static const char end[] = "\r\n\r\n";
    unsigned requests = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (client->body_left > 0) {
            uint64_t part = len - i < client->body_left ? len - i : client->body_left;
            client->body_left -= part;
            requests += client->body_left == 0;
            i += (uint32_t)part - 1;
            continue;
        }
        if (p[i] == end[client->matched]) {
            client->matched++;
        } else {
            client->matched = p[i] == '\r';
        }
        if (client->matched == 4) {
            client->matched = 0;
            client->body_left = client->origin->takes;
            requests += client->body_left == 0;
        }
    }
    return requests;
}

/* How many messages end in these bytes. */
static unsigned client_messages(struct client *client, uint32_t len) {
    unsigned messages = 0;
    for (; len >= client->body_left; messages++) {
        len -= (uint32_t)client->body_left;
        client->body_left = MESSAGE_UP_BYTES;
    }
    client->body_left -= len;
    return messages;
}

static void client_took(struct client *client, const uint8_t *p, uint32_t len) {
    struct origin *origin = client->origin;
    unsigned answers = origin->mute     ? 0
                       : client->tunnel ? client_messages(client, len)
                                        : client_count(client, p, len);
    if (origin->rest > 0) {
        client->owed += answers;
        return;
    }
    struct seg *answer = client->tunnel ? origin->message : origin->answer;
    for (unsigned i = 0; i < answers; i++) {
        bufq_push(wire_tx(client->wire), answer, 0, answer->used);
    }
    if (origin->messages && !client->tunnel && answers > 0) {
        client->tunnel = true;   /* gyre-load says nothing more before it has the 101 */
        client->body_left = MESSAGE_UP_BYTES;
    }
}

static bool client_owes(const struct client *client) {
    return client->owed > 0 || client->rest > 0;
}

/* Long answers, as far as there is room: the rest waits here, where it takes none. */
static void client_pay(struct client *client) {
    struct origin *origin = client->origin;
    while (client_owes(client) && wire_room(client->wire) > 0) {
        if (client->rest == 0) {
            client->owed--;
            client->rest = origin->rest;
            bufq_push(wire_tx(client->wire), origin->answer, 0, origin->answer->used);
        } else {
            uint32_t part = client->rest < BLOCK_BYTES ? (uint32_t)client->rest : BLOCK_BYTES;
            client->rest -= part;
            bufq_push(wire_tx(client->wire), origin->block, 0, part);
        }
        wire_push(client->wire);
    }
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
    while (wire_room(wire) > 0 && (p = bufq_front(&wire->rx, &len)) != NULL) {
        client_took(client, p, len);
        bufq_drop(&wire->rx, len);
        wire_push(wire);
    }
    client_pay(client);
    wire_pull(wire);
    if (wire->eof && wire->rx.bytes == 0 && !client_owes(client)) {
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

/* With what origins send: a proxy is to have no work that it would not have (RFC 9110 6.6.1). */
static struct seg *answer_new(uint64_t bytes) {
    uint32_t whole = bytes <= BLOCK_BYTES ? (uint32_t)bytes : BLOCK_BYTES;
    struct seg *answer = seg_new_sized(HEAD_MAX + whole);
    struct text head = text_on((char *)answer->data, HEAD_MAX);
    text_fmt(&head, "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
             "Content-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)bytes);
    memset(answer->data + head.len, 'x', whole);
    answer->used = head.len + whole;
    return answer;
}

static struct seg *seg_of(const void *bytes, uint32_t len) {
    struct seg *seg = seg_new_sized(len);
    memcpy(seg->data, bytes, len);
    seg->used = len;
    return seg;
}

static void options_read(struct origin *origin, struct addr *bind, int argc, char **argv) {
    static const struct option options[] = {{"bind", required_argument, NULL, 'b'},
                                            {"bytes", required_argument, NULL, 'n'},
                                            {"takes", required_argument, NULL, 't'},
                                            {"message", no_argument, NULL, 'w'},
                                            {"mute", no_argument, NULL, 'm'},
                                            {0}};
    uint64_t bytes = 1024;
    bool right = true;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'b': stage_address(bind, optarg); break;
        case 'n': right = right && str_to_u64(str_of(optarg), &bytes); break;
        case 't': right = right && str_to_u64(str_of(optarg), &origin->takes); break;
        case 'w': origin->messages = true; break;
        case 'm': origin->mute = true; break;
        default: exit(2);   /* getopt has said why */
        }
    }
    if (!right || optind < argc || bind->len == 0 || bytes > BODY_MAX) {
        log_error("usage: gyre-origin --bind ADDR [--bytes N] [--takes N] [--message | --mute]");
        exit(2);
    }
    origin->answer = origin->messages ? seg_of(MESSAGE_ACCEPTED, sizeof MESSAGE_ACCEPTED - 1)
                                      : answer_new(bytes);
    if (!origin->messages && bytes > BLOCK_BYTES) {
        origin->rest = bytes - BLOCK_BYTES;
        origin->block = seg_new_sized(BLOCK_BYTES);
        memset(origin->block->data, 'x', BLOCK_BYTES);
    }
}

int main(int argc, char **argv) {
    static struct origin origin = {.stage = {.accepted = origin_accepted, .ended = origin_ended}};
    static const uint8_t message[MESSAGE_DOWN_BYTES] = {0x82, MESSAGE_BYTES};   /* binary, whole */
    struct addr bind = {0};
    options_read(&origin, &bind, argc, argv);
    pool_init(&origin.clients, "clients", sizeof(struct client), 0);
    list_init(&origin.live);
    origin.message = seg_of(message, sizeof message);
    stage_init(&origin.stage, &bind);
    stage_run(&origin.stage);
    pool_fini(&origin.clients);
    stage_fini(&origin.stage);
    seg_unref(origin.answer);
    if (origin.block != NULL) {
        seg_unref(origin.block);
    }
    seg_unref(origin.message);
    return 0;
}
