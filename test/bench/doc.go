// Command bench measures ipmbd, in one run on one machine, and prints tables: the
// benchmarks of its packages; requests of a virtual machine; and by D-Bus calls of
// sendRequest, packets on the frame socket and requests from a bus, with 1 to 63 of
// them in flight. Requests from a bus are answered by ipmbd itself, by a handler that is
// registered on D-Bus, by the host IPMI daemon, and by a node on another bus to which
// they are bridged. The last table has the results beside the goals.
//
// # Floors
//
// Numbers of a daemon say little without what the machine and D-Bus cost by
// themselves, so each stands beside a floor, which has no retries, no time-outs, no
// limits, no log and no table of duplicates:
//
//   - floor: a service on godbus that has org.openbmc.Ipmb.sendRequest and does one
//     round trip to the same responder.
//   - C echo: the same in C on sd-bus, in one thread, without a look at the caller's
//     credentials. Up to 64 calls wait for their answers.
//   - C bridge: in C on sd-bus, in one thread. It hands each frame of a bus to execute
//     of the host IPMI daemon, without waiting for others, and writes the replies back.
//
// The C programs are in the folder floor, and bench compiles them. The host IPMI
// daemon is one of them: as cheap as sd-bus makes it, and the same for ipmbd and the C
// bridge.
//
// Rounds of all rows of a table alternate, and a ratio is the median of each round's
// own ratio, so that a machine that gets faster or slower while it measures does so
// for all.
//
// # Order
//
// The far end of a bus, and the host daemon of bench, put a number into each answer:
// how many requests came before. The column disorder has two sums over all rounds.
// The first is the pairs of requests, one sent right after the other by one client to
// one bus, or by one peer, that arrived at the far end the other way round. The second
// is the answers that came after the answer to a request that had arrived later; the
// far end answers at once and in order. ipmbd itself does not number its answers: for
// it the order of the requests is taken for that of the arrivals.
//
// # One processor, many buses, slow wires
//
// The main rows are measured again with GOMAXPROCS=1, which leaves ipmbd its second
// processor for system calls that block; with ipmbd kept on one processor; and on
// dbus-broker (-broker), for which bench is the controller that systemd's launcher is
// elsewhere. Another ipmbd has 16 buses: with a client and 63 calls in flight on each,
// and with a peer on each whose requests go to the host daemon. 6 in flight on each
// are fewer than the 100 calls that ipmbd has in progress at the host daemon; 63 are
// more, and those beyond are answered C0h (busy): they are not in the requests per
// second, but in the times. A busy peer asks again at once here, as no real one
// would. "slowest" is the requests of the bus that was served least, by the mean.
//
// A write to a driver returns when the frame has been sent, about 2 ms later, and the
// thread is in the kernel meanwhile. To have that on a socket, bench holds the writes
// of ipmbd on 15 of 16 buses by seccomp_unotify(2): it knows them by their length.
//
// Idle wake-ups are voluntary context switches of all threads, counted for 20 s in
// which nothing happens.
//
// # Virtual machines
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
// emulated processor asks both in turns. The program that asks there is bench, too.
//
// # Processes
//
// All of it is processes of its own on private message buses:
//
//	bench client ── message bus ─┬─ ipmbd ──────────┬─ responder
//	                             ├─ floor, C echo ──┘
//	bench peers ─┬── ipmbd ──────┼─ host, once as host daemon, once registered
//	             └── C bridge ───┘
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
// A whole run takes about ten minutes; -run measures some of its parts. Other load on
// the machine favours the program with more threads: then ratios say little, too.
//
// Timings are printed and never judged: the exit status is 0 when everything
// could be measured.
package main
