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
//  1. Start: transports are opened but not read, all objects are exported, all bus names are
//     taken, the buses begin to read, systemd is told, and the frame socket is served. A call
//     that comes between the taking of the names and the beginning of a bus waits. (bus/i2cbus:
//     TestCallWaitsUntilTheBusHasBegun; test/e2e: TestCallAtTheMomentABusComes)
//  2. Stop: the bus names are given back, calls and requests in progress have two seconds to end,
//     the buses stop, and the connections close. A message bus that reads no more delays none of
//     it. (test/e2e: TestStopLetsRequestsBeAnswered, TestStopWhileTheMessageBusReadsNoMore)
//  3. A bus that cannot be opened is Down and tried again; the others run. (bus/i2cbus:
//     TestBusThatCannotBeOpenedIsTriedEverMoreSeldom)
//  4. A change whose faults can be found before it is made is refused as a whole. The endpoints
//     that stay do not notice a change. (test/e2e: TestBadFileChangesNothing,
//     TestAddOfWhatIsTaken, TestReloadUnderLoad)
//  5. ipmbd pings systemd's watchdog only while every bus, every host interface and its D-Bus
//     connections make progress. (TestWatchdogIsFedWhileEveryPartGoesOn)
//  6. Without a configuration file, each IPMB device that is there at the start is a bus before the
//     bus names are taken, and each one that comes later is a bus soon after.
//     (TestEachDeviceIsServedWithoutAFile; test/systemd: TestNoConfiguration,
//     TestCallWithoutAConfiguration)
//  7. A start that waits says for what, after a second.
//     (TestStartSaysThatTheMessageBusDoesNotAnswer)
//
// handlerFor decides which handler serves the requests that the command filters, the bridge and
// the registered programs leave over.
package service
