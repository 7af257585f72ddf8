// Package chardev opens files of Linux drivers that carry one message per system call: character
// devices and attributes of sysfs. Its users make these calls. It also watches the paths at which
// such files appear and go. It does not know the messages.
//
// The runtime's poller waits until there is something to read: it waits for an epoll set that
// holds the device and an inotify watch on its node. Writing does not involve the poller. A
// driver may return EAGAIN for a reason of its own, such as lost arbitration; the poller would
// take that for a full buffer and wait for a readiness that never comes. Control makes one call
// and returns its error.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Read is called from one goroutine, Control and Close from any. Close ends a Read that
//     waits, and itself waits for a Control that is in the kernel.
//     (TestCloseEndsABlockedRead, TestCloseWaitsForControl)
//  2. The descriptor stays non-blocking, and is closed when all calls have returned.
//  3. No system call is made on a device whose node has gone. The driver may have freed the
//     memory that the descriptor points at, and the kernel does not tell readers that a device was
//     unbound (drivers/char/ipmi/ipmb_dev_int.c of Linux 6.1). Read returns io.EOF as soon as the
//     node has gone, and Control does so before its call, so that the descriptor gets closed.
//     Nothing protects a call that is in the kernel at that moment. (TestReadEndsWhenTheNodeGoes,
//     TestNothingIsCalledWhenTheNodeHasGone)
//  4. Where inotify does not report changes, as in sysfs or without an inotify instance, a look
//     every 2 s finds them. (TestWaitLooksWhereTheFolderIsYetToCome)
package chardev
