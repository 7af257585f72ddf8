// Package bus is a bus as its clients know it: a name, an index, limits and a state, and
// [Bus.Send]. D-Bus methods, the frame socket and the bridge send by it, so that there is
// one way out and one order. Package service makes a Bus and gives it to each of them.
//
// [Shares] counts what programs have of a bus, and of other things that they share.
//
// What carries a request is a [Link]: an ipmb.Engine, or Linux's IPMI driver behind
// [Workers]. This package knows no transport and opens no device.
//
// # Promises
//
//  1. A request that Send has taken ends exactly once: its Call is told so. One that Send
//     refuses was never sent.
//  2. Requests and broadcasts of one goroutine reach the link in the order in which they
//     were sent, also those that wait until the bus has begun (TestOrder). Answers reach
//     the calls in the order in which the link delivers them.
//  3. Send does not block. With an engine it starts no goroutine, timer or context and
//     allocates nothing (TestSendAllocatesNothing). Workers start one goroutine for each
//     request that the driver has, 64 at most as a rule.
//  4. No lock is held while a link or a Call's function runs.
//  5. One program has at most half of the places of a bus, however many connections it
//     has, and so have all programs of a user other than root together (TestShares). A
//     client whose process is not known yet waits for nothing, unless the program that has
//     most would have more than its half if the client were its own
//     (TestNewConnectionsGainNothing). What the daemon itself sends, as its bridge does,
//     takes nobody's place.
//  6. After Drain or Leave nothing is sent any more; Drain returns when all that was
//     taken has ended.
package bus
