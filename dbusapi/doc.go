// Package dbusapi is the D-Bus side of ipmbd: the objects and signals of the service, and the
// calls of programs that serve IPMI requests on D-Bus.
//
// A Server shows buses and host interfaces, which package service gives it. The methods of all
// its interfaces are one table, from interface and member to functions; the introspection
// documents of package xml are the source of truth, and a test compares the two.
//
// A host interface is on D-Bus twice: among the objects of the service, with its state, and on a
// connection with a bus name of its own, by which the host IPMI daemon distinguishes its requests
// from those of other channels. One host interface may be there a third time, as in
// openbmc/btbridge: see HostIPMI.
//
// Package internal/dbuswire has the connections. The goroutine that reads one hands over each
// method call in order of arrival. The goroutine gives a call that sends to a bus to that bus at
// once; the goroutine that ends the request writes the reply (bus_call.go). A quick call is
// served at once. Reads, and acts, which change something, wait in a line for the goroutines of
// Run (serve.go).
//
// Package dbusapi/client is the other end of this API.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise. Those of dbusapi/client,
// internal/dbuswire and test/e2e are marked.
//
// Order:
//
//  1. The requests and broadcasts of one client go to a bus in the order of its calls, also if it
//     uses several methods, and if the calls wait until the bus has begun. All other calls of a
//     client are served in order, one at a time. Between the two kinds there is no order.
//     (TestCallsOfAClientAreSentInOrder, TestBroadcastsOfAClientAreSentInOrder,
//     TestCallsWaitUntilTheirBusHasBegun, TestOtherCallsOfAClientAreServedInOrder, e2e TestOrder)
//  2. Requests of one interface reach the host daemon, each program with handlers, and the
//     clients that get them by signals, in the order in which they came. Answers reach their
//     requesters in the order of the replies. (TestHostDaemonGetsRequestsInOrder, client
//     TestServedRequestsAreInOrder, TestHostIPMIShowsRequestsInOrder,
//     TestUnansweredRequestsEndInOrder)
//  3. Signals leave in the order in which the service emits them, through a queue of 1024 at
//     most. When it is full, signals are dropped and counted. The emitting goroutine never waits.
//     (TestSignalsLeaveInOrder, TestFullSignalQueueHoldsNobodyUp)
//  4. Subscribers get events in the order in which these happened. While the queue is full, 25
//     events wait; further ones are dropped and counted. (TestManyEventsStayInOrder,
//     TestEventsWaitForRoomInTheQueue)
//
// Once:
//
//  5. Each call that wants a reply gets exactly one; any other gets none.
//     (TestEachCallHasOneReply, TestNoReplyIsNone, e2e TestCallThatWantsNoReplyGetsNone)
//  6. Each request that comes in is answered once. Its owner answers it at the deadline; a reply
//     that comes later is counted and reaches no requester. (TestSecondReplyAnswersNothing,
//     TestHostRequestHasOneAnswer, TestSlowHostDaemonAnswersNobodyElse)
//  7. A call ends when its client leaves the message bus. A broadcast cannot be taken back.
//     (TestCallsEndWhenTheirCallerLeaves, TestCallsToAnEngineEndWithTheirCaller)
//  8. When Close has returned, no call to a bus is in progress, and no other call that may block.
//     (TestCloseEndsCallsAndWaitsForThem, TestCloseEndsCallsThatWaitForTheirBus)
//  9. Registrations and subscriptions of a program end when it leaves the message bus. Another
//     program can then make the same. (TestProgramThatLeavesDuringItsRegistration,
//     TestWhoNoLongerHearsOfEvents)
//
// Memory and shares:
//
//  10. Memory is bounded, whatever clients do. A reply counts as its call until it is being
//     written. At most 128 calls of one program and 2 MiB of all clients wait to be served.
//     Further calls are refused with LimitsExceeded at once, and no program uses more of the 2
//     MiB than is still free. Clients whose program is not known yet have 1 MiB more. Replies to
//     reads are made one after the other, each when the message bus has read most of the one
//     before; calls that wait for the same reply share it. (TestBacklogOfASenderIsBounded,
//     TestBacklogsAreBounded, TestUnknownSendersAreBounded,
//     TestRepliesAreSharedByTheCallsBeforeThem, TestSharedRepliesAreFew, dbuswire
//     TestStreamSkipsWhatIsTooLong, e2e TestMemoryWhileAnybodyReads)
//  11. No goroutine waits for the message bus to read, except the one that serves reads and those
//     of internal/dbuswire that may, and no lock is held over a write. (dbuswire
//     TestNobodyWaitsForAMessageBusThatDoesNotRead)
//  12. No message of a client stops or blocks the server: arguments of a wrong type are an error,
//     malformed signals are counted and dropped, and calls beyond the limits of a client or a bus
//     are refused, at once if the client's program is known. (TestWrongArgumentTypes,
//     TestMalformedSignalsDoNothing, TestLimitOfASender, TestLimitOfABus, TestProgramsShareABus)
//  13. Programs that hang delay neither the handlers of other programs nor the host daemon
//     (call_queue.go). A program has one call of its handlers in progress at first, one more with
//     each reply, up to 16, and one again when a deadline passes without a reply. All programs
//     together have 64, those of a user other than root 32. A program with a call in progress
//     gets another only while fewer than 44 are in progress; a program that hangs gets one only
//     while hung programs have fewer than 24. So 20 programs that hang leave at least 3 places to
//     others. Of the 100 calls to the host daemon, one interface has at most four times as many
//     as are free: 80 if it is alone. (TestPlacesThatHungProgramsTake,
//     TestHangingProgramsLeaveAHealthyOneUnharmed, dbuswire TestSharesOfAConnection)
//  14. Calls, handlers, their commands, subscribers, calls of handlers and waiting calls are
//     limited by program, which is a process, and by user: no program gets more by new
//     connections, no user other than root by new programs, and each leaves at least half to
//     others. A client that is not identified yet has a place if it would have one as part of the
//     program that has most. Otherwise a call to a bus waits until the client is identified, in
//     its order; other calls are served, or refused if they still wait then. A client that
//     registers or subscribes is identified first. (TestSharesOfPrograms,
//     TestCallsOfUnknownSendersWait, TestCallsOfUnknownSendersKeepTheirOrder,
//     TestBacklogOfUnknownSenders, TestRegistrationWaitsForItsSender)
//
// Secrets:
//
//  15. The text of an error tells the client what to do and nothing internal. Errors become names
//     and numbers in one table each. (TestEveryErrorHasItsNameAndStatus,
//     TestFailuresAreErrorsByName)
//  16. Requests that may carry a secret go to programs of root only, and are in no signal, except
//     the one to the program that answers the host's requests. Requests behind one whose receiver
//     is being looked up wait. (TestSecretsAreInNoSignal, TestHostIPMISecretsAreNotForEverybody,
//     TestHostDaemonGetsSecretsInOrder, e2e TestSecretsGoToNobodyBelowRoot)
//
// Only Run, Open and NewHost start goroutines. Those of Open and NewHost belong to connections.
//
// Sources: D-Bus specification 0.42; openbmc/ipmbbridge for org.openbmc.Ipmb,
// openbmc/phosphor-host-ipmid for xyz.openbmc_project.Ipmi.Server, openbmc/kcsbridge for
// xyz.openbmc_project.Ipmi.Channel.SMS, openbmc/btbridge for org.openbmc.HostIpmi.
package dbusapi
