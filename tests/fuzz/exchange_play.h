/* The input of fuzz_exchange as a play: what each client and each origin says, and when.
 *
 * Four bytes say in which world: configuration, faults, network, seed. The rest is text, in which
 * bytes from 0x80 on act (enum play_act) or stand for words (exchange_words.def); so that any
 * change of a byte, and any piece of another input put in, makes another play. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_PLAY_H
#define GYRE_TESTS_FUZZ_EXCHANGE_PLAY_H

#include <stdio.h>
#include <string.h>

#include "base/ensure.h"
#include "base/str.h"

#define CLIENTS_MAX 3u
#define REPLIES_MAX 12u
#define MOVES_MAX 40u             /* of one script */
#define TEXT_MAX 12288u           /* of all scripts */
#define INPUT_MAX 2048u
#define TOKEN_LEN 4u              /* what \001 becomes */

enum play_act {
    ACT_CLIENT = 0x80,            /* and 0x81, 0x82: what follows is said by this client */
    ACT_REPLY = 0x83,             /* by an origin: a further answer, to a whole request */
    ACT_REPLY_EARLY = 0x84,       /* ... as soon as the request's head is there */
    ACT_REPLY_UNASKED = 0x85,     /* ... when a connection is made */
    ACT_WAIT = 0x86,              /* the next byte says how long */
    ACT_AWAIT = 0x87,             /* until the other side says something, or for 3 s */
    ACT_FIN = 0x88,
    ACT_CLOSE = 0x89,
    ACT_RESET = 0x8a,
    ACT_PAUSE = 0x8b,             /* reads nothing, ... */
    ACT_RESUME = 0x8c,            /* ... reads again */
    ACT_BYTE = 0x8d,              /* the next byte as it is */
    ACT_MANY = 0x8e,              /* the next byte says how many times 16 letters */
    ACT_WORD = 0x90               /* and all above */
};

/* Bits of the second byte: what goes wrong. Those from LOSSY on may end a connection. */
enum play_fault {
    FAULT_SHORT_RECV = 1, FAULT_SHORT_SEND = 2, FAULT_LATE = 4, FAULT_DISARM = 8, FAULT_STALL = 16,
    FAULT_RESET = 32, FAULT_CONNECT = 64, FAULT_SYS = 128,
    FAULT_LOSSY = FAULT_RESET | FAULT_CONNECT | FAULT_SYS
};

enum move_kind {
    MOVE_SEND, MOVE_WAIT, MOVE_AWAIT, MOVE_FIN, MOVE_CLOSE, MOVE_RESET, MOVE_PAUSE, MOVE_RESUME
};

struct move {
    uint8_t kind;                 /* enum move_kind */
    uint32_t at, len;             /* SEND: of the text; WAIT: len is milliseconds */
};

struct script {
    uint8_t when;                 /* of an answer: which act began it */
    uint32_t count, said;         /* moves; requests of a client that have their number */
    struct move moves[MOVES_MAX];
};

struct play {
    uint8_t conf, faults, network, seed;
    uint32_t client_count, reply_count;
    struct script clients[CLIENTS_MAX], replies[REPLIES_MAX];
    uint32_t len;
    char text[TEXT_MAX];
};

static const struct str play_words[256] = {
#define WORD(code, text) [code] = {text, sizeof text - 1},
#include "exchange_words.def"
};

static void play_move(struct script *s, enum move_kind kind, uint32_t at, uint32_t len) {
    struct move *last = s->count > 0 ? &s->moves[s->count - 1] : NULL;
    if (kind == MOVE_SEND && last != NULL && last->kind == MOVE_SEND &&
        last->at + last->len == at) {
        last->len += len;
    } else if (s->count < MOVES_MAX) {
        s->moves[s->count++] = (struct move){(uint8_t)kind, at, len};
    }
}

static void play_say(struct play *play, struct script *s, struct str text) {
    if (text.len > TEXT_MAX - play->len) {
        return;
    }
    memcpy(play->text + play->len, text.p, text.len);
    play_move(s, MOVE_SEND, play->len, text.len);
    play->len += text.len;
}

/* A client's \001 becomes its letter and a number; an origin's is replaced when it is said. */
static void play_say_word(struct play *play, struct script *s, struct str word) {
    char text[256];
    ensure(word.len <= sizeof text - TOKEN_LEN);
    uint32_t len = 0;
    bool client = s < play->replies;
    for (uint32_t i = 0; i < word.len; i++) {
        if (client && word.p[i] == '\001') {
            uint32_t n = s->said++ % 1000;
            text[len++] = (char)('a' + (s - play->clients));
            text[len++] = (char)('0' + n / 100);
            text[len++] = (char)('0' + n / 10 % 10);
            text[len++] = (char)('0' + n % 10);
        } else {
            text[len++] = word.p[i];
        }
    }
    play_say(play, s, (struct str){text, len});
}

static void play_say_many(struct play *play, struct script *s, uint32_t letters) {
    char text[256 * 16];
    for (uint32_t i = 0; i < letters; i++) {
        text[i] = (char)('A' + (i + i / 26) % 26);
    }
    play_say(play, s, (struct str){text, letters});
}

static uint32_t play_wait_ms(uint8_t byte) {
    return byte < 128 ? byte : (byte - 127u) * 150;
}

/* One act, or word; returns how many bytes after it belong to it. */
static uint32_t play_act(struct play *play, struct script **to, uint8_t act, uint8_t next) {
    static const uint8_t kinds[] = {
        [ACT_FIN - ACT_FIN] = MOVE_FIN, [ACT_CLOSE - ACT_FIN] = MOVE_CLOSE,
        [ACT_RESET - ACT_FIN] = MOVE_RESET, [ACT_PAUSE - ACT_FIN] = MOVE_PAUSE,
        [ACT_RESUME - ACT_FIN] = MOVE_RESUME,
    };
    struct script *s = *to;
    if (act < ACT_REPLY) {
        uint32_t i = act - (uint32_t)ACT_CLIENT;
        play->client_count = i < play->client_count ? play->client_count : i + 1;
        *to = &play->clients[i];
    } else if (act <= ACT_REPLY_UNASKED) {
        if (play->reply_count < REPLIES_MAX) {
            *to = &play->replies[play->reply_count++];
            (*to)->when = act;
        }
    } else if (act == ACT_WAIT) {
        play_move(s, MOVE_WAIT, 0, play_wait_ms(next));
        return 1;
    } else if (act == ACT_AWAIT) {
        play_move(s, MOVE_AWAIT, 0, 3000);
    } else if (act <= ACT_RESUME) {
        play_move(s, kinds[act - ACT_FIN], 0, 0);
    } else if (act == ACT_BYTE) {
        play_say(play, s, (struct str){(const char *)&next, 1});
        return 1;
    } else if (act == ACT_MANY) {
        play_say_many(play, s, next * 16u);
        return 1;
    } else if (act >= ACT_WORD) {
        play_say_word(play, s, play_words[act]);
    }
    return 0;
}

/* False: there is no play in these bytes. */
static bool play_read(struct play *play, const uint8_t *bytes, size_t size) {
    if (size < 5 || size > INPUT_MAX) {
        return false;
    }
    memset(play, 0, offsetof(struct play, text));
    play->conf = bytes[0];
    play->faults = bytes[1];
    play->network = bytes[2];
    play->seed = bytes[3];
    play->client_count = 1;
    struct script *to = &play->clients[0];
    for (size_t i = 4; i < size; i++) {
        if (bytes[i] < 0x80) {
            char c = (char)bytes[i];
            play_say_word(play, to, (struct str){&c, 1});
        } else {
            i += play_act(play, &to, bytes[i], i + 1 < size ? bytes[i + 1] : 0);
        }
    }
    return true;
}

#endif
