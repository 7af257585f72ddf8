// Package openipmi is a bus on Linux's IPMI driver: the host's side of a management controller,
// and an IPMB channel behind it. [New] makes the bus; [Open] opens a device of the driver,
// /dev/ipmiN (drivers/char/ipmi/ipmi_devintf.c).
//
// Quirks of the driver:
//   - It numbers the requests that it sends on IPMB, and sends a request again that is not
//     acknowledged or not answered. In the end it answers C3h itself, which looks like a C3h of
//     the responder. Its clock ticks once a second.
//   - A request to the controller itself has no time limit except that of the interface below.
//   - On an interface of ipmi_ipmb.c it sends on IPMB itself ([Device.Direct]): one message at a
//     time, of 32 bytes at most. It answers 82h to a message that the bus does not carry.
//   - It passes on only requests whose command was registered. Commands are registered one at a
//     time. It answers all other requests C1h.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A response ends only the call that it is for. The number of a call is given to no other
//     call before the driver has answered it. No message from the driver is truncated.
//     (TestAnswersInAnyOrder, TestLateAnswer, TestLongMessages)
//  2. Requests enter the driver in the order of Send, no more than 64 at a time; others wait.
//     (TestRequestsKeepTheirOrder)
//  3. Each request from the channel has one response. Repeats are treated as on IPMB: see package
//     ipmb, Repeats. (TestRequestsAreAnsweredOnce)
//  4. An event that was taken from the driver reaches the log, or the bus says at its end that
//     the event is lost. (TestEventsWaitForTheLog, TestEventsAtTheEnd)
//
// Sources: include/uapi/linux/ipmi.h, ipmi_devintf.c, ipmi_msghandler.c and ipmi_ipmb.c of Linux.
package openipmi
