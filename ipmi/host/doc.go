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
// KCS, BT and SSIF are Ports at the character devices of the kernel's drivers.
// A host may give a request up and make another one. KCS and SSIF do not number
// them, and their drivers take whatever is written for the answer to the last
// one: there the Port keeps back what answers an earlier one.
//
// The goroutine that reads a request calls the handler, which does not block. Whichever
// goroutine brings the answer writes it, as far as the Port can do that without a wait
// (DirectWriter); the rest is left to the loop's own goroutine. So a request that is
// answered at once changes no goroutine. On a machine's socket the goroutine that reads
// waits in read(2): changing over costs more than most handlers.
//
// OpenIPMI is the other side, that of a host: the kernel's IPMI driver, by whose
// device a management controller is asked, and nodes on IPMB behind it.
//
// # Promises
//
//  1. Each request that a Port delivers has one answer, in the order they came,
//     before the Port's deadline: C3h if the handler has none by then. Config may
//     have another deadline and code. A late answer reaches nobody.
//  2. What does not fit the interface is answered CEh, and never cut off.
//  3. Nothing a host sends stops, blocks or crashes a Loop; a Port is read whatever
//     the handlers do. The handler is called for one request after the other: for the
//     next one when the answer to the one before is written.
//  4. The attention that a host is shown before an answer is that after the
//     request was served.
//  5. No host gets the answer to another request than that it waits for.
//  6. A host that reads no answers holds up nothing but its own interface, and
//     that for 2 s each: a goroutine that brings an answer does not wait for the host.
//  7. Only Run starts goroutines; when it has returned none is left. No lock is held over
//     a Port, but for that of KCS and SSIF, over system calls that wait for nothing.
//  8. An OpenIPMI gives an answer to the call that it is for and to no other, and a
//     call's number to no other before the driver has answered. What the driver has
//     is never cut off.
//
// Sources: OpenIPMI lanserv/README.vm and QEMU hw/ipmi/ipmi_bmc_extern.c for the
// VM protocol; kcs_bmc_cdev_ipmi.c, bt-bmc.c and ssif_bmc.c of Linux's
// drivers/char/ipmi for the devices, ipmi_devintf.c and ipmi_msghandler.c for the
// other side.
package host
