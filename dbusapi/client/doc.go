// Package client calls ipmbd over D-Bus. It lists buses and host interfaces, sends requests on
// buses, serves requests from nodes and hosts, receives platform events, and watches the messages
// between the buses and D-Bus. ipmbctl is built on it.
//
// Open connects to a message bus; whether ipmbd is there shows at the first call. Serve, Events
// and Monitor run until their context ends. Every other method is one call, or a few.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A Client has one connection, which is not restored. When the message bus ends, calls in
//     progress and later ones return ErrDisconnected. (TestClientsCallEndsWithTheMessageBus)
//  2. Serve, Events and Monitor each have a connection of their own, and return ErrDisconnected
//     when it is lost. Monitor sends no replies: no program's call makes the message bus end it.
//     (TestServingEndsWithTheMessageBus, TestEventsEndWithTheMessageBus,
//     TestMonitorEndsWithTheMessageBus, TestMonitorRepliesToNoCall)
//  3. When ipmbd leaves the message bus, Serve and Events wait until an ipmbd is there and
//     register again; Monitor goes on. Each reports both as a Notice.
//     (TestServesAgainAfterARestart, TestClientHearsOfEventsAfterARestart,
//     TestMonitorSaysWhenTheServiceStopsAndStarts)
//  4. Requests, platform events and messages arrive in the order in which ipmbd or the message
//     bus sends them. (TestServedRequestsAreInOrder, TestClientHearsOfEvents,
//     TestMonitorShowsARequestAndItsResponse)
//  5. While a consumer is slow, the newest platform events and messages are lost, and counted.
//     (TestEventsThatComeTooFastAreCounted, TestMonitorCountsLostMessages)
//  6. The methods of a Client may be called from several goroutines at once. One call of Serve,
//     Events or Monitor calls its functions one at a time, from its caller's goroutine.
//  7. When Serve, Events or Monitor has returned, nothing of it is left. Serve first waits for
//     the requests in progress. (TestServingEndsWithItsContext; goleak in all tests)
//  8. A completion code is a result and no error. An error that comes over D-Bus is a
//     *ServiceError with a text that says what to do. errors.Is tells its kind.
//     (TestClientsCompletionCodeIsAResult, TestClientErrorsOfABus,
//     TestClientErrorsOfTheMessageBus)
//  9. A call returns the error of its context when that ends; ipmbd ends the request.
//     (TestClientsCallEndsWithItsContext)
//  10. A message bus, or an ipmbd, that does not answer is told within 3 s: ErrBusSilent, ErrSilent
//     or ErrNotStarted. A call whose request waits for a responder goes on.
//     (cmd/ipmbctl: TestEachCommandSaysWhatDoesNotAnswer; TestCallGoesOnWhileIpmbdAnswers)
//  11. Data in results belong to the caller. Secrets, such as passwords, are in no Notice.
//     (TestMonitorKeepsSecrets)
//
// Sources: the documents of package xml; D-Bus specification 0.42.
package client
