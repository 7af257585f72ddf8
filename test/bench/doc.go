// Command bench measures ipmbd, in one run on one machine, and prints a table:
// the frame codec and the engine by themselves; the whole daemon, by requests of
// a virtual machine; and by D-Bus calls of sendRequest, packets on the frame
// socket and requests from a bus, with 1 to 63 of them in flight. The latter are
// answered by ipmbd itself, by a handler that is registered on D-Bus, by the host
// IPMI daemon, and by a node on another bus to which they are bridged: what the
// last three cost shows beside the first.
//
// Numbers of a daemon say little without what the machine and D-Bus cost by
// themselves, so each stands beside a floor: a bare service on godbus with the
// same method that does one round trip to the same responder and nothing else.
// Rounds of both alternate, and the ratio is the median of each round's own
// ratio, so that a machine that gets faster or slower while it measures does so
// for both.
//
// For a virtual machine the measure is ipmi_sim of OpenIPMI, if it is installed:
// one client, which speaks the VM protocol as QEMU's ipmi-bmc-extern does and has
// one request outstanding, asks both in turns. Both are on one and the same
// processor, since where the scheduler puts two processes matters more there than
// what they do; the client is once on that one and once on another. ipmi_sim has
// no Unix sockets, so the comparison is over TCP.
//
// The same two are asked from within a virtual machine, where there is QEMU and the
// folder of one (-guest): through /dev/ipmi of Linux, on KCS and on BT. A guest has
// two interfaces of one kind, with one of the services behind each, so that one
// emulated processor asks both in turns. Who asks there is this program again.
//
// All of it is processes of its own on a private message bus:
//
//	bench client ── dbus-daemon ─┬─ ipmbd ──┬─ responder
//	                             ├─ floor ──┘
//	bench peers ──── ipmbd ──────┴─ hostd, once as host daemon, once registered
//
//	bench frame client ── ipmbd ── responder
//
//	bench machines ─┬─ ipmbd
//	                └─ ipmi_sim
//
//	bench driver in Linux in QEMU ─┬─ ipmbd
//	                               └─ ipmi_sim
//
// The client is as lean as it can be: it marshals a call once, keeps the calls
// in flight on one connection, and sends the next ones in one write, so that
// what is measured is not the client. CPU time is what the kernel accounts to a
// process, user and system.
//
// Timings are printed and never judged: the exit status is 0 when everything
// could be measured.
package main
