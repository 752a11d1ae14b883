/* The WebSocket messages of the benchmarks, as gyre-load and gyre-origin speak of them: 64 bytes
 * both ways, and the handshake that RFC 6455 has for an example (section 1.3). */
#ifndef GYRE_BENCH_MESSAGE_H
#define GYRE_BENCH_MESSAGE_H

#define MESSAGE_BYTES 64u
#define MESSAGE_DOWN_BYTES (2u + MESSAGE_BYTES)
#define MESSAGE_UP_BYTES (2u + 4u + MESSAGE_BYTES)   /* what clients send is masked */

#define MESSAGE_ASKED \
    "GET / HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define MESSAGE_ACCEPTED \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

#endif
