// Package i2cbus is a bus on a transport of package i2c: an engine, and the kernel's device below
// it, which can be bound, unbound, moved to another own address, and has switches.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A device that comes is opened at once where its path can be watched, and else within 5 s. A
//     bus whose device has gone is Down, and its requests end.
//     (TestDeviceThatComesIsOpenedAtOnce, TestBusThatEndsIsDownAndOpenedAgain)
//  2. The state tells what the bus does: Down while a write hangs in the kernel, Degraded while
//     writes fail, whoever answers or does not. (TestStalledWriteTakesTheBusDown,
//     TestWritesTellTheState)
//  3. After a change of the device that fails, the device is as it was, or the error says that it
//     is not. (TestOwnAddressThatCannotChange, TestUnbindThatIsRefusedOpensTheDeviceAgain)
//  4. An engine outlives its bus by [Engines]: what it holds back and remembers also holds for
//     the next bus on the path. (test/e2e: TestLateAnswerOfAChangedBusReachesNobody)
package i2cbus
