/* What gyre prints of itself: references made from its tables. */
#include "doc.h"

#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "http/http.h"

static void print_keys(void) {
    conf_doc_keys(stdout);
}

static void print_sample(void) {
    conf_doc_sample(stdout);
}

static void print_close(void) {
    printf("| reason | meaning |\n|---|---|\n");
    for (int i = 0; i < CLOSE_COUNT; i++) {
        printf("| `%s` | %s |\n", close_word(i), close_help(i));
    }
}

/* --- What is refused ---------------------------------------------------------------------- */

static const char refuse_intro[] =
    "# What gyre refuses, and why\n"
    "\n"
    "Two programs that read the same bytes as different messages are how requests are\n"
    "smuggled: the proxy sees one request, the app server behind it two, and the second one\n"
    "was never checked by anybody. So gyre takes only what can be read in one way. A request\n"
    "that is ambiguous or malformed is answered with a status of 4xx or 5xx, its connection\n"
    "is closed, and nothing that follows it on that connection is read as a request. Where\n"
    "its head is refused, not one byte of it reaches a server; where its body turns out to be\n"
    "malformed later, the request is cut at the server, which never sees its end. A response\n"
    "that is ambiguous or malformed is not passed on, and the connection that it came by is\n"
    "closed and never used again, so that nothing of it can be taken for the answer to\n"
    "somebody else's request.\n"
    "\n"
    "Three attacks are behind most of the rows below:\n"
    "\n"
    "- **Request smuggling.** The length of a body is said in two ways, or in one that two\n"
    "  readers understand differently (`Content-Length` beside `Transfer-Encoding`, two\n"
    "  lengths, a coding that is nearly `chunked`, chunk sizes and line ends that are nearly\n"
    "  right). gyre makes the framing that a server sees itself: one `Content-Length`, or one\n"
    "  `Transfer-Encoding: chunked`.\n"
    "- **Header stripping and forging.** A client names a field in `Connection` so that the\n"
    "  proxy removes it, or writes `X_Real_IP` so that the app server takes it for\n"
    "  `X-Real-IP`.\n"
    "- **Response splitting.** A server is made to send CR, LF or NUL inside a field, a\n"
    "  second response behind the first, or a 101 that nobody asked for.\n"
    "\n"
    "The access log tells each case apart: `why=WORD`, with the words of the tables. It shows\n"
    "a refused request line as it came.\n"
    "\n"
    "## Beside other proxies\n"
    "\n"
    "Where nginx and HAProxy are laxer: both forward fields that `Connection` nominates, and\n"
    "both accept bad values of `Host`. nginx relays a 101 that nobody asked for, and takes a\n"
    "1xx for the final answer. HAProxy forwards NUL, and `Transfer-Encoding` in HTTP/1.0.\n"
    "gyre does none of these.\n"
    "\n"
    "## What is dropped, not refused\n"
    "\n"
    "- Fields of one hop: `Connection`, `Keep-Alive`, `Proxy-Connection`, `TE`,\n"
    "  `Transfer-Encoding`, `Upgrade`, `HTTP2-Settings`. gyre writes its own where they are\n"
    "  needed.\n"
    "- Fields that `Connection` nominates; but never those that go from end to end and that\n"
    "  gyre knows: `Host`, `Content-Length`, `Cookie`, `Authorization`, `X-Forwarded-For` and\n"
    "  their like stay, whoever nominates them.\n"
    "- Request fields and trailers with `_` in their names: CGI, WSGI, Rack and PHP take `-`\n"
    "  and `_` for the same. Counted in `request_fields_dropped`; `keep_underscores = yes`\n"
    "  forwards them.\n"
    "- `X-Forwarded-*`, `X-Real-IP`, `Forwarded` and `X-Request-ID` of clients that are not\n"
    "  in `trusted_proxies`.\n"
    "- Chunk extensions, and empty lines before a request line (four at most).\n"
    "- Trailers that say something about routing, identity or the content, and all trailers\n"
    "  of a response to a client that did not send `TE: trailers`.\n"
    "- `Upgrade: h2c`, an `Upgrade` that names several protocols, and one on a request with a\n"
    "  body: the request is served as if it had not asked.\n"
    "- Bodies where none can be: behind an answer to HEAD, a 204 or a 304. The server's\n"
    "  connection is closed. So it is when anything comes behind a response, or on an idle\n"
    "  connection.\n"
    "\n"
    "## Which settings loosen what\n"
    "\n"
    "Sizes, counts and times are settings of a listener, named in the table.\n"
    "`keep_underscores` is the only other one. Framing has no setting: no value of one could\n"
    "make an ambiguous message safe.\n";

static void print_refuse(void) {
    fputs(refuse_intro, stdout);
    printf("\n## Requests\n\n| `why=` | what | answer | rule | setting |\n|---|---|---|---|---|\n");
    for (enum refusal i = REFUSE_NONE + 1; i < REFUSE_COUNT; i++) {
        const struct refuse_row *row = refuse_row(i);
        if ((row->sides & REFUSE_IN_REQUEST) != 0) {
            const char *quote = strcmp(row->setting, "none") == 0 ? "" : "`";
            printf("| `%s` | %s | %u, `close=%s` | %s | %s%s%s |\n", row->word, row->text,
                   row->status, close_word(row->why), row->rule, quote, row->setting, quote);
        }
    }
    printf("\n## Responses\n\nThe client is answered with 502, `close=bad-response`; or, where the "
           "head of the response had been\npassed on already, its connection is cut so that it can "
           "tell. No setting loosens these.\n\n| `why=` | what | rule |\n|---|---|---|\n");
    for (enum refusal i = REFUSE_NONE + 1; i < REFUSE_COUNT; i++) {
        const struct refuse_row *row = refuse_row(i);
        if ((row->sides & REFUSE_IN_RESPONSE) != 0) {
            printf("| `%s` | %s | %s |\n", row->word, row->text, row->rule);
        }
    }
}

/* --- All of them -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*print)(void);
} docs[] = {
    {"keys", print_keys},
    {"close", print_close},
    {"refuse", print_refuse},
    {"sample", print_sample},
};

static void (*doc_find(const char *which))(void) {
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        if (strcmp(which, docs[i].name) == 0) {
            return docs[i].print;
        }
    }
    return NULL;
}

bool doc_known(const char *which) {
    return doc_find(which) != NULL;
}

int doc_print(const char *which) {
    doc_find(which)();
    return fflush(stdout) == 0 ? 0 : 1;
}
