// Package inside holds the tests that run inside the guest of test/guest: this
// tree's ipmbd on the kernel's own IPMB drivers and on a virtual I2C bus that
// can be slow and faulty. The test program is the guest's init; outside of the
// guest its tests are skipped.
package inside
