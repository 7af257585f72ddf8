// Package bridge carries messages between channels. It owns what host software sees of them: the
// receive message queue, the message flags, the BMC global enables and the event message buffer
// of each interface.
//
// A Bridge has interfaces: buses, and the system interfaces of hosts. The Handler of an interface
// stands before the handler that serves everything else. On an interface that is Bridged it
// serves the commands of [Patterns] and the requests to system software, which is LUN 2. On any
// other interface it only listens for events.
//
// Send Message sends a request to another channel, with a sequence number of that channel's
// engine. An untracked Send Message gets its reply when the bus has taken or refused the request;
// the response waits in the receive message queue of the interface from which the Send Message
// came. The reply to a tracked one is the whole response. In both cases the response has the
// sequence number, the LUN and the checksums that the requester knows. A Send Message that
// carries a response of host software writes it unchanged.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: each Send Message whose request a bus has taken gets its reply. The bridge reserves a
//     place in the queue for the response before it sends the request; a full queue refuses the
//     request. (TestTheQueueIsBounded, TestSendMessageAgainAfterC0)
//  2. Order: responses come into the queue in the order in which their bus delivered them, and
//     requests to LUN 2 in the order in which they came. The events of an interface reach the
//     log, the buffers and the subscribers in the order in which they came; a slow log delays no
//     event of another interface. (TestResponsesComeInTheOrderOfTheBus, TestEventsKeepTheirOrder,
//     TestEventsShareABlocking)
//  3. The message flags and the attention are what the queue and the enabled buffer hold at that
//     moment, never a state of their own. (TestAttentionIsWhatTheQueueHolds, TestPlatformEvent)
//  4. A message stays in the queue for 5 s at most: after that its sequence number may mean
//     another request. If host software does not fetch a request, the engine that received it
//     answers it C3h. (TestRequestsToLUN2AreHostSoftwares,
//     TestAnAnswerToAnEarlierRequestIsNotTheLaterOnes)
//  5. An event is acknowledged when it is in the log. Each event that is acknowledged is
//     published once. (TestPlatformEvent)
//  6. A handler does not block. At the deadline of a Send Message the bridge cancels its request
//     in two cases: the bus has not taken it, or it is tracked and has no response.
//     (TestACallEndsWithItsRequestersTimeout)
//  7. The bridge starts no goroutines. When Run has returned, no request is on a bus. Events that
//     wait for the log end when the owner of Config.Blocking closes it. (TestTheBridgeEnds)
//
// There are no channels with sessions, so Send Message never has code 80h, invalid session
// handle.
//
// Sources: IPMI v2.0, sections 6.13 (LUN 2), 22.1 to 22.8, 22.24 (channels), 29 (events).
package bridge
