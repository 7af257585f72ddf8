// Package openbmc uses services of OpenBMC that ipmbd does not provide itself: state management
// (System and Power), sensors of other programs (System) and the system event log (EventLog).
//
//  1. It starts none of them. That a service does not run is ipmi.ErrNotPresent.
//  2. One that hangs holds up no user of another: System, EventLog and Power have a connection
//     each, made when it is first needed and anew when it was lost.
//  3. An event is written at most once.
package openbmc
