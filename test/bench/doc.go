// Command bench measures ipmbd, in one run on one machine, and prints tables: the benchmarks of
// its packages; requests of a virtual machine; and D-Bus calls of sendRequest, packets on the
// frame socket and requests from a bus, with 1 to 63 of them in flight. Requests from a bus are
// answered by ipmbd itself, a handler that is registered on D-Bus, the host IPMI daemon or,
// bridged, a node on another bus. The last table has the results beside the goals.
//
// # Floors
//
// The costs of the machine and of D-Bus are in each number of a daemon, so each stands beside the
// number of a floor. Floors have no retries, time-outs, limits, log or table of duplicates. Those
// in C are in the folder floor, use sd-bus, have one thread, and are compiled by bench:
//
//   - floor: a service on godbus that has org.openbmc.Ipmb.sendRequest and does one
//     round trip to the same responder.
//   - C echo: the same in C, without a look at the caller's credentials. Up to 64 calls
//     wait for their responses.
//   - C bridge: it hands each frame of a bus to execute of the host IPMI daemon, without
//     waiting for others, and writes the responses back.
//
// The host IPMI daemon is a program in C, too: as cheap as sd-bus makes it, and the same for
// ipmbd and the C bridge.
//
// Rounds of all rows of a table alternate, and a ratio is the median of each round's own ratio, so
// that a machine that gets faster or slower does so for all rows.
//
// # Order
//
// The responder and the host daemon of bench put a number into each response: how many requests
// came before. The column disorder has two sums over all rounds. The first counts the pairs of
// requests, sent one right after the other on one link, that arrived the other way round. The
// second counts the responses that came after the response to a request that had arrived later.
// ipmbd itself does not number its responses: for it the order of the requests is taken for
// that of the arrivals.
//
// # One processor, many buses, slow wires
//
// The main rows are measured again with GOMAXPROCS=1, which leaves ipmbd its second processor for
// system calls that block; with ipmbd kept on one processor; and on dbus-broker (-broker), for
// which bench is the controller. Another ipmbd has 16 buses: with a client and 63 calls in flight
// on each, and with a peer on each whose requests go to the host daemon. ipmbd has 100 calls in
// progress at the host daemon: 6 in flight on each bus are fewer; of 63 it refuses most with C0h
// (busy). The refused requests do not count in the requests per second, but in the times. A busy
// peer asks again at once here, which no real one does. "slowest" is the mean rate of the bus that
// was served least.
// With -before another build of ipmbd takes part, on a message bus of its own: the main rows of
// both are measured in turns, and each has the ratio of the two.
//
// A write to a driver returns when the frame has been sent, about 2 ms later, and the thread is in
// the kernel meanwhile. To imitate that on a socket, bench delays the writes of ipmbd on 15 of 16
// buses with seccomp_unotify(2), which recognizes them by their length.
//
// Idle wake-ups are voluntary context switches of all threads, counted for 20 s in
// which nothing happens.
//
// # Virtual machines
//
// For a virtual machine the measure is ipmi_sim of OpenIPMI, if it is installed: one client, which
// speaks the VM protocol as QEMU's ipmi-bmc-extern does, asks both in turns, over TCP since
// ipmi_sim has no Unix sockets. Both are on one processor, because the processor of a process
// matters more than its work; the client is on that one, and then on another.
//
// The same two are asked from within a virtual machine, if QEMU and the folder of a guest are
// there (-guest): through /dev/ipmi of Linux, on KCS and on BT. A guest has two interfaces of one
// kind, with one of the services behind each, so that one emulated processor asks both in turns.
// The program in the guest is bench, too.
//
// # Processes
//
// All parts are processes on private message buses:
//
//	bench client ── message bus ─┬─ ipmbd ──────────┬─ responder
//	                             ├─ floor, C echo ──┘
//	bench peers ─┬── ipmbd ──────┼─ host, once as host daemon, once registered
//	             └── C bridge ───┘
//
// The client is lean, so that its own time stays small: it marshals a call once, keeps the calls
// in flight on one connection, and sends the next ones in one write. CPU time is the time that the
// kernel accounts to a process, user and system.
//
// A whole run takes about ten minutes; -run measures some of its parts. Other load on
// the machine favours the program with more threads: then ratios say little, too. Timings are
// printed and never judged: the exit status is 0 when everything could be measured.
package main
