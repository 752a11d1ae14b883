/* What the files of http share: streams' common part, and the room's magic numbers. */
#ifndef GYRE_HTTP_PRIV_H
#define GYRE_HTTP_PRIV_H

#include "http/http.h"

#define HTTP_MAGIC 0x48545450u
#define STREAM_MAGIC 0x5354524du
#define SESSION_MAGIC 0x53455353u

void stream_init(struct stream *, struct http *, const struct stream_ops *,
                 const struct http_limits *, struct task *owner);
void stream_fini(struct stream *);
/* Sets bits and wakes the owner, where there is one yet. */
void stream_wake(struct http *, struct stream *, unsigned ready);
void stream_lost(struct http *, struct stream *, enum close_reason);

/* Sizes of what the pools hold; the types are their files' own. */
extern const size_t h1_down_size, h1_down_stream_size, h1_up_size, h1_up_stream_size,
    local_stream_size;

#endif
