// Package openipmi is a bus on Linux's IPMI driver: the host's side of a management controller,
// and an IPMB channel behind it. [New] makes the bus; [Open] opens a device of the driver,
// /dev/ipmiN (drivers/char/ipmi/ipmi_devintf.c).
//
// Quirks of the driver:
//   - It numbers what it sends on IPMB, retries what is not answered, and answers C3h itself in
//     the end; its clock ticks once a second. It does the same for what is not acknowledged. Its
//     own C3h looks like one of the responder's.
//   - What goes to the controller itself has no time limit but that of the interface below.
//   - Below ipmi_ipmb.c it sends on IPMB itself ([Device.Direct]): one message at a time, of 32
//     bytes at most, and what is not carried is answered 82h.
//   - It passes on only the requests of commands that were registered, each by itself, and
//     answers others C1h.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A response ends the call that it is for and no other. The number of a call is given to no
//     other before the driver has answered it. Nothing that the driver has is cut off.
//     (TestAnswersInAnyOrder, TestLateAnswer, TestLongMessages)
//  2. Requests enter the driver in the order of Send, no more than 64 at a time; others wait.
//     (TestRequestsKeepTheirOrder)
//  3. Each request from the channel is served once and has one answer; a repeat gets it again.
//     (TestRequestsAreAnsweredOnce)
//  4. An event that was taken off the driver reaches the log, or the bus says at its end that
//     it is lost. (TestEventsWaitForTheLog, TestEventsAtTheEnd)
//
// Sources: include/uapi/linux/ipmi.h, ipmi_devintf.c, ipmi_msghandler.c and ipmi_ipmb.c of Linux.
package openipmi
