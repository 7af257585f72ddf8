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
//  2. A request with an effect runs once, however often its frame comes: see
//     Repeats. A request that its handler defers is answered by Respond, once, or
//     C3h in its time.
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
// # Repeats
//
// A requester whose answer was lost sends the same frame again. A new request can
// be the same frame too, and its sequence number does not tell the two apart: of
// several calls in flight, a number that comes out of its turn is a repeat, or new
// after the answer to an older one was lost. The command tells (ipmi.Effect):
//
//   - A command that changes nothing, or is harmless twice, is served anew each time,
//     so that its answer is never old. A repeat of one that is still in a handler, or
//     whose answer still waits for the bus, is dropped: that answer is for it too.
//   - A command with an effect is a repeat when its frame is equal to the last one
//     with its number, LUNs and command, from its arrival until 5 s after its answer,
//     whatever came between. It gets the same answer again.
//   - A command of which this is not known (OEM, groups, what takes something out of
//     a queue) is a repeat in the same time, unless the requester has used the number
//     for another request since, or seems to use it in its turn, or not to have waited
//     as long as it waits before it repeats.
//
// An answer that could not be written is given again, whatever the command. A repeat
// that comes while its answer is being written gets it once more after it. A requester
// that repeats every 2 s may go on for five repeats: each that comes when it is due is
// one, though the 5 s are over.
//
// For the first two kinds there is no error: 200,000 requests of each requester of
// TestRepeatsRunOnce, with 1 % and with 5 % of the answers lost, ran no effect twice,
// missed none and gave no old read. For the third kind some remain, here of 100,000
// equal reads and 100,000 distinct effects (TestRepeatsOfUnknownEffect):
//
//	requester, answers lost                  old reads      effects twice
//	one number, retries after 60 ms to 2 s
//	    1 %; 5 %                             0; 0           0; 0.02 %
//	cyclic or least recently used, 1 call    0; 0           0; 0
//	Linux's ipmi_ipmb                        0.01; 0.1 %    0; 0
//	cyclic, 2 to 63 calls                    0.9; 1.1 %     0.06; 0.5 %
//	least recently used, 4 to 63 calls       0.1; 0.1 %     0.03; 0.5 %
//	this engine, 1 to 63 calls               1.7; 4.6 %     0.03; 0.7 %
//
// The engine's own numbers come out of turn when lost answers hold many of them. A
// requester whose retry time is also the time between its requests, and one that
// picks its numbers at random, are not told apart from either.
//
// The bound of all this: an effect that its requester wants twice within 5 s, by equal
// frames with one number, happens once. A handler that knows better says so
// (ipmi.EffectTeller, ipmi.ChangesNothing).
//
// Each requester address has room of its own, for the answers to 128 requests, and
// keeps those to the newest request with each number longest. Answers take 0.6 kB
// each, or less than 10 MB on a bus where somebody forges all 127 addresses.
//
// Sources: IPMB v1.0, sections 2 to 4; the sequence number expiration of 5 s
// is its table 4-1.
package ipmb
