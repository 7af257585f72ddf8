// Package host holds the tests in which virtual machines are the hosts of this
// tree's ipmbd: Debian's kernel in QEMU, whose IPMI drivers and ipmitool find the
// built-in BMC behind each of QEMU's system interfaces, and satellites on a
// simulated bus behind it. Without the virtual machine, which test/guest/x86/build
// makes, they are skipped.
//
// A machine has a shell, to which a test says one command after the other: a case
// is a line of a table.
package host
