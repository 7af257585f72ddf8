// Command bench measures ipmbd, in one run on one machine, and prints a table:
// the frame codec and the engine by themselves; then the whole daemon, by
// D-Bus calls of sendRequest and by requests from a bus, with 1 to 63 of them
// in flight. Those are answered by ipmbd itself, by a handler that is registered
// on D-Bus, by the host IPMI daemon, and by a node on another bus to which they
// are bridged: what the last three cost shows beside the first.
//
// Numbers of a daemon say little without what the machine and D-Bus cost by
// themselves, so each stands beside a floor: a bare service on godbus with the
// same method that does one round trip to the same responder and nothing else.
// Rounds of both alternate, and the ratio is the median of each round's own
// ratio, so that a machine that gets faster or slower while it measures does so
// for both.
//
// All of it is processes of its own on a private message bus:
//
//	bench client ── dbus-daemon ─┬─ ipmbd ──┬─ responder
//	                             ├─ floor ──┘
//	bench peers ──── ipmbd ──────┴─ hostd, once as host daemon, once registered
//
// The client is as lean as it can be: it marshals a call once, keeps the calls
// in flight on one connection, and sends the next ones in one write, so that
// what is measured is not the client. CPU time is what the kernel accounts to a
// process, user and system.
//
// Timings are printed and never judged: the exit status is 0 when everything
// could be measured.
package main
