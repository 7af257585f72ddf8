// Package i2c moves whole frames between a bus and the process, with one file for each transport.
// It knows nothing of their contents.
//
// A frame is the bytes of one I2C write transfer, the 8-bit address of its destination first.
// Length bytes and stripped addresses never leave a transport.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Open functions touch the system; New functions do not.
//  2. ReadFrames may be called from one goroutine at a time, and WriteFrame and TryWriteFrame
//     from one at a time, which may be another. Close may be called from any. It ends a blocked
//     ReadFrames with ErrClosed, and waits for nothing but a WriteFrame that is in the kernel.
//     (TestDeviceCloseWaitsForTheWrite, TestSeqpacketCloseEndsABlockedWrite)
//  3. Frames are delivered in the order in which the bus carried them, as far as the kernel's
//     queue allows. (TestDevicePutsAStackInOrder)
//  4. An error of a Transport matches, with errors.Is, at most one of ErrNotAcknowledged,
//     ErrArbitrationLost, ErrStuck, ErrTooLong and ErrClosed. If the system returned an error, it
//     is an *OpError that unwraps to both. io.EOF from ReadFrames means that the device has
//     ended. (TestDeviceReadErrors, TestDeviceWriteErrors, TestSeqpacketErrnos)
//  5. An error of WriteFrame for which NotDelivered is true proves that no node has the frame.
//     Every other error leaves that open. (TestTransferErrorByPlace)
//
// A Transport may also implement DirectWriter, Counter, Warner or Switcher.
//
// # The meaning of a failed write
//
// Lost arbitration (EAGAIN), a NACK of the address byte, a frame that is too long and a transport
// that is closed prove that the frame was not delivered. A NACK of the last byte, a time-out and
// any other failure do not. These facts are known of a NACK:
//
//   - ipmb-dev, ipmb-device and slave-mqueue return the errno of the I2C adapter. The adapters of
//     Aspeed (i2c-aspeed.c) and on GPIO lines (i2c-gpio.c) return ENXIO for the address byte
//     alone, and EIO for a later one, which is ErrStuck. Many other adapters return ENXIO or
//     EREMOTEIO for both: their NACK is ErrNotAcknowledged, and proves nothing.
//   - ipmb-device with the switch IgnoreNACK reports no NACK at all.
//   - A socket has no NACK. The simulated bus of i2c/sim has a NACK of the address byte only.
//
// # The kernel's devices
//
// A Binding is a kernel driver that serves one of our addresses on an adapter. Bind and Unbind
// make and delete it, Detect and BindingOf tell which driver serves a node, and a Watch tells
// when a node comes or goes. A device must be closed before it is unbound. When another program
// unbinds it, ReadFrames returns io.EOF: at once for a character device, within 2 s for an
// attribute of sysfs.
//
// Addresses are in the 8-bit form; a 7-bit address is called addr7.
package i2c
