// Package i2c moves whole frames between a bus and the process: one file per
// transport. It knows nothing of what the frames say.
//
// A frame is the bytes of one I2C write transfer, the 8-bit address of its
// destination first. Length bytes and stripped addresses are a transport's own
// business and never leave it.
//
// # Promises
//
//  1. Open functions touch the system; New functions do not.
//  2. ReadFrames is called from one goroutine at a time, WriteFrame and
//     TryWriteFrame from one, which may be another. Close may be called from any, ends a blocked ReadFrames with
//     ErrClosed, and waits for nothing but a WriteFrame that is in the kernel.
//  3. Frames are delivered in the order in which the bus carried them, as far
//     as the kernel's queue allows.
//  4. An error of a Transport matches, with errors.Is, at most one of
//     ErrNotAcknowledged, ErrArbitrationLost, ErrStuck, ErrTooLong and
//     ErrClosed; where the system said something, it is an *OpError that
//     unwraps to both. io.EOF from ReadFrames means the device has ended.
//
// What a transport can tell beyond Transport, it tells as a Counter, a Warner or
// a Switcher.
//
// # The kernel's devices
//
// A kernel driver serves an address of our own on an adapter: a Binding. Bind
// and Unbind make and delete it, Detect and BindingOf tell what serves a node,
// and a Watch tells when a node comes or goes. A device must be closed before
// it is unbound. When somebody else unbinds it, ReadFrames returns io.EOF: at
// once for a character device, within 2 s for an attribute of sysfs.
//
// Addresses are in the 8-bit form; a 7-bit address is called addr7.
package i2c
