// Package host serves the system interfaces of hosts: it takes requests from a
// Port, has a handler answer them, and shows the host when messages wait.
//
// A Port moves requests and responses of one medium and knows no commands; there
// is a file for each. Loop is what they have in common: one answer for each
// request, in order and in the host's time, whatever the handler does.
//
// The VM protocol is a Port on each connection of QEMU's ipmi-bmc-extern, which
// Listen waits for. It is also a way to the virtual machine itself: to power it
// off, reset it and interrupt it.
//
// # Promises
//
//  1. Each request that a Port delivers has one answer, in the order they came,
//     before the Port's deadline: C3h if the handler has none by then. A late
//     answer reaches nobody.
//  2. What does not fit the interface is answered CEh, and never cut off.
//  3. Nothing a host sends stops, blocks or crashes a Loop; a Port is read
//     whatever the handlers do.
//  4. The attention that a host is shown before an answer is that after the
//     request was served.
//  5. Only Run starts goroutines; when it has returned none is left.
//
// Sources: OpenIPMI lanserv/README.vm and QEMU hw/ipmi/ipmi_bmc_extern.c for the
// VM protocol.
package host
