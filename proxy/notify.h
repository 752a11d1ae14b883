/* What gyre tells the service manager that started it (sd_notify(3)). */
#ifndef GYRE_NOTIFY_H
#define GYRE_NOTIFY_H

/* Before anything runs short: what is told later needs no descriptor. Where nobody wants to know,
 * nothing is told. */
void notify_open(void);
/* "READY=1\nSTATUS=..."; never waits for the reader. */
void notify_tell(const char *text);
void notify_close(void);

#endif
