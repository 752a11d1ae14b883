/* A body on its way through memory and a file. */
#include "exchange/spool_priv.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

#define SPOOL_MAGIC 0x53504f4cu

/* Up to this is copied: many small pieces shall not be many slices. */
#define COPY_MAX 4096u

/* Bytes that may wait to be written; the disk is slower than the peer then. */
static uint64_t unwritten_max(const struct spool *s) {
    return 4 * (uint64_t)s->store->piece;
}

/* A file is written round and round: what waits in it is never more than max, and it does not grow
 * with all that ever went through it. The ring's offsets are 64 bits and never come back to 0. */
static uint64_t file_size(const struct spool *s) {
    return s->max + unwritten_max(s);
}

static uint64_t file_place(const struct spool *s, uint64_t at) {
    return at % file_size(s);
}

static uint64_t file_bytes(const struct spool *s) {
    return s->write_at - s->read_at;
}

/* How much of len lies in one piece from there. */
static uint32_t file_run(const struct spool *s, uint64_t at, uint64_t len) {
    uint64_t run = file_size(s) - file_place(s, at);
    return (uint32_t)(len < run ? len : run);
}

static void spool_wake(struct spool *s) {
    if (s->owner != NULL) {
        task_wake(s->ring, s->owner);
    }
}

static void spool_break(struct spool *s, enum close_reason why) {
    if (s->why == CLOSE_NONE) {
        s->why = (uint8_t)why;
    }
    spool_wake(s);
}

/* Bytes that are lost for want of memory end it all: a body with a hole is none. */
static void spool_check(struct spool *s) {
    if (s->head.failed || s->tail.failed || s->window.failed) {
        spool_break(s, CLOSE_NO_MEMORY);
    }
}

/* --- Life --------------------------------------------------------------------------------- */

static void read_done(struct op *op, int res, struct seg *seg, bool armed);
static void write_done(struct op *op, int res, struct seg *seg, bool armed);

struct spool *spool_new(struct pool *pool, struct ring *ring, struct spool_store *store,
                        struct segpool *copies, struct task *owner, bool keep) {
    struct spool *s = pool_get(pool);
    if (s == NULL) {
        return NULL;
    }
    *s = (struct spool){.magic = SPOOL_MAGIC, .ring = ring, .pool = pool, .store = store,
                        .owner = owner, .keep = keep, .no_file = store->max == 0, .fd = -1,
                        .op_read.generation = s->op_read.generation,
                        .op_write.generation = s->op_write.generation};
    op_init(&s->op_read, read_done);
    op_init(&s->op_write, write_done);
    bufq_init(&s->head, UINT32_MAX, copies);
    bufq_init(&s->tail, UINT32_MAX, copies);
    bufq_init(&s->window, UINT32_MAX, copies);
    return s;
}

void spool_limit(struct spool *s, uint64_t memory_max, uint64_t max) {
    ensure_magic(s, SPOOL_MAGIC);
    ensure(s->fd < 0);
    s->memory_max = memory_max;
    s->max = max > memory_max ? max : memory_max;
}

static void spool_join(struct spool *s) {
    if (s->owner != NULL || !op_idle(&s->op_read) || !op_idle(&s->op_write)) {
        return;
    }
    bufq_fini(&s->head);
    bufq_fini(&s->tail);
    bufq_fini(&s->window);
    if (s->fd >= 0) {
        (void)sys_close(s->fd);   /* it has no name: its blocks are free now */
        atomic_fetch_sub(&s->store->held, s->charged);
    }
    s->magic = 0;
    pool_put(s->pool, s);
}

void spool_free(struct spool *s) {
    ensure_magic(s, SPOOL_MAGIC);
    s->owner = NULL;
    spool_join(s);
}

/* --- Writing ------------------------------------------------------------------------------ */

/* The file's part of spool_max, before it grows. */
static bool store_charge(struct spool *s, uint64_t size) {
    if (size <= s->charged) {
        return true;
    }
    uint64_t more = size - s->charged;
    if (atomic_fetch_add(&s->store->held, more) + more > s->store->max) {
        atomic_fetch_sub(&s->store->held, more);
        return false;
    }
    s->charged = size;
    return true;
}

/* Who looks at a 503, or at a server that waits for a slow client, shall find why. */
static void file_none(struct spool *s, const char *why) {
    static struct log_limit said;   /* of all rings */
    s->no_file = true;
    log_warn_limited(&said, ring_now_ms(s->ring),
                     "spool_dir = %s: %s; what does not fit into memory is refused or waits",
                     s->store->folder, why);
}

static bool file_ready(struct spool *s, uint32_t len) {
    if (s->no_file) {
        return false;
    }
    if (s->fd < 0) {
        s->fd = sys_open_spool(s->store->folder);
    }
    uint64_t end = s->write_at + len < file_size(s) ? s->write_at + len : file_size(s);
    if (s->fd < 0) {
        file_none(s, strerror(-s->fd));
    } else if (!store_charge(s, end)) {
        file_none(s, "spool_max is reached");
    }
    return !s->no_file;
}

static void write_start(struct spool *s) {
    bool more = s->tail.bytes >= s->store->piece && s->tail_at == 0;
    if (!more || s->no_file || s->why != CLOSE_NONE || s->owner == NULL || !op_idle(&s->op_write)) {
        return;
    }
    uint32_t len = file_run(s, s->write_at, s->tail.bytes);
    if (!file_ready(s, len)) {
        return;
    }
    int count = bufq_peek(&s->tail, 0, s->writing, SPOOL_WRITE_IOV);
    uint32_t sum = 0;
    for (int i = 0; i < count; i++) {
        uint32_t left = len - sum;
        s->writing[i].iov_len = s->writing[i].iov_len < left ? s->writing[i].iov_len : left;
        sum += (uint32_t)s->writing[i].iov_len;
        count = sum == len ? i + 1 : count;
    }
    op_pwritev(s->ring, &s->op_write, s->fd, s->writing, count, file_place(s, s->write_at));
}

/* --- Reading ------------------------------------------------------------------------------ */

/* Bytes at hand, before the file's. */
static uint64_t ahead(const struct spool *s) {
    return s->keep ? s->head.bytes - s->head_at + s->window.bytes : s->head.bytes;
}

static uint32_t piece_now(const struct spool *s) {
    uint32_t piece = s->store->piece;
    return piece > BUFQ_PRESSED && memory_is_pressed() ? BUFQ_PRESSED : piece;
}

static void read_start(struct spool *s) {
    uint32_t piece = piece_now(s);
    if (file_bytes(s) == 0 || !op_idle(&s->op_read) || s->why != CLOSE_NONE ||
        s->owner == NULL || ahead(s) >= piece) {
        return;
    }
    uint64_t wanted = file_bytes(s) < piece ? file_bytes(s) : piece;
    uint32_t len = file_run(s, s->read_at, wanted);
    s->reading = seg_new_sized(len);
    if (s->reading == NULL) {
        spool_break(s, CLOSE_NO_MEMORY);
        return;
    }
    op_pread(s->ring, &s->op_read, s->fd, s->reading->data, len, file_place(s, s->read_at));
}

/* What was not written yet and is next anyhow needs no file. */
static void tail_up(struct spool *s) {
    if (!s->keep && s->head.bytes == 0 && file_bytes(s) == 0 && op_idle(&s->op_write)) {
        bufq_move(&s->head, &s->tail, s->tail.bytes);
        spool_check(s);
    }
}

static void spool_advance(struct spool *s) {
    tail_up(s);
    read_start(s);
    write_start(s);
    if (s->full && spool_room(s) > 0) {
        s->full = false;
        spool_wake(s);
    }
}

static void read_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct spool *s = container_of(op, struct spool, op_read);
    if (s->owner != NULL && !s->stale) {
        if (res <= 0 && res != -EINTR && res != -EAGAIN) {
            spool_break(s, CLOSE_SPOOL);
        } else if (res > 0) {
            bufq_push(s->keep ? &s->window : &s->head, s->reading, 0, (uint32_t)res);
            s->read_at += (uint32_t)res;
            spool_check(s);
        }
        spool_wake(s);
    }
    s->stale = false;
    seg_unref(s->reading);
    s->reading = NULL;
    if (s->owner != NULL) {
        spool_advance(s);
    }
    spool_join(s);
}

static void write_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct spool *s = container_of(op, struct spool, op_write);
    if (res > 0) {
        s->write_at += (uint32_t)res;
        bufq_drop(&s->tail, (uint32_t)res);
    } else if (res != -EINTR && res != -EAGAIN) {
        file_none(s, strerror(res < 0 ? -res : ENOSPC));   /* what is not in it waits in memory */
    }
    spool_wake(s);
    if (s->owner != NULL) {
        spool_advance(s);
    }
    spool_join(s);
}

/* --- The owner's calls -------------------------------------------------------------------- */

uint64_t spool_bytes(const struct spool *s) {
    uint64_t in_memory = s->head.bytes - s->head_at + s->tail.bytes - s->tail_at;
    return in_memory + s->window.bytes + file_bytes(s);
}

/* Under pressure as good as all goes to the file, or waits where it comes from; but for a request
 * that can not go on before it is whole. */
static uint64_t memory_share(const struct spool *s) {
    bool less = !(s->keep && s->no_file) && s->memory_max > BUFQ_PRESSED && memory_is_pressed();
    return less ? BUFQ_PRESSED : s->memory_max;
}

static uint64_t unwritten_share(const struct spool *s) {
    return s->no_file ? 0 : memory_is_pressed() ? s->store->piece : unwritten_max(s);
}

uint32_t spool_room(struct spool *s) {
    ensure_magic(s, SPOOL_MAGIC);
    uint64_t held = (uint64_t)s->head.bytes + s->tail.bytes;
    uint64_t all = held + file_bytes(s);
    uint64_t most = s->no_file ? memory_share(s) : s->max;
    uint64_t room = all < most ? most - all : 0;
    /* What was taken before memory was short stays where it is, and no write makes room there. */
    uint64_t share = memory_share(s);
    uint64_t memory = (share > s->head.bytes ? share : s->head.bytes) + unwritten_share(s);
    uint64_t in_memory = held < memory ? memory - held : 0;
    room = room < in_memory ? room : in_memory;
    s->full = room == 0;
    return (uint32_t)(room < UINT32_MAX ? room : UINT32_MAX);
}

uint32_t spool_push(struct spool *s, struct bufq *from) {
    uint32_t room = spool_room(s), moved = 0;
    bool direct = s->tail.bytes == 0 && file_bytes(s) == 0 && op_idle(&s->op_write);
    uint64_t share = memory_share(s);
    if (direct && s->head.bytes < share) {
        uint64_t fits = share - s->head.bytes;
        moved = bufq_move_small(&s->head, from, (uint32_t)(fits < room ? fits : room), COPY_MAX);
        bufq_settle(&s->head);
    }
    if (op_idle(&s->op_write)) {
        moved += bufq_move_small(&s->tail, from, room - moved, COPY_MAX);
        bufq_settle(&s->tail);
    } else {
        /* The kernel reads what lies there: only what comes can still be settled. The disk may take
         * its time, and others need the buffers. */
        bufq_settle(from);
        moved += bufq_move(&s->tail, from, room - moved);
    }
    s->full = from->bytes > 0;
    spool_check(s);
    write_start(s);
    return moved;
}

static uint32_t pull_kept(struct spool *s, struct bufq *to, uint32_t max) {
    uint32_t got = bufq_share(to, &s->head, (uint32_t)s->head_at, max);
    s->head_at += got;
    got += bufq_move(to, &s->window, max - got);
    /* What is being written may yet be read from the file. */
    if (file_bytes(s) == 0 && s->window.bytes == 0 && op_idle(&s->op_write)) {
        uint32_t more = bufq_share(to, &s->tail, (uint32_t)s->tail_at, max - got);
        s->tail_at += more;
        got += more;
    }
    return got;
}

uint32_t spool_pull(struct spool *s, struct bufq *to, uint32_t max) {
    ensure_magic(s, SPOOL_MAGIC);
    uint32_t got = s->keep ? pull_kept(s, to, max) : bufq_move(to, &s->head, max);
    spool_advance(s);
    if (got == 0 && !s->keep && s->head.bytes > 0) {
        got = bufq_move(to, &s->head, max);
    }
    return got;
}

void spool_rewind(struct spool *s) {
    ensure_magic(s, SPOOL_MAGIC);
    ensure(s->keep);
    s->head_at = s->tail_at = s->read_at = 0;
    bufq_drop(&s->window, s->window.bytes);
    s->stale = !op_idle(&s->op_read);
}
