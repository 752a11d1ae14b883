/* Writes requests as uwsgi packets: the variables of CGI, as a WSGI server is to see them. */
#include "http/h1_priv.h"

/* All variables of a packet together: its size is 16 bits wide, and so is each of theirs. */
#define VARS_MAX 65535u
#define HEADER_BYTES 4u

/* Where there is no memory to write to yet, it only counts. */
struct packet {
    uint8_t *p;
    uint32_t len;
    bool nul;                  /* the path has a NUL */
};

static void put(struct packet *packet, struct str s) {
    if (packet->p != NULL && s.len > 0) {
        memcpy(packet->p + packet->len, s.p, s.len);
    }
    packet->len += s.len;
}

static void put_byte(struct packet *packet, uint8_t byte) {
    if (packet->p != NULL) {
        packet->p[packet->len] = byte;
    }
    packet->len++;
}

static void put_u16(struct packet *packet, uint32_t value) {
    put_byte(packet, (uint8_t)value);
    put_byte(packet, (uint8_t)(value >> 8));
}

/* --- Variables: the size and the bytes of the name, the size and the bytes of the value ---- */

/* The value's size is known at its end. */
static uint32_t value_begin(struct packet *packet) {
    put_u16(packet, 0);
    return packet->len;
}

static void value_end(struct packet *packet, uint32_t begin) {
    if (packet->p != NULL) {
        uint32_t len = packet->len - begin;
        packet->p[begin - 2] = (uint8_t)len;
        packet->p[begin - 1] = (uint8_t)(len >> 8);
    }
}

static void put_name(struct packet *packet, struct str name) {
    put_u16(packet, name.len);
    put(packet, name);
}

static void put_var(struct packet *packet, struct str name, struct str value) {
    put_name(packet, name);
    put_u16(packet, value.len);
    put(packet, value);
}

static void put_number(struct packet *packet, struct str name, uint64_t number) {
    char digits[U64_TEXT_MAX];
    put_var(packet, name, (struct str){digits, (uint32_t)(u64_put(digits, number) - digits)});
}

/* --- Paths -------------------------------------------------------------------------------- */

static int hex_of(char c) {
    c = char_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoded, as CGI has its paths (RFC 3875 4.1.5); what is no such code stays as it is, as
 * it does with Python's unquote. Nothing else is changed: who wants it as sent has REQUEST_URI. */
static void put_path(struct packet *packet, struct str name, struct str path) {
    put_name(packet, name);
    uint32_t begin = value_begin(packet);
    for (uint32_t i = 0; i < path.len; i++) {
        int high = path.p[i] == '%' && path.len - i > 2 ? hex_of(path.p[i + 1]) : -1;
        int low = high >= 0 ? hex_of(path.p[i + 2]) : -1;
        uint8_t byte = (uint8_t)path.p[i];
        if (low >= 0) {
            byte = (uint8_t)(high << 4 | low);
            i += 2;
        }
        packet->nul = packet->nul || byte == 0;
        put_byte(packet, byte);
    }
    value_end(packet, begin);
}

static void put_paths(struct packet *packet, const struct head *head) {
    struct str query = {head->target.p + head->path.len, head->target.len - head->path.len};
    if (query.len > 0) {   /* without its question mark */
        query.p++;
        query.len--;
    }
    ensure(head->script_name.len <= head->path.len);
    struct str rest = {head->path.p + head->script_name.len,
                       head->path.len - head->script_name.len};
    put_var(packet, STR("QUERY_STRING"), query);
    put_var(packet, STR("REQUEST_METHOD"), head->method_name);
    put_var(packet, STR("REQUEST_URI"), head->target);
    put_path(packet, STR("SCRIPT_NAME"), head->script_name);
    put_path(packet, STR("PATH_INFO"), rest);
}

/* --- Fields ------------------------------------------------------------------------------- */

/* What becomes an HTTP_ variable. Not what is of one hop, or stands in a variable of its own. Not
 * Expect: its answer has been given by who has the body. Not Proxy, whose variable is a setting of
 * the app's own HTTP clients (httpoxy, CVE-2016-5385). And no name with an underscore, which would
 * be taken for the one with a hyphen, also where the listener keeps them. */
static bool field_is_var(const struct field *f) {
    return !f->dropped && (field_flags(f->id) & (FIELD_HOP | FIELD_CODEC)) == 0 &&
           f->id != FIELD_CONTENT_TYPE && f->id != FIELD_EXPECT &&
           !str_eq_fold(f->name, STR("Proxy")) && memchr(f->name.p, '_', f->name.len) == NULL;
}

static bool same_name(const struct field *a, const struct field *b) {
    return a->id == b->id && (a->id != FIELD_OTHER || str_eq_fold(a->name, b->name));
}

/* There is one variable of a name: values of several fields are one list (RFC 9110 5.3), those of
 * Cookie by its own rule (RFC 6265 5.4). From the one at `first` on. */
static void put_values(struct packet *packet, const struct head *head, uint32_t first) {
    const struct field *f = &head->fields[first];
    struct str between = f->id == FIELD_COOKIE ? STR("; ") : STR(", ");
    uint32_t begin = value_begin(packet);
    put(packet, f->value);
    for (uint32_t i = first + 1; i < head->field_count; i++) {
        const struct field *next = &head->fields[i];
        if (!next->dropped && same_name(f, next)) {
            put(packet, between);
            put(packet, next->value);
        }
    }
    value_end(packet, begin);
}

static bool came_before(const struct head *head, uint32_t index) {
    for (uint32_t i = 0; i < index; i++) {
        const struct field *f = &head->fields[i];
        if (!f->dropped && same_name(f, &head->fields[index])) {
            return true;
        }
    }
    return false;
}

static void put_field(struct packet *packet, const struct head *head, uint32_t index) {
    static const char prefix[] = "HTTP_";
    struct str name = head->fields[index].name;
    put_u16(packet, (uint32_t)sizeof prefix - 1 + name.len);
    put(packet, (struct str){prefix, sizeof prefix - 1});
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        put_byte(packet, (uint8_t)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c));
    }
    put_values(packet, head, index);
}

static void put_fields(struct packet *packet, const struct head *head) {
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (field_is_var(&head->fields[i]) && !came_before(head, i)) {
            put_field(packet, head, i);
        }
    }
}

/* Both are always there, as with nginx: apps ask for them without looking. */
static void put_content(struct packet *packet, const struct head *head) {
    const struct field *type = head_find(head, FIELD_CONTENT_TYPE);
    put_name(packet, STR("CONTENT_TYPE"));
    if (type != NULL) {
        put_values(packet, head, (uint32_t)(type - head->fields));
    } else {
        put_u16(packet, 0);
    }
    if (head->body == BODY_LENGTH || head->has_length) {
        put_number(packet, STR("CONTENT_LENGTH"), head->length);
    } else {
        put_var(packet, STR("CONTENT_LENGTH"), STR(""));
    }
}

/* --- The connection ----------------------------------------------------------------------- */

/* The host that was asked for, and its port, 0 where it is not named. "[::1]:80" has its port
 * behind the bracket. A WSGI server never has an empty name (PEP 3333). */
static struct str server_name(const struct head *head, uint64_t *port) {
    struct str host = head->authority, digits = {NULL, 0};
    for (uint32_t i = host.len; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] == ':') {
            digits = (struct str){host.p + i, host.len - i};
            host.len = i - 1;
            break;
        }
    }
    if (digits.len == 0 || !str_to_u64(digits, port)) {
        *port = 0;
    }
    return host.len > 0 ? host : STR("localhost");
}

static void put_conn(struct packet *packet, const struct head *head) {
    const struct conn_facts *conn = head->conn;
    char printed[ADDR_TEXT_MAX];
    uint64_t port;
    struct str name = server_name(head, &port);
    if (conn->local.port != 0) {
        port = conn->local.port;
    } else if (port == 0) {
        port = conn->tls != NULL ? 443 : 80;
    }
    put_var(packet, STR("SERVER_PROTOCOL"), head->minor == 0 ? STR("HTTP/1.0") : STR("HTTP/1.1"));
    put_var(packet, STR("SERVER_NAME"), name);
    put_number(packet, STR("SERVER_PORT"), port);
    put_var(packet, STR("REQUEST_SCHEME"), conn->tls != NULL ? STR("https") : STR("http"));
    if (conn->tls != NULL) {
        put_var(packet, STR("HTTPS"), STR("on"));
    }
    put_var(packet, STR("REMOTE_ADDR"), str_of(endpoint_print(&conn->client, printed)));
    if (conn->client.port != 0) {
        put_number(packet, STR("REMOTE_PORT"), conn->client.port);
    }
}

/* --- Packets ------------------------------------------------------------------------------ */

static void put_vars(struct packet *packet, const struct head *head) {
    put_paths(packet, head);
    put_content(packet, head);
    put_conn(packet, head);
    put_fields(packet, head);
}

/* Twice: the size of all goes first. */
enum refusal uwsgi_write_request(struct bufq *tx, const struct head *head, struct arena *arena) {
    struct packet packet = {.p = NULL};
    put_vars(&packet, head);
    if (packet.nul) {
        return REFUSE_PATH_NUL;
    }
    if (packet.len > VARS_MAX) {
        return REFUSE_PACKET_TOO_LARGE;
    }
    uint32_t size = HEADER_BYTES + packet.len;
    packet = (struct packet){.p = arena_get(arena, size)};
    if (packet.p == NULL) {
        return REFUSE_NO_MEMORY;
    }
    put_byte(&packet, 0);      /* modifier1: a WSGI request */
    put_u16(&packet, size - HEADER_BYTES);
    put_byte(&packet, 0);      /* modifier2 */
    put_vars(&packet, head);
    ensure(packet.len == size);
    bufq_copy(tx, packet.p, size);
    return REFUSE_NONE;
}
