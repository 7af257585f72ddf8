// Package service is the daemon: it builds the graph of buses, handlers and D-Bus objects from a
// configuration, runs it, changes it, and takes it down again. It is the only package that knows
// all the others.
//
// Buses and host interfaces are endpoints. A change at run time starts some of them and ends
// others, one change at a time.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Start: the service opens transports but does not read them, exports all objects, takes all
//     bus names, lets the buses read, notifies systemd, and serves the frame socket. A call that
//     comes after the names were taken and before a bus begins waits.
//     (bus/i2cbus: TestCallWaitsUntilTheBusHasBegun; test/e2e: TestCallAtTheMomentABusComes)
//  2. Stop: the service gives the bus names back, gives calls and requests in progress two seconds,
//     stops the buses, and closes the connections. A message bus that reads no more delays none of
//     these steps.
//     (test/e2e: TestStopLetsRequestsBeAnswered, TestStopWhileTheMessageBusReadsNoMore)
//  3. A bus that cannot be opened is Down, and the service tries again; the other buses run.
//     (bus/i2cbus: TestBusThatCannotBeOpenedIsTriedEverMoreSeldom)
//  4. The service refuses a change as a whole if it finds a fault before it makes the change. The
//     endpoints that stay do not notice a change. (test/e2e: TestBadFileChangesNothing,
//     TestAddOfWhatIsTaken, TestReloadUnderLoad)
//  5. ipmbd pings systemd's watchdog only while every bus, every host interface and its D-Bus
//     connections make progress. (TestWatchdogIsFedWhileEveryPartGoesOn)
//
// handlerFor decides which handler serves a request, after the command filters, the bridge and the
// programs that are registered for the command.
package service
