// Package chardev opens files of Linux drivers that carry one message per
// system call, character devices and attributes of sysfs, and lets their user
// make those calls; and it watches the paths at which they come and go. It
// knows nothing of the messages.
//
// Waiting for something to read is the runtime poller's business: it waits on
// an epoll set that holds the device and a watch on its node. Writing is not: a
// driver may return EAGAIN for a reason of its own, such as lost arbitration,
// and the poller would take it for a full buffer and wait for a readiness that
// never comes. Control makes the one call and keeps its errno.
//
// # Promises
//
//  1. Read is called from one goroutine, Control from any. Close may be called
//     from any; it ends a blocked Read and waits for a Control that is in the
//     kernel.
//  2. The descriptor stays non-blocking and is closed once all calls are out.
//  3. A device that was unbound tells its readers nothing, and its descriptor
//     may point at freed memory of the driver (drivers/char/ipmi/ipmb_dev_int.c
//     in Linux 6.1). Hence no call is made on a device whose node has gone:
//     Read returns io.EOF as soon as it has, and Control does before its call,
//     so that the descriptor gets closed. A call that is in the kernel when the
//     driver goes is beyond help.
//  4. What inotify does not tell, as in sysfs or where it is not to be had, is
//     found by a look every 2 s.
package chardev
