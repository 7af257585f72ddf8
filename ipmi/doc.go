// Package ipmi is the message model: requests, responses, completion codes, names, and the Handler
// that answers requests.
//
// A Request is a message that an interface has received: network function, LUN, command and data,
// with the interface and its channel. A Handler answers it. A Mux composes handlers as an
// http.ServeMux does. The owner of a request received it and writes its response: an engine of
// package ipmb, or a loop of package host.
//
// The package knows no medium and no encoding. Addresses are in their 8-bit form (20h, not 10h),
// LUNs are 0 to 3, netFns of requests are even.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Order: requests of one interface reach their handler in the order in which they came, one
//     call of ServeIPMI after the other. No handler waits for another one's answer.
//     (TestRequestsAreServedInOrder of package ipmb, TestLoopCallsTheHandlerInOrder of package
//     host)
//  2. Once: the first Answer to a request counts. Later ones report that they do not count.
//     (TestDoKeepsTheFirstAnswer, TestAPanicAfterTheAnswerChangesNothing)
//  3. A handler keeps a Request and its Data as long as it likes; they do not change. The Data of
//     a Response are valid until Reply.Answer returns. (TestDoKeepsTheFirstAnswer)
//  4. When a handler panics or is missing, the answer is an error. [NotServed] tells the owner
//     whether a handler ran, and [CodeOf] gives the completion code of the error. The owner keeps
//     the deadline of a request: it answers at the deadline, and drops later answers.
//     (TestServeRecoversPanic, TestCodeOfSentinels, TestSentinelsAreComplete)
//  5. A Blocking serves the requests of one interface one at a time, in order, and keeps at most
//     64 of them waiting. A call that hangs holds up those after it until its own deadline.
//     (TestBlocking, TestBlockingUnderConcurrentUse)
//  6. A Mux allocates nothing for a request. (TestMuxAllocatesNothing)
//
// Source of numbers: IPMI v2.0, sections 5 (completion codes, netFns), 6 (channels) and 20.1 (Get
// Device ID), and appendix G (commands).
package ipmi
