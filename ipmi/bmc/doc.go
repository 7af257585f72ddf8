// Package bmc is the built-in BMC: it says what the controller is, keeps the
// system event log, and has sensors, their data records and FRU inventory
// devices. There is a file for each group of commands, and one table of all of
// them.
//
// # Promises
//
//  1. A record that was acknowledged is in the log until it is cleared or
//     deleted. With a folder it is on the disk before it is acknowledged; without
//     one the log ends with the process. A full log takes no more (C4h) and raises
//     the overflow flag; it forgets nothing by itself.
//  2. Unknown commands are C1h, LUNs other than 0 are C2h, wrong lengths C7h.
//  3. What was written to a FRU inventory device is kept as the log is, and then
//     stands for what the configuration says.
//  4. A damaged file of the store is moved aside and told of, and what can be
//     used of it is used; it neither stops nor blocks the controller.
//
// Source of numbers: IPMI v2.0, sections 20 (device), 31 and 32 (log), 33 and 43
// (SDR), 34 (FRU), 35 and 36 (sensors).
package bmc
