// Package i2cbus is a bus on a transport of package i2c: an engine, and the kernel's device below
// it, which can be bound, unbound, moved to another own address, and has switches.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. If a device appears, the bus opens it at once where its path can be watched, and otherwise
//     within 5 s. That includes a device that is made again before the bus has noticed that the
//     first one has gone. A bus whose device has gone is Down, and its requests end.
//     (TestDeviceThatComesIsOpenedAtOnce, TestDeviceThatIsMadeAgainIsOpenedAtOnce,
//     TestBusThatEndsIsDownAndOpenedAgain)
//  2. The state says whether the bus works: Down while a write hangs in the kernel, Degraded
//     while writes fail. A missing acknowledgement or response does not change the state.
//     (TestStalledWriteTakesTheBusDown, TestWritesTellTheState)
//  3. If a change of the device fails, the device is as before, or the error says that it is not.
//     (TestOwnAddressThatCannotChange, TestUnbindThatIsRefusedOpensTheDeviceAgain)
//  4. An engine outlives its bus by [Engines]: the numbers that it holds and the responses that
//     it keeps also hold for a next bus on the path within a minute. (test/e2e:
//     TestLateAnswerOfAChangedBusReachesNobody)
//  5. A bus that follows the address of its device has, while it is open, the own address at which
//     the kernel has the device. (TestOwnAddressFollowsTheDevice)
package i2cbus
