// Package host serves the system interfaces of hosts: it reads requests from a Port, calls a
// handler for them, writes the responses, and shows the host whether messages wait.
//
// A Port moves the requests and responses of one medium and knows no commands; each has a file.
// Loop is their common part: one response to each request, in order and in the host's time, even
// if the handler is late. A Kind answers the two commands that ask for the limits of an interface.
//
// A connection from QEMU's ipmi-bmc-extern, for which Listen waits, is a Port that speaks the VM
// protocol. It is also a way to the virtual machine itself: to power it off, reset it and
// interrupt it. KCS, BT and SSIF are Ports at the character devices of the kernel's drivers. A
// host may give a request up and send another one. KCS and SSIF do not number requests, and their
// drivers take every write for the response to the last request: these Ports drop a response to
// an earlier one.
//
// The goroutine that reads a request calls the handler, which does not block. The goroutine in
// which the handler replies writes the response, as far as the Port can do that without a wait;
// the rest is left to a goroutine of the loop. So a request that is answered at once needs no
// change of goroutine, which costs more than most handlers. For the same reason the goroutine
// that reads a machine's socket waits in read(2).
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: each request that the loop queues has one response, at the latest at the deadline of
//     the configuration or the Port: C3h if the handler has none by then. The loop drops and
//     counts requests beyond 16 that wait. A late reply is dropped. (TestLoop,
//     TestLoopOnADeviceAnswersEachRequestOnce, TestLoopOnADeviceDropsLateAnswers,
//     TestLoopHasADeadlineOfItsOwn)
//  2. Order: responses are written in the order of the requests. The loop calls the handler for
//     one request after the other: for the next one when the response to the one before is
//     written. (TestLoopCallsTheHandlerInOrder)
//  3. A response that does not fit the interface becomes CEh. It is never cut off.
//     (TestDeviceRefusesWhatItWouldCutOff, TestKCSRequestThatDoesNotFitIsCounted)
//  4. Nothing that a host sends stops, blocks or crashes a Loop. The Loop reads its Port even
//     while handlers are late. (TestLoopReadsOnBehindASlowHandler,
//     TestGarbageFromAMachineDoesNoHarm)
//  5. The attention that a host is shown before a response is the one after the request was
//     served. (TestLoopShowsTheAttention)
//  6. A host gets only the response to the request that it waits for.
//     (TestLoopOnADeviceOfAHostThatStartsAnew)
//  7. A host that does not read responses delays its own interface only, and for 2 s for each
//     response: a goroutine that brings a response does not wait for the host.
//     (TestMachineThatReadsNothingIsGivenUp, TestMachineThatReadsLate)
//  8. An interface tells its own limits, and carries what it tells. (TestCapabilities,
//     TestCapabilitiesAreKept)
//  9. Only Run starts goroutines; when it has returned, none is left. No lock is held while a
//     Port is used. KCS and SSIF hold a lock of their own, over system calls that do not wait.
//     (TestLoopEndsWhileARequestIsServed, TestEndWhileAMachineReadsNothing)
//
// Sources: OpenIPMI lanserv/README.vm and QEMU hw/ipmi/ipmi_bmc_extern.c for the VM protocol;
// kcs_bmc_cdev_ipmi.c, bt-bmc.c and ssif_bmc.c of Linux's drivers/char/ipmi for the devices.
package host
