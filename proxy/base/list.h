/* An intrusive, circular, doubly linked list. */
#ifndef GYRE_BASE_LIST_H
#define GYRE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ensure.h"

/* The same struct is a list's head and an object's link. A link that is in no list points at
 * itself or, when zeroed, at nothing: both are "not linked". */
struct list_node {
    struct list_node *next, *prev;
};

static inline void list_init(struct list_node *head) {
    head->next = head->prev = head;
}

static inline bool list_linked(const struct list_node *node) {
    return node->next != NULL && node->next != node;
}

static inline bool list_empty(const struct list_node *head) {
    return head->next == head;
}

static inline void list_insert_(struct list_node *node, struct list_node *prev,
                                struct list_node *next) {
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

/* The node must not be linked. */
static inline void list_append(struct list_node *head, struct list_node *node) {
    ensure(!list_linked(node));
    list_insert_(node, head->prev, head);
}

static inline void list_prepend(struct list_node *head, struct list_node *node) {
    ensure(!list_linked(node));
    list_insert_(node, head, head->next);
}

/* Harmless on a node that is not linked. */
static inline void list_remove(struct list_node *node) {
    if (list_linked(node)) {
        node->prev->next = node->next;
        node->next->prev = node->prev;
    }
    node->next = node->prev = node;
}

static inline struct list_node *list_first(const struct list_node *head) {
    return list_empty(head) ? NULL : head->next;
}

/* Takes the first node off, or returns NULL. */
static inline struct list_node *list_pop(struct list_node *head) {
    struct list_node *node = list_first(head);
    if (node != NULL) {
        list_remove(node);
    }
    return node;
}

/* Moves all of from's nodes to the (empty) list `to`, in order. */
static inline void list_take_all(struct list_node *to, struct list_node *from) {
    list_init(to);
    if (list_empty(from)) {
        return;
    }
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

#define list_each(node, head) \
    for (struct list_node *node = (head)->next; node != (head); node = node->next)

#endif
