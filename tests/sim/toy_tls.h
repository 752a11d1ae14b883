/* A toy of TLS for the simulated ring: its records, and the client's side of it for peers. It hides
 * nothing; it finds every byte that is lost, doubled, mixed up or out of order. */
#ifndef GYRE_TESTS_SIM_TOY_TLS_H
#define GYRE_TESTS_SIM_TOY_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* type (1), length of the payload (2, big endian), payload, check (4). The payload is xor'd with a
 * stream that direction and record number choose; the check is a sum over number, type and bytes. */
enum toy_type {
    TOY_CLIENT_HELLO = 1,   /* the server's name, zero, and some bytes */
    TOY_SERVER_HELLO,       /* bytes as of a certificate chain */
    TOY_FINISHED,           /* the client's: both are up */
    TOY_DATA,
    TOY_CLOSE_NOTIFY,
    TOY_ALERT,
};
#define TOY_PAYLOAD_MAX 1200u
#define TOY_OVERHEAD 7u
#define TOY_RECORD_MAX (TOY_PAYLOAD_MAX + TOY_OVERHEAD)
#define TOY_SERVER_HELLO_LEN 900u

/* Writes one record to `to`; returns its length. */
uint32_t toy_record_seal(uint8_t *to, enum toy_type, uint32_t number, bool from_client,
                         const void *plain, uint32_t len);
/* The length of the record that begins here; 0 when more bytes are needed to tell, UINT32_MAX when
 * it is no record. */
uint32_t toy_record_size(const uint8_t *bytes, size_t len);
/* Opens a whole record: the payload's length, or -1 when it is broken. */
int toy_record_open(const uint8_t *record, uint32_t number, bool from_client,
                    uint8_t plain[TOY_PAYLOAD_MAX], enum toy_type *);

struct toy_bytes {
    uint8_t *p;
    size_t len, cap;
};

struct toy_client {
    struct toy_bytes plain;      /* what the server sent, opened; the test drops from it */
    struct toy_bytes out;        /* cipher bytes to send; the test takes them */
    struct toy_bytes waiting;    /* plain bytes given before the handshake was done */
    struct toy_bytes in;         /* a piece of a record */
    uint32_t sent_count, received_count;
    bool up, end_wanted;
    bool ended;                  /* the server's close_notify came */
    bool alerted;                /* the server's alert came */
    bool broken;                 /* what came was no record, or not the next one */
};

void toy_client_init(struct toy_client *, const char *server_name);
void toy_client_fini(struct toy_client *);
void toy_client_feed(struct toy_client *, const void *cipher, size_t len);
void toy_client_send(struct toy_client *, const void *plain, size_t len);
void toy_client_end(struct toy_client *);        /* close_notify, after what was sent */

void toy_bytes_add(struct toy_bytes *, const void *, size_t len);
void toy_bytes_drop(struct toy_bytes *, size_t len);

#endif
