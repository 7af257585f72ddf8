// Package openbmc uses services of OpenBMC that ipmbd does not provide itself: state management
// (System and Power), sensors of other programs (System) and the system event log (EventLog).
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. It starts no service. If a service does not run, the error is ipmi.ErrNotPresent.
//     (TestEventLogThatIsAbsent)
//  2. A service that hangs delays the users of no other: System, EventLog and Power have a
//     connection each, made when it is first needed and again when it was lost.
//     (TestEventLogThatHangsLeavesRoomForOthers)
//  3. An event is written at most once. (TestEventLogThatDiesInTheMiddle)
package openbmc
