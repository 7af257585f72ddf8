// Package ipmb speaks IPMB: the frame codec, and the Engine that tracks every
// request to its one answer on one bus. It uses the standard library, the
// message model of package ipmi and the contract of package i2c, nothing else.
//
// An Engine does not open devices. Run gives it a transport and lasts as long
// as the transport does; sequence numbers, holds and the table of duplicates
// outlive it, so that an answer that is late by one reopening of the device
// still reaches nobody.
//
// # Promises
//
//  1. A call ends exactly once, with an answer or one of the package's errors.
//     Another call's answer is never it, within the bounds below. A call is
//     refused with ErrBusy rather than given a number under which an answer to
//     another call may come, and Request.NoWait changes nothing about that.
//  2. The handler runs once for a request, however often the frame comes. A
//     request that it defers is answered by Respond, once, or C3h in its time.
//  3. Nothing a peer sends stops, blocks or crashes the engine: what is not
//     valid is dropped and counted.
//  4. Frames leave one at a time: answers before requests, but never more than
//     four answers in a row while a request waits; responders take turns.
//  5. Only Run starts goroutines, and SendBy; when it has returned none is left.
//     The end of a context given to Start is waited for by package context.
//  6. Data handed to a call is not kept after it returns; data in a Response
//     belongs to the caller. A Frame that an Observer is shown is valid until
//     the method returns, and so is the Response that a Call of NewCall tells of.
//
// # Numbers
//
// A response is known by its responder, network function, LUNs, command and
// sequence number. Each responder has 64 numbers. When a call has ended, its
// command does not get the number again, as long as an answer may come:
//
//   - The number is held until each transmission that the responder may have
//     received has been answered, at most for 6 s. A write that failed counts,
//     unless i2c.NotDelivered says otherwise. A NACK of which the driver does not
//     tell the byte counts if the responder has acknowledged or answered anything
//     in the last 6 s, so that a scan of absent addresses holds nothing.
//   - Answers that come within 50 ms of each other count as one: the second may be
//     a copy of the first.
//   - After the last answer the number rests for i2c.Limits.CopyTime, 40 ms on I2C,
//     and anew after each copy. That costs nothing while a command has
//     fewer than 50 calls in flight at 100 kHz. A call with NoWait waits for a
//     number that rests, and for no other.
//   - Number 0 is held for the command of a broadcast until 6 s after it. A call
//     that has the number when the broadcast is sent takes no answer any more.
//
// Holds are a command's own: however many calls of one command time out,
// another command has all numbers.
//
// # Bounds
//
// What the protocol does not tell apart is given to another call all the same:
//
//   - a second answer to one transmission, or a copy, more than 40 ms after the
//     one before it. In the model of TestModelBeyondItsBound, at 100 kHz with second
//     answers 50 to 200 ms after the first, one in 19 of these became another
//     call's answer with 8 and with 64 calls of a command in flight, none with 1;
//   - an answer more than 6 s after the end of its call;
//   - an answer to a frame that the driver has proved not to be delivered.
//
// On a transport with i2c.NoCopies, which is a socket, no number rests. A copy
// is told there by its content: an answer that equals one of the last 16 with the
// number, within 100 ms and to a different request, is kept for 250 ms, at most until
// the call would be sent again, and dropped if another answer comes. A command
// whose answers to different requests are alike is believed after 32 of them.
//
// TestModel tries to break promise 1.
//
// Sources: IPMB v1.0, sections 2 to 4; the sequence number expiration of 5 s
// is its table 4-1.
package ipmb
