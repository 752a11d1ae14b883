/* What the log says of a server that takes no connections: once when it has gone, and once when it
 * is back; nothing of one that was merely restarted. */
#include "base/log.h"
#include "upstream/upstream_priv.h"

void server_say_away(struct server *server, uint64_t for_ms) {
    if (!server->away_told) {
        server->away_told = true;
        log_info("[backend %s] %s has taken no connection for %llus; it is tried again and again",
                 server->backend->name, server->name, (unsigned long long)(for_ms / 1000));
    }
}

void server_say_there(struct server *server, uint64_t for_ms) {
    if (server->away_told) {
        server->away_told = false;
        log_info("[backend %s] %s takes connections again, after %llus", server->backend->name,
                 server->name, (unsigned long long)(for_ms / 1000));
    }
}
