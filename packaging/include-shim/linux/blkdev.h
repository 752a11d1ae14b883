/* Stands in for the kernel's <linux/blkdev.h>, which liburing's header wants and kernel headers
 * before Linux 6.12 (Debian 12's) lack. Used only where the real one is missing. */
#ifndef GYRE_SHIM_LINUX_BLKDEV_H
#define GYRE_SHIM_LINUX_BLKDEV_H

#include <linux/ioctl.h>

#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)

#endif
