// Package bmc is the built-in BMC. It identifies the controller, keeps the system event log,
// sensors and their records, FRU inventory devices, settings, users and LAN parameters, guards
// hosts with watchdogs, and acts on their chassis. Commands of one group are in one or a few
// files, with their table; bmc.go joins the tables.
//
// It serves no sessions and no LAN, and moves no messages between channels: package bridge serves
// global enables, message flags, the event buffer and Get Channel Info. docs/bmc.md lists what
// else the standard asks for and is not done.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. An acknowledged record is in the log until it is cleared or deleted. With a folder it is on
//     the disk before it is acknowledged, unless the disk is lost (8); without one the log ends
//     with the process. A full log refuses records (C4h) and raises the overflow flag, and so does
//     a full disk; the log never drops records by itself. (TestKilledWriter, TestPowerLoss,
//     TestLogOnFullDisk)
//  2. The BMC refuses unknown commands with C1h, LUNs other than 0 with C2h, wrong lengths with
//     C7h, wrong data with CCh, and what the machine cannot do with D5h. Wrong data are reserved
//     bits and values, and parameters that contradict each other. It ignores nothing in silence.
//     (TestUnknownCommands, TestWhatIsNotServed, TestWrongData, TestReservedBitsAndValues,
//     TestContradictions)
//  3. Settings have the values of a request before it is acknowledged. Watchdogs, ACPI states,
//     identify, set in progress, the texts of the operating system and the settings of sensors end
//     with the process; sensors begin with the values of their records. Power-on hours are stored
//     each hour, passwords as salted hashes only. Data that are written to a FRU inventory device
//     are stored as the log is. They replace the data of the configuration, but the size stays; if
//     they hide a change of the configuration, the log of ipmbd says so. A write that was refused,
//     of any value, is neither read nor stored later, nor found after a restart. (TestKilledWriter,
//     TestSettings, TestUsers, TestFRUCommands, TestRefusedWritesLeaveNothing)
//  4. A watchdog belongs to an interface, all other state of a host to the number of the host.
//     Watchdogs expire while Run runs. A watchdog acts in time, even if its pre-timeout or the
//     log is slow. A cold reset resets the sensors and the state of the host that sent it, its boot
//     options included; the process goes on. A reset of a host ends what its software has begun.
//     docs/bmc.md has a table of all values. (TestWatchdog, TestPreTimeout, TestWhatEndsValues,
//     TestSectionsOfTheWatchdog)
//  5. Requests of one interface are acted on in the order in which they came. A command that only
//     reads or changes memory is answered before ServeIPMI returns; the table of commands says
//     which commands wait for the disk or the machine. An ipmi.Blocking serves these in a
//     goroutine for each interface. Later requests of the interface wait behind each of them, at
//     most until its deadline. An action of the machine delays other actions of it, and no other
//     command. A test of a password delays no command: an interface has one test at a time, and
//     none for a second after one that has failed; other tests are answered C0h. One password is
//     computed at a time. Close waits for all of them. (TestPasswordTests,
//     TestRequestsKeepTheirOrder, TestRecordsKeepTheirOrder, TestAtOnceIsAtOnce)
//  6. A damaged file of the journal is set aside and reported, and all commits in it that are
//     whole are used; it neither stops nor blocks the controller. (TestDamagedJournal,
//     TestDamagedJournalsAreKept)
//  7. No request waits for a sensor: it gets the value that PollSensors has read last. A file that
//     does not return its value within 2 s, or has more than 4096 bytes, makes its sensor
//     unavailable. Neither other sensors nor the end of the process wait for it.
//     (TestSensorFromFile, TestSensorFileThatHangs)
//  8. A folder that cannot be used, from the start or later, whatever the error, or a disk that
//     does not answer for 2 s, is lost: the BMC keeps its state in memory, and acknowledges that.
//     It says so once, its self test fails (57h, with the bits of the SEL and of FRU device 0), and
//     Run tries the folder again each minute. When that succeeds, everything is on the disk. What
//     was on the disk is read at the start if that is possible, and otherwise joined to the state
//     in memory. Only a path that can never be a folder is an error of Open.
//     (TestDiskIsLostAtTheStart, TestDiskIsLostLater, TestEndWithALostDisk, TestMergedLogs)
//
// Only Run, an ipmi.Blocking, PollSensors and the journal start goroutines. Those of PollSensors
// and of the journal make one call of the system each, and outlive it if the call hangs.
//
// Source of numbers: IPMI v2.0, sections 20 (device), 22 (messaging, users), 23 (LAN), 24
// (payloads), 27 (watchdog), 28 (chassis), 30 (filters of events), 31 and 32 (log), 33 and 43
// (SDR), 34 (FRU), 35 and 36 (sensors), 42 (sensor types).
package bmc
