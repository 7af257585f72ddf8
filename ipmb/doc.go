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
//     Another call's answer is never it: a number whose answer may still come
//     is held for 6 s. A copy of an answer that has come is told from the next
//     one's for 10 ms, or while 16 other numbers are used.
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
// Sources: IPMB v1.0, sections 2 to 4; the sequence number expiration of 5 s
// is its table 4-1.
package ipmb
