/* Posts: a stack that any thread pushes to and its ring takes whole. */
#include "base/ensure.h"
#include "ring/ring_priv.h"

void post_queue_init(struct post_queue *queue) {
    atomic_init(&queue->newest, NULL);
}

bool post_queue_push(struct post_queue *queue, struct post *post) {
    ensure(post->run != NULL);
    struct post *newest = atomic_load_explicit(&queue->newest, memory_order_relaxed);
    do {
        post->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&queue->newest, &newest, post,
                                                    memory_order_release, memory_order_relaxed));
    return newest == NULL;
}

bool post_queue_empty(struct post_queue *queue) {
    return atomic_load_explicit(&queue->newest, memory_order_relaxed) == NULL;
}

/* Taking all at once needs no care for ABA: nothing is ever popped alone. */
void post_queue_run(struct post_queue *queue) {
    if (post_queue_empty(queue)) {
        return;
    }
    struct post *post = atomic_exchange_explicit(&queue->newest, NULL, memory_order_acquire);
    struct post *oldest = NULL;
    while (post != NULL) {
        struct post *next = post->next;
        post->next = oldest;
        oldest = post;
        post = next;
    }
    while (oldest != NULL) {
        post = oldest;
        oldest = post->next;   /* before run: the post is the receiver's then */
        post->run(post);
    }
}
