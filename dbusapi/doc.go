// Package dbusapi is ipmbd's face on D-Bus: the objects and signals of the
// service, and the handlers of IPMI requests that live on D-Bus.
//
// A Server serves buses, which it knows by the interface Bus only. The methods
// of all its interfaces are one table, from interface and member to a function;
// the introspection documents of package xml are the source of truth, and a
// test compares the two.
//
// A host interface is on D-Bus twice: among the objects of the service with its
// state, and on a connection with a bus name of its own, by which the host IPMI
// daemon tells its requests from those of other channels. One of them may be there
// a third time, as openbmc/btbridge had it: HostIPMI.
//
// Package internal/dbuswire has the connection. Its reading goroutine hands over all method
// calls, and the replies to calls of execute, in order. All messages leave through one outbox,
// which never blocks a sender.
//
// The reading goroutine itself sends a call for a bus to that bus, and the goroutine that
// ends the request writes the reply (bus_call.go). All other calls wait in the backlog of
// their sender (backlog.go).
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise; those of the
// package test/e2e are marked with e2e.
//
// Order:
//
//  1. The requests and broadcasts of one client go to a bus in the order of its
//     calls, whichever methods it uses, also those that wait until the bus has begun. All
//     other calls of a client are served in order, one at a time. Between the two kinds
//     there is no order. (TestCallsOfAClientAreSentInOrder,
//     TestBroadcastsOfAClientAreSentInOrder, TestCallsWaitUntilTheirBusHasBegun,
//     TestOtherCallsOfAClientAreServedInOrder, e2e TestOrder)
//  2. Requests of one interface reach the host daemon, each program with handlers and the
//     clients that are shown them by signals in the order in which they came. Answers reach
//     their requesters in the order in which the replies come.
//     (TestHostDaemonGetsRequestsInOrder, TestServedRequestsAreInOrder,
//     TestHostIPMIShowsRequestsInOrder, TestUnansweredRequestsEndInOrder)
//  3. Signals leave in the order in which they were given, through a bounded
//     queue; when it is full they are dropped and counted. The goroutine that gives
//     them never waits. (TestSignalsLeaveInOrder, TestFullSignalQueueHoldsNobodyUp)
//  4. Subscribers hear of events in the order in which these happened. Events for which
//     the queue has no room wait, 25 at most; what comes then is dropped and counted.
//     (TestManyEventsStayInOrder, TestEventsWaitForRoomInTheQueue)
//
// Once:
//
//  5. A call has exactly one reply. A call that wants none has none of any kind.
//     (TestEachCallHasOneReply, TestNoReplyIsNone)
//  6. Each request that comes in is answered once. The owner of a request answers it when
//     its deadline has passed; a reply that comes after that is counted and reaches nobody.
//     (TestSecondReplyAnswersNothing, TestHostRequestHasOneAnswer,
//     TestSlowHostDaemonAnswersNobodyElse)
//  7. A call ends when its caller leaves the message bus. A broadcast cannot be taken back.
//     (TestCallsEndWhenTheirCallerLeaves, TestCallsToAnEngineEndWithTheirCaller)
//  8. When Close has returned, no call is in progress.
//     (TestCloseEndsCallsAndWaitsForThem, TestCloseEndsCallsThatWaitForTheirBus)
//  9. Registrations and subscriptions of a program end when it leaves the message
//     bus. A program that asks for the same after that gets it.
//     (TestProgramThatLeavesDuringItsRegistration, TestWhoNoLongerHearsOfEvents)
//
// Memory and shares:
//
//  10. Memory is bounded, whatever clients do. A reply counts as its call until it is being
//     written. At most 128 calls of one program and 2 MiB of all senders wait to be
//     served; beyond that a call is refused with LimitsExceeded at once, and no program
//     takes more than it leaves. Calls of senders whose program is not known yet have
//     1 MiB more. Replies to reads are made one after the other, each when the message
//     bus has read most of the one before. Calls that wait for the same reply share it. While 1 MiB waits for the message bus no call is read. Calls of more
//     than 256 KiB are refused unread, and such signals are dropped.
//     (TestBacklogOfASenderIsBounded, TestBacklogsAreBounded, TestUnknownSendersAreBounded,
//     TestRepliesAreSharedByTheCallsBeforeThem, TestSharedRepliesAreFew,
//     dbuswire TestStreamSkipsWhatIsTooLong, e2e TestMemoryWhileAnybodyReads)
//  11. No goroutine waits for the message bus to take a message, and no lock is held
//     over a write. Messages leave whole, and those that one goroutine sends in order.
//     (dbuswire TestMessagesLeaveWholeAndInOrder,
//     dbuswire TestNobodyWaitsForAMessageBusThatDoesNotRead)
//  12. Nothing that a client sends stops or blocks the server: arguments of a
//     wrong type are an error, malformed signals are counted and dropped, and
//     calls beyond the limits of a sender or a bus are refused, at once if it is known which program the sender is of.
//     (TestWrongArgumentTypes, TestMalformedSignalsDoNothing, TestLimitOfASender,
//     TestLimitOfABus, TestProgramsShareABus)
//  13. Programs that hang keep neither other programs' handlers from being called nor the
//     host daemon. A program, with all its connections, has one call of its handlers in progress
//     at first, one more
//     with each answer, up to 16, and one again when a deadline passes without a reply. All
//     have 64, those of a user other than root 32; a program that has a call gets another
//     only while they have fewer than 44,
//     and one that hangs only while those that hang have fewer than 24. So 20 programs that
//     hang take at most 61 places, however they came to hang, and 20 that never answered
//     take 24: another program is called, one call at a time in the first case. Of the 100
//     calls to the host daemon, one interface has at most four times as many as are free.
//     (TestPlacesThatHungProgramsTake, TestHangingProgramsLeaveAHealthyOneUnharmed,
//     dbuswire TestSharesOfAConnection)
//  14. Calls, handlers, their commands, subscribers, calls of handlers and what waits are
//     limited by program, which is a process, and by user: no program gets more by new
//     connections, no user other than root by new programs, and each leaves at least half
//     to others. A call of a sender that is not identified yet has a place if it would have
//     one as a call of the program that has most. Otherwise a call to a bus waits until the
//     sender is identified, in its order; other calls are served, or refused if they still
//     wait then. A sender that registers or subscribes is identified first.
//     (TestSharesOfPrograms, TestCallsOfUnknownSendersWait,
//     TestCallsOfUnknownSendersKeepTheirOrder, TestBacklogOfUnknownSenders, TestRegistrationWaitsForItsSender)
//
// Secrets:
//
//  15. The text of an error tells the caller what to do and nothing of our
//     inside; errors become names and numbers in one table each.
//     (TestEveryErrorHasItsNameAndStatus, TestFailuresAreErrorsByName)
//  16. Commands that carry secrets are in no signal but one to the program that
//     answers the host's requests. (TestSecretsAreInNoSignal,
//     TestHostIPMISecretsAreNotForEverybody)
//
// Sources: D-Bus specification 0.42; org.openbmc.Ipmb is as openbmc/ipmbbridge
// serves it, xyz.openbmc_project.Ipmi.Server as openbmc/phosphor-host-ipmid,
// xyz.openbmc_project.Ipmi.Channel.SMS as openbmc/kcsbridge, org.openbmc.HostIpmi
// as openbmc/btbridge.
package dbusapi
