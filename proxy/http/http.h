/* The http door: bytes become messages. A stream is one message pair as seen at one peer. */
#ifndef GYRE_HTTP_HTTP_H
#define GYRE_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/close.h"
#include "base/pool.h"
#include "base/str.h"
#include "net/net.h"
#include "ring/ring.h"

/* --- What is refused ---------------------------------------------------------------------- */

/* REFUSE_HOST_MISSING, ... from refuse.def. */
enum refusal {
    REFUSE_NONE,
#define REFUSE(name, ...) REFUSE_##name,
#include "http/refuse.def"
#undef REFUSE
    REFUSE_COUNT
};

/* Where a row applies. */
enum { REFUSE_IN_REQUEST = 1, REFUSE_IN_RESPONSE = 2 };

struct refuse_row {
    uint16_t status;           /* that answers such a request */
    uint8_t why;               /* enum close_reason of such a request */
    uint8_t sides;             /* REFUSE_IN_... */
    const char *word, *text, *rule, *setting;
};
const struct refuse_row *refuse_row(enum refusal);
/* For the access log; "-" for REFUSE_NONE. */
const char *refuse_word(enum refusal);

/* --- Heads -------------------------------------------------------------------------------- */

/* Fields that gyre knows: FIELD_HOST, ... from field.def; FIELD_OTHER for all else. */
enum field_id {
    FIELD_OTHER,
#define FIELD(name, text, flags) FIELD_##name,
#include "http/field.def"
#undef FIELD
    FIELD_COUNT
};

/* Flags of field.def. */
enum {
    FIELD_HOP = 1,         /* hop-by-hop: never forwarded (RFC 9110 7.6.1) */
    FIELD_KEEP = 2,        /* end-to-end whatever Connection nominates */
    FIELD_NO_TRAILER = 4,  /* framing, routing, authentication: never a trailer (RFC 9110 6.5.1) */
    FIELD_ONCE = 8,        /* more than one of it makes the head ambiguous: 400 or 502 */
    FIELD_CODEC = 16       /* written by the codec alone, of what the head says beside its fields */
};

struct field {
    struct str name, value;    /* value trimmed; in the arena of its stream, or static */
    uint8_t id;                /* enum field_id */
    bool dropped;              /* not written by send_head */
    bool whole;                /* name.p is the field as it is written, with the end of its line */
};

#define FIELD_BIT(name) (UINT64_C(1) << FIELD_##name)

/* FIELD_LEAD(VIA): "Via: ", of a length that the compiler knows. */
static const struct {
#define FIELD(name, text, flags) char name[sizeof text ": "];
#include "http/field.def"
#undef FIELD
} field_leads_ = {
#define FIELD(name, text, flags) .name = text ": ",
#include "http/field.def"
#undef FIELD
};
#define FIELD_LEAD(name) ((struct str){field_leads_.name, sizeof field_leads_.name - 1})

enum method {
    METHOD_NONE,
#define METHOD(name, idempotent) METHOD_##name,
#include "http/method.def"
#undef METHOD
    METHOD_OTHER               /* known to llhttp, of no interest to us; not idempotent */
};

/* How long a body is. On the wire it is said by the codec, for its peer's version. */
enum body_kind {
    BODY_NONE,                 /* no body follows, whatever length says (HEAD, 204, 304, 1xx) */
    BODY_LENGTH,               /* exactly length bytes */
    BODY_STREAM                /* until END: chunked, or until close */
};

/* Facts of the connection that a head came by; owned by its session. */
struct conn_facts {
    struct endpoint client;    /* who is connected; where a PROXY header tells, whom it names */
    struct endpoint local;     /* to which address of ours, or of the balancer's in front */
    struct tls *tls;           /* NULL when plain */
    const void *listener;      /* whoever made the session knows what this is */
    uint64_t id;               /* counts connections of this ring */
};

/* The head of a request, a response, or (fields only) trailers. Everything that it points to is in
 * the arena of its stream, or static; it may be edited by whoever has taken it. */
struct head {
    /* request */
    enum method method;
    struct str method_name;
    struct str line;           /* the start line as it came, or as much of it as came */
    bool line_whole;           /* it is as it is to be written, and its end stands behind it: who
                                  edits what it says makes this false */
    struct str target;         /* origin-form as sent ("/a?b", "*"); made from absolute-form */
    struct str path;           /* target without query */
    struct str script_name;    /* where the app stands: the first part of path, with no / at its
                                  end; for servers that do not speak HTTP. Empty: at the root */
    struct str authority;      /* Host, or the authority of an absolute-form target */
    /* response */
    uint16_t status;
    struct str reason;
    /* both */
    uint8_t minor;             /* the sender's version, HTTP/1.minor */
    bool keep_alive;           /* the sender's wish */
    bool expect_continue;
    bool te_trailers;          /* request: TE names trailers */
    enum body_kind body;
    bool has_length;           /* a Content-Length was sent (also with BODY_NONE) */
    uint64_t length;
    struct str upgrade;        /* the one protocol asked for (request) or taken (101); else empty */
    /* A request that can not be served: the status to answer with (400, 408, ...), the reason, and
     * what was wrong; nothing that follows it on its connection is read. Fields may be missing. */
    uint16_t refuse;
    enum close_reason why;
    enum refusal refusal;
    uint32_t bytes;            /* of the head on the wire */
    struct field *fields;
    uint32_t field_count, field_cap;
    bool nominates_none;       /* no option of Connection is the name of a field to be dropped */
    uint64_t seen;             /* a bit for each enum field_id that was ever added, */
    uint64_t again;            /* and for each that was when it was there already */
    struct arena *arena;       /* where additions go */
    const struct conn_facts *conn;   /* requests */
};

void head_init(struct head *, struct arena *);
/* The head of an answer that needs no memory: a status, and the field, kept by the caller, without
 * which it is not complete. */
void head_init_bare(struct head *, struct field *, uint16_t status);
bool head_grow_(struct head *);
/* Adds a field at the end. The strings must live as long as the arena (or be static). NULL without
 * memory: the arena has failed. */
static inline struct field *head_add(struct head *head, enum field_id id, struct str name,
                                     struct str value) {
    if (head->field_count == head->field_cap && !head_grow_(head)) {
        return NULL;
    }
    struct field *field = &head->fields[head->field_count++];
    field->name = name;
    field->value = value;
    field->id = (uint8_t)id;
    field->dropped = field->whole = false;
    uint64_t bit = UINT64_C(1) << id;
    if ((head->seen & bit) != 0) {
        head->again |= bit;
    }
    head->seen |= bit;
    return field;
}
/* The only way to give a field another value. */
static inline void field_set(struct field *field, struct str value) {
    field->value = value;
    field->whole = false;
}
/* Such a field was added at some time; it may be dropped now. */
static inline bool head_has_had(const struct head *head, enum field_id id) {
    return (head->seen >> id & 1) != 0;
}
struct field *head_find_(const struct head *, enum field_id);
/* The first field of that id that is not dropped; NULL when there is none. */
static inline struct field *head_find(const struct head *head, enum field_id id) {
    return head_has_had(head, id) ? head_find_(head, id) : NULL;
}
struct field *head_find_next(const struct head *, const struct field *after);
void head_drop(struct head *, enum field_id);
/* Drops hop-by-hop fields, and those that Connection nominates but for FIELD_KEEP ones. */
void head_drop_hop_by_hop(struct head *);
enum field_id field_id_of(struct str name);
struct str field_text(enum field_id);
extern const uint8_t field_flags_[FIELD_COUNT];
static inline uint8_t field_flags(enum field_id id) {
    return field_flags_[id];
}
bool method_idempotent(enum method);
/* "Not Found"; empty for an unknown status. */
struct str status_reason(uint16_t status);

/* --- Streams ------------------------------------------------------------------------------ */

enum stream_ready {
    STREAM_HEAD = 1,    /* head is new: take it with stream_take_head */
    STREAM_BODY = 2,    /* rx has bytes that it had not before */
    STREAM_END = 4,     /* the peer's message is complete: rx holds its last bytes, and trailers is
                           set if there were any. In a tunnel: the peer has ended its side */
    STREAM_ROOM = 8,    /* tx has room again after it had none */
    STREAM_SENT = 16,   /* all that was sent, tx_end included, has left for the kernel */
    STREAM_LOST = 32,   /* broken: why says of what, rx may hold the last bytes, nothing more will
                           come. What is pushed is dropped; only release is left to do. But down,
                           with BODY_TIMEOUT, BODY_SLOW, BODY_TOO_LARGE or BAD_REQUEST (a
                           malformed chunk), the client still listens: where no final head was
                           sent yet, an answer may be, and its connection is closed after it. So
                           it is with NO_MEMORY, unless `gone` is set */
    STREAM_STOP = 64    /* down, a tunnel: gyre will soon be gone. It is to be ended in order */
};

enum raw_half { RAW_RX, RAW_TX };

struct stream;
struct stream_ops {
    /* Sends a head: down, a 1xx may repeat, then one final head; up, one. Fields that are dropped
     * are left out, and so are FIELD_HOP and FIELD_CODEC ones: Content-Length, Transfer-Encoding,
     * Connection, Upgrade, TE (and Date, where it is missing) are made from body, length, upgrade
     * and te_trailers. The head is written out in the call and may be edited afterwards. It leaves
     * in this turn, together with what is pushed in it. With BODY_NONE the message is complete. */
    void (*send_head)(struct stream *, const struct head *);
    /* tx has bytes, or tx_end was set: frame and send them. With tx_end all of tx is taken,
     * whatever room there is; trailers (NULL: none) go after it, but for FIELD_NO_TRAILER ones and
     * where the body is not chunked. Less than BODY_LENGTH promised before tx_end is a truncation:
     * release then cuts the connection; up, a FIN tells the server before. More is our mistake. */
    void (*push)(struct stream *, const struct head *trailers);
    /* The owner has taken rx (or the head): read on. Only consumption re-arms a read. After each
     * interim head that was taken, too. */
    void (*pull)(struct stream *);
    /* From here on bytes are raw both ways; down: after the 101 was sent, up: after it was taken.
     * Bytes that came early follow at once. END, SENT and tx_end begin anew; tx_end is a FIN. */
    void (*tunnel)(struct stream *);
    /* Bytes of body that are still to come (of rx), or to be sent (of tx), and the wire where they
     * may be moved below us, as they are what they are on the wire; 0: none may. NULL: as 0. */
    uint64_t (*raw)(struct stream *, enum raw_half, struct wire **);
    /* So many were; the owner goes on as ever. */
    void (*moved)(struct stream *, enum raw_half, uint64_t bytes);
    /* The owner is done with this stream; it is gone when this returns. CLOSE_NONE: all went well,
     * the session may serve another message if both sides are complete. Else: abort. */
    void (*release)(struct stream *, enum close_reason);
};

struct stream {
    unsigned magic;
    const struct stream_ops *ops;
    struct task *owner;          /* woken, never called */
    uint8_t ready;               /* enum stream_ready, a set; the owner clears what it dealt with */
    uint8_t why;                 /* enum close_reason, with STREAM_LOST */
    uint8_t refusal;             /* enum refusal, with STREAM_LOST: what was wrong */
    bool may_retry;              /* up, LOST: no byte of a response came */
    bool unsent;                 /* may_retry: and provably none of the request has left */
    bool tx_end;                 /* set by the owner: what is in tx is the last */
    bool tell_sent;              /* set by the owner: wake me with SENT (default: yes) */
    bool rx_ended;               /* END was set at some time */
    bool gone;                   /* down, LOST: the connection itself is, nobody hears an answer */
    bool tunnelled;
    struct head *head;           /* set with HEAD; valid until release, or (up) the next head */
    struct head *trailers;
    struct arena arena;          /* of heads; the owner may add to it; gone at release */
    struct bufq rx, tx;          /* body bytes (tunnel: raw bytes), unframed; what the owner
                                    leaves in rx for longer than its turn, it settles */
    uint64_t rx_bytes, tx_bytes; /* of body, so far */
    uint64_t began_us;           /* down: when the first byte of the request was read */
    struct list_node inbox;      /* down: until the owner is set */
};

/* Takes the head and clears HEAD; a further head is read only after that, and a pull. */
struct head *stream_take_head(struct stream *);

/* New streams of server-side sessions wait here; the task is woken. */
struct inbox {
    struct list_node streams;
    struct task *task;
};
struct stream *inbox_pop(struct inbox *);    /* NULL when empty; the taker sets owner at once */

/* --- Sessions ----------------------------------------------------------------------------- */

struct session;
struct session_ops {
    /* up (down: NULL): messages that may be started now (HTTP/1: 1 when idle). */
    unsigned (*slots)(const struct session *);
    /* up (down: NULL): starts a message pair; NULL when slots is 0. */
    struct stream *(*open)(struct session *, struct task *owner);
    /* No further message after those that run; idle: ends at once. */
    void (*drain)(struct session *);
    void (*kill)(struct session *, enum close_reason);
    /* down (up: NULL): tunnels are told STREAM_STOP. */
    void (*stop)(struct session *);
};

/* What both sides have in common. Whoever holds a session is woken by `owner` when it changes:
 * up: when it is up, idle, or dead. After `dead` is seen session_forget must be called, once (up);
 * a down session has no holder and frees itself. */
struct session {
    unsigned magic;
    bool up, idle, dead;
    bool holds_slot;             /* the holder's: idle, and it occupies a worker */
    const struct session_ops *ops;
    struct task *owner;
    struct list_node link;       /* the holder's: idle list, or the room's list of down sessions */
    uint64_t since_ms;           /* idle since */
    uint32_t served;             /* messages so far */
    uint8_t why;                 /* with dead */
};

struct http_limits {
    uint32_t head_bytes_max, field_count_max;
    bool keep_underscores;                    /* down: fields with _ in their names go on */
    uint32_t head_ms, body_ms, idle_ms;       /* down */
    uint32_t body_rate_min;                   /* down: bytes a second of a request body, on the
                                                 average of body_ms; 0: any */
    uint32_t request_count_max;               /* down: of one connection; 0: any number */
    uint64_t body_bytes_max;                  /* down: request bodies */
    uint32_t rx_mark, tx_mark;                /* of a stream's queues, bytes */
    struct wire_limits wire;
};

/* The room: one per ring. */
struct http {
    unsigned magic;
    struct ring *ring;
    struct net *net;
    struct pool chunks;                  /* ARENA_CHUNK */
    struct pool downs, ups, down_streams, up_streams, locals;
    struct list_node sessions;           /* down sessions, for draining */
    struct task drain;                   /* drains some of them in each turn */
    uint32_t drain_left;                 /* at most so many, at the front, it has not seen */
    bool draining;
    uint64_t connection_count;
};
void http_init(struct http *, struct ring *, struct net *);
void http_fini(struct http *);
/* The most client sessions and server sessions at a time (0: any number). A session has one stream
 * at a time, a stream one answer made here: a request that was taken is never without either. */
void http_bound(struct http *, uint32_t clients, uint32_t servers);
/* Gives the memory of pools back that nobody has needed since the last call (pool_trim). */
void http_trim(struct http *);
/* False when h1_down_new would be refused. */
bool http_has_room(const struct http *);
/* All down sessions: no new request after those that run; idle ones end, some in each turn. */
void http_drain(struct http *);
/* All down sessions: their tunnels are told that the end is near. */
void http_stop_tunnels(struct http *);
/* All down sessions, at once. */
void http_kill(struct http *, enum close_reason);

struct down_params {
    struct wire_params wire;
    const struct http_limits *limits;    /* outlives the session */
    struct inbox *inbox;
    struct endpoint client, local;       /* of the connection; a PROXY header goes before them */
    const void *listener;
};
/* Serves a client: HTTP/1 over the accepted descriptor of params->wire. Frees itself. False when
 * a pool is at its bound; the descriptor is closed then. */
bool h1_down_new(struct http *, const struct down_params *);

/* What a server speaks. Answers are HTTP/1 with either. */
enum up_protocol {
    UP_HTTP,
    UP_UWSGI                   /* one request, as a packet of variables; a body has a length */
};

struct up_params {
    const struct addr *to;               /* outlives the session */
    const struct http_limits *limits;    /* outlives the session */
    struct str preface;                  /* bytes that go before the first request; copied */
    struct connection_limit *limit;      /* NULL, or counts the connection */
    bool once;                           /* it serves one request, and says so to the server */
    enum up_protocol protocol;
};
/* Dials a server. NULL when that can not be: net->refused says why. The owner is woken when it is
 * up, or dead. */
struct session *h1_up_new(struct http *, const struct up_params *, struct task *owner);
/* The holder of an up session lets go of it, in any state, once: it is freed, at once or when its
 * message has ended. */
void session_forget(struct session *);

/* An answer made here: an up stream that has its head and its body at once, and takes a request
 * like any other (and drops its body). status 204, or >= 300; html body with the status' reason;
 * extra (may be NULL) gives fields to add (Location, Retry-After, Allow), copied, and, where it has
 * one, another reason (static). NULL at the pool's bound, or without memory. */
struct stream *local_stream_new(struct http *, uint16_t status, const struct head *extra,
                                struct task *owner);

#endif
