// Package bridge carries messages between channels. It alone owns what host
// software sees of them: the receive message queue, the message flags, the BMC
// global enables and the event message buffer of each interface.
//
// A Bridge has interfaces: buses, and the system interfaces of hosts. The
// Handler of an interface stands before the one that serves everything else:
// on an interface that is Bridged it serves the commands of [Patterns] and takes
// the requests to LUN 2, on any other it only listens for events.
//
// Send Message puts a request on another channel, under a sequence number of
// that channel's engine. Not tracked, it is answered when the bus has taken or
// refused the request, and the response waits in the receive message queue of
// the interface it was asked on. Tracked, it is answered with the response, as a
// whole message. Either way the response has the sequence number, the LUN and the
// checksums that its requester knows. A response in Send Message, one that host
// software has made, is written as it is.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: what the bus has taken is answered. The bridge keeps a place in the queue for
//     the response before it sends the request; a full queue refuses the request.
//     (TestTheQueueIsBounded, TestSendMessageAgainAfterC0)
//  2. Order: responses come into the queue in the order in which their bus delivered
//     them, and requests to LUN 2 in the order in which they came. The events of an
//     interface reach the log, the buffers and the subscribers in the order in which they
//     came; a slow log delays no event of another interface.
//     (TestResponsesComeInTheOrderOfTheBus, TestEventsKeepTheirOrder,
//     TestEventsShareABlocking)
//  3. The message flags and the attention are what the queue and the buffer
//     hold at that moment, never a state of their own. (TestAttentionIsWhatTheQueueHolds)
//  4. A message stays in the queue for 5 s at most: after that its sequence
//     number may mean another request. A request that nobody fetches is
//     answered C3h by the engine that received it. (TestRequestsToLUN2AreHostSoftwares,
//     TestAnAnswerToAnEarlierRequestIsNotTheLaterOnes)
//  5. An event is acknowledged when it is in the log. Each event that is acknowledged
//     is published once. (TestPlatformEvent)
//  6. A handler does not block. The bridge cancels a request that the bus has not taken at
//     the deadline of its Send Message, and a tracked request that has no response then.
//     (TestACallEndsWithItsRequestersPatience)
//  7. The bridge starts goroutines for events on their way to the log only, one for each
//     interface. When Run has returned none is left, nor a request on a bus.
//     (TestTheBridgeEnds)
//
// There are no channels with sessions: 80h, invalid session handle, is no answer
// to Send Message here.
//
// Sources: IPMI v2.0, sections 6.13 (LUN 2), 22.1 to 22.8, 22.24 (channels), 29
// (events).
package bridge
