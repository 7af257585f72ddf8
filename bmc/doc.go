// Package bmc is the built-in BMC: it says what the controller is, keeps the
// system event log, has sensors, their data records and FRU inventory devices,
// guards hosts with watchdogs, acts on their chassis, and keeps settings, users
// and LAN parameters. There is a file for each group of commands with a table of
// them, and one index of all.
//
// It serves no sessions and no LAN, and moves no messages between channels: global
// enables, message flags, event buffer and channel info are package bridge's.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A record that was acknowledged is in the log until it is cleared or
//     deleted. With a folder it is on the disk before it is acknowledged; without
//     one the log ends with the process. A full log takes no more (C4h) and raises
//     the overflow flag; it forgets nothing by itself.
//     When nothing more can be kept, the log of ipmbd says so once, and the self test
//     fails. (TestKilledWriter, TestPowerLoss, TestLogOnBrokenStore, TestLogOnFullDisk)
//  2. Unknown commands are C1h, LUNs other than 0 are C2h, wrong lengths C7h, wrong
//     data CCh, what there is no way to do D5h: nothing is done in silence.
//     (TestUnknownCommands, TestWhatIsNotServed, TestWrongData)
//  3. Settings keep the values of a request before it is acknowledged. Watchdogs, ACPI
//     states, identify, set in progress and what sensors are set to are not kept: they end
//     with the process, and sensors begin with what their records say.
//     Power-on hours are kept each hour. Passwords are kept as salted hashes only. Data
//     written to a FRU inventory device are kept as the log is, and then replace those of
//     the configuration, but for the size; if that hides a change of the configuration,
//     the log of ipmbd says so. (TestKilledWriter, TestSettings, TestUsers, TestFRUCommands)
//  4. Watchdogs belong to an interface, everything else that is a host's to the
//     number of the host. Watchdogs expire while Run runs. A watchdog acts in time,
//     whatever its pre-timeout and the log do. A cold reset is that of the sensors and of
//     what belongs to the host; the process goes on. (TestWatchdog, TestPreTimeout)
//  5. Order: requests of one interface are acted on in the order in which they came. A
//     command that only reads or changes memory is answered before ServeIPMI returns; the
//     table of commands says which ones wait for more. These are served in a goroutine of
//     an ipmi.Blocking, one for each interface, and later requests of the interface wait
//     behind each of them, at most until its deadline. Only the next power action waits
//     behind a power action. Close waits for all of them. (TestRequestsKeepTheirOrder,
//     TestRecordsKeepTheirOrder, TestAtOnceIsAtOnce)
//  6. A damaged file of the journal is set aside and reported, and all commits in it that are
//     whole are used; it neither stops nor blocks the controller. (TestDamagedJournal,
//     TestDamagedJournalsAreKept, TestFailingDisk)
//
// Source of numbers: IPMI v2.0, sections 20 (device), 22 (messaging, users), 23
// (LAN), 24 (payloads), 27 (watchdog), 28 (chassis), 30 (filters of events), 31 and 32
// (log), 33 and 43 (SDR), 34 (FRU), 35 and 36 (sensors), 42 (sensor types).
package bmc
