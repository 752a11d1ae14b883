/* The command line: which of gyre's faces is asked for. */
#include "flags.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "doc.h"

const char flags_help[] =
    "gyre - reverse proxy and load balancer: an async edge in front of app servers\n"
    "\n"
    "  gyre [-c FILE]              run in the foreground (default /etc/gyre/gyre.ini)\n"
    "  gyre --bind ADDR --backend ADDR [--backend ADDR] [--certificate PEM --key PEM]\n"
    "                              run without a file\n"
    "  gyre --check [-c FILE]      check the file and all that it names; exit 0 or 1\n"
    "  gyre --doc keys|close|refuse|sample\n"
    "                              print the reference of keys, of close reasons, what is\n"
    "                              refused and why, or a sample file\n"
    "  gyre --version | --help\n"
    "\n"
    "ADDR is HOST:PORT, [V6]:PORT, :PORT or unix:PATH.\n"
    "Signals: TERM and INT finish what is in flight and stop (a second one stops at once),\n"
    "USR1 reopens the access log. See gyre(8).\n";

enum { FLAG_BIND = 256, FLAG_BACKEND, FLAG_CERTIFICATE, FLAG_KEY, FLAG_CHECK, FLAG_DOC,
       FLAG_VERSION };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"bind", required_argument, NULL, FLAG_BIND},
    {"backend", required_argument, NULL, FLAG_BACKEND},
    {"certificate", required_argument, NULL, FLAG_CERTIFICATE},
    {"key", required_argument, NULL, FLAG_KEY},
    {"check", no_argument, NULL, FLAG_CHECK},
    {"doc", required_argument, NULL, FLAG_DOC},
    {"version", no_argument, NULL, FLAG_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void __attribute__((format(printf, 2, 3))) wrong(struct flags *f, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->why, sizeof f->why, fmt, args);
    va_end(args);
    f->mode = FLAGS_WRONG;
}

static void one_flag(struct flags *f, int flag, uint32_t counts[4]) {
    switch (flag) {
    case 'c':
        f->path = optarg;
        break;
    case 'h':
        f->mode = FLAGS_HELP;
        break;
    case FLAG_BIND:
    case FLAG_BACKEND:
    case FLAG_CERTIFICATE:
    case FLAG_KEY:
        f->fileless = true;
        f->lists[flag - FLAG_BIND][counts[flag - FLAG_BIND]++] = optarg;
        break;
    case FLAG_CHECK:
        f->mode = FLAGS_CHECK;
        break;
    case FLAG_DOC:
        f->mode = FLAGS_DOC;
        f->doc = optarg;
        break;
    case FLAG_VERSION:
        f->mode = FLAGS_VERSION;
        break;
    case ':':
        wrong(f, "a flag needs a value");
        break;
    default:
        wrong(f, "unknown flag");
        break;
    }
}

static void check_together(struct flags *f) {
    if (f->fileless && f->path != NULL) {
        wrong(f, "-c %s and --bind do not go together: either a file, or flags", f->path);
    } else if (f->fileless && (f->conf.bind_count == 0 || f->conf.backend_count == 0)) {
        wrong(f, "without a file there must be a --bind and a --backend");
    } else if (f->doc != NULL && !doc_known(f->doc)) {
        wrong(f, "--doc %s: there are keys, close, refuse and sample", f->doc);
    }
}

void flags_parse(struct flags *f, int argc, char **argv) {
    *f = (struct flags){.mode = FLAGS_RUN};
    uint32_t counts[4] = {0};
    for (unsigned i = 0; i < 4; i++) {
        f->lists[i] = mem_zero((size_t)(argc + 1) * sizeof *f->lists[i]);
    }
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":c:h", options, NULL)) != -1;) {
        const char *given = argv[optind - 1];
        one_flag(f, flag, counts);
        if (f->mode == FLAGS_WRONG) {
            wrong(f, "%s%s", given, flag == ':' ? " needs a value" : ": there is no such flag");
            break;
        }
    }
    if (f->mode != FLAGS_WRONG && optind < argc) {
        wrong(f, "%s: gyre takes flags only; a file is named with -c", argv[optind]);
    }
    f->conf = (struct conf_flags){.bind = f->lists[0], .backend = f->lists[1],
                                  .certificate = f->lists[2], .key = f->lists[3],
                                  .bind_count = counts[0], .backend_count = counts[1],
                                  .certificate_count = counts[2], .key_count = counts[3]};
    if (f->mode != FLAGS_WRONG) {
        check_together(f);
    }
    if (f->path == NULL) {
        f->path = "/etc/gyre/gyre.ini";
    }
}

void flags_fini(struct flags *f) {
    for (unsigned i = 0; i < 4; i++) {
        mem_free(f->lists[i]);
    }
}
