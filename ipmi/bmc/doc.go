// Package bmc is the built-in BMC: it says what the controller is and keeps the
// system event log. There is a file for each group of commands, and one table of
// all of them.
//
// # Promises
//
//  1. A record that was acknowledged is in the log until it is cleared, or the
//     process ends: the log lives in memory. A full log takes no more (C4h) and
//     raises the overflow flag; it forgets nothing by itself.
//  2. Unknown commands are C1h, LUNs other than 0 are C2h, wrong lengths C7h.
//
// Source of numbers: IPMI v2.0, sections 20 (device), 31 and 32 (log).
package bmc
