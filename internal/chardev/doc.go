// Package chardev opens character devices that carry one message per system
// call, and lets their user make those calls. It is Linux's; it knows nothing
// of the messages.
//
// Waiting for something to read is the runtime poller's business. Writing is
// not: a driver may return EAGAIN for a reason of its own, such as lost
// arbitration, and the poller would take it for a full buffer and wait for a
// readiness that never comes. Control makes the one call and keeps its errno.
//
// # Promises
//
//  1. Read is called from one goroutine, Control from any. Close may be called
//     from any; it ends a blocked Read and waits for a Control that is in the
//     kernel.
//  2. The descriptor stays non-blocking and is closed once all calls are out.
//  3. A device that was unbound tells its readers nothing, and its descriptor
//     may point at freed memory of the driver (drivers/char/ipmi/ipmb_dev_int.c
//     in Linux 6.1): Read looks at the device's node as it waits, and returns
//     io.EOF when that has gone, so that the descriptor gets closed.
package chardev
