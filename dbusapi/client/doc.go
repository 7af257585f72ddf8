// Package client calls ipmbd over D-Bus. It lists buses and host interfaces, sends requests on buses,
// serves requests from nodes and hosts, and hears platform events. It can also watch the messages
// between the buses and D-Bus. ipmbctl is built on it.
//
// Open connects to a message bus; whether ipmbd is there shows at the first call. The methods of a
// Client that answer a question (Send, Bus, Endpoints, AddBus, ...) are one call each. Serve, Events
// and Monitor run until their context ends.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
// Connections:
//
//  1. A Client has one connection, which is not restored. When the message bus ends, calls in progress
//     and all later calls return ErrDisconnected. (TestClientsCallEndsWithTheMessageBus)
//  2. Serve, Events and Monitor each have a connection of their own. When that is lost, they return
//     ErrDisconnected. (TestServingEndsWithTheMessageBus, TestEventsEndWithTheMessageBus,
//     TestMonitorEndsWithTheMessageBus)
//  3. When ipmbd leaves the message bus, Serve and Events wait until an ipmbd is there, and register
//     again. Monitor goes on too. All three report both. (TestServesAgainAfterARestart,
//     TestClientHearsOfEventsAfterARestart, TestMonitorSaysWhenTheServiceStopsAndStarts)
//
// Order:
//
//  4. Serve calls its handler in the order of ipmbd's calls. (TestServedRequestsAreInOrder)
//  5. Events shows platform events in the order in which ipmbd sends them. (TestClientHearsOfEvents)
//  6. Monitor shows messages in the order of the message bus. (TestMonitorShowsARequestAndItsResponse)
//  7. When a consumer is slow, the newest platform events and notices are lost and counted.
//     (TestEventsThatComeTooFastAreCounted, TestMonitorCountsLostMessages)
//
// Goroutines:
//
//  8. The methods of a Client may be called from several goroutines at once. Each call of Serve, Events
//     and Monitor calls the functions it is given one at a time; Serve calls its handler from the
//     goroutine that reads the connection, and tell from its caller's.
//  9. When Serve, Events or Monitor has returned, nothing of it is left, and it calls none of its
//     functions any more. Serve waits for the requests in progress first. (goleak in every test;
//     TestServingEndsWithItsContext)
//
// Errors:
//
//  10. A completion code is a result and no error.
//  11. An error that comes over D-Bus is a *ServiceError, whose text says what to do. Use errors.Is with
//     the variables of this package and with ipmb.ErrTimeout, ErrBusy, ErrInvalid and ErrUnsupported to
//     tell its kind. (TestClientErrorsOfABus, TestClientErrorsOfTheMessageBus)
//  12. A call whose context ends returns the context's error; ipmbd ends the request.
//     (TestClientsCallEndsWithItsContext)
//
// Data in results belong to the caller. Secrets, such as passwords, are left out of notices.
// (TestMonitorKeepsSecrets)
//
// Sources: the documents of package xml; D-Bus specification 0.42.
package client
