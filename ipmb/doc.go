// Package ipmb speaks IPMB: the frame codec, and the Engine that tracks every
// request to its one answer on one bus. It uses the standard library, the
// message model of package ipmi and the contract of package i2c, nothing else.
//
// An Engine does not open devices. Run gives it a transport and lasts as long
// as the transport does. Sequence numbers, holds and the table of duplicates
// outlive Run, so that an answer which arrives after the device was opened
// again still reaches no other call.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A call ends exactly once, with its own answer or with an error of errors.go.
//     It never ends with another call's answer, within the bounds below. The engine
//     refuses a call with ErrBusy rather than give it a number under which an answer
//     to another call may arrive, with and without Request.NoWait. (TestModel,
//     TestCopies, TestCopiesAcrossReopening, TestCopiesWithoutRests,
//     TestFailedWriteThatWasDelivered, TestShortTimeouts, TestBroadcastAnswer)
//  2. A request with an effect runs once, however often its frame comes: see
//     Repeats. (TestRepeatsRunOnce, TestStormOfRequesters)
//  3. Each request that the engine hands to the handler has one answer: the handler's,
//     the one of Respond if the handler has deferred the request, or C3h at the
//     deadline. A later answer is counted and reaches nobody. While the engine runs on
//     no transport, answers are kept for the requester's repeat. (TestServeSlowHandler,
//     TestDeferred, TestDeferredOverALongOutage, TestOneAnswerWithoutAWindow)
//  4. The handler gets requests in the order in which the bus delivered them. The
//     goroutine that reads the bus calls it, for one request after the other, so the
//     handler must not block; it may answer later, from any goroutine.
//     (TestRequestsAreServedInOrder)
//  5. Calls to one responder are written in the order in which they were sent, as far
//     as none waits for a number. Calls that end reach their callers in the order in
//     which the bus delivered the answers. The engine holds no lock while it calls a
//     handler, a callback or the observer, so that each of them may use the engine.
//     (TestDirectWrites, TestAnswersReachCallsInOrder, TestCallbacks, TestWaiting)
//  6. Frames leave one at a time. Answers go before requests, but never more than
//     four answers in a row while a request waits; responders take turns. An answer
//     that is written again goes before all others. (TestWriter, TestRepeatOfAnAnswer)
//  7. Nothing a peer sends stops, blocks or crashes the engine: what is not
//     valid is dropped and counted. (FuzzEngineInput, TestNoiseDoesNoHarm,
//     TestFramesThatAreNotValid)
//  8. A bus that carries nothing holds up no call for long: see A bus that is held
//     low. (TestHeldLow, TestStall, TestStallHoldsNobody)
//  9. Run has four goroutines, its caller's among them, and none is left when it has
//     returned. A message costs no goroutine, timer or context; only Start has package
//     context watch the end of its context. Engine.Send allocates nothing.
//     (TestRun, TestSendAllocatesNothing)
//  10. Memory is bounded: by the calls that are in progress, by 64 requests in
//     handlers and 256 answers that wait for the bus (the defaults of Config), and by
//     256 answers kept for each requester address. (TestDuplicateTableIsBounded,
//     TestDeferredAreBounded, TestServeLimits)
//  11. Data handed to a call is not kept after it returns. The data of a Response that
//     Do, Call.Answer or Decode returns belong to the caller, or to the buffer decoded.
//     Data handed to a callback or to an Observer are valid until that returns.
//     (TestDataOfACallIsNotKept)
//
// # Goroutines and writes
//
// Of the goroutines of Run one reads and calls the handler, one writes, one watches
// the deadlines, and one waits for the end of the context. The goroutine that reads an
// answer calls the callback of its call.
//
// On a transport that is an i2c.DirectWriter, a socket for example, the goroutine that
// brings a request or an answer also writes it, unless another goroutine is writing. A
// write that would have to wait is left to the goroutine that writes, and so is the rest
// when one goroutine has written 64 frames in a row. The frames to a kernel's device are
// always written by the goroutine that writes.
//
// Ping returns as soon as the lock can be had and the goroutines that read, write and
// watch the deadlines each wait for something. If one of them hangs, in a handler or in
// a callback for example, Ping does not return (TestPing). It wakes none of them. A
// write that takes long in the kernel does not count as a hang: the Observer hears of it.
//
// # A bus that is held low
//
// Each write to such a bus takes the adapter's time, 1 s as a rule, and fails. When
// nothing but failures has come for 2 s (StallTime):
//
//   - Calls that were never transmitted end with ErrStuck. Calls that were transmitted
//     go on: the responder may have the request.
//   - New calls, broadcasts and responses of Respond are refused with ErrStuck, but for
//     one a second, which is written to probe the bus.
//   - The first write that succeeds ends that. A write that is not acknowledged, and one
//     that loses the arbitration, show that the bus works and count as a success.
//
// The same holds while a single write is in the kernel for longer than 2 s, but no other
// write can probe the bus then.
//
// # Numbers
//
// A response is known by its responder, network function, LUNs, command and
// sequence number. Each responder has 64 numbers. When a call has ended, the same
// command does not get its number again for as long as an answer may come:
//
//   - The number is held until each transmission that the responder may have
//     received has been answered, at most for 6 s. A write that failed counts as such a
//     transmission, unless i2c.NotDelivered says otherwise. A NACK of which the driver
//     does not tell the byte counts if the responder has acknowledged or answered
//     anything in the last 6 s; so a scan of absent addresses holds nothing.
//   - Answers that come within 50 ms of each other count as one: the second may be
//     a copy of the first.
//   - After the last answer the number rests for i2c.Limits.CopyTime, 40 ms on I2C,
//     and anew after each copy. At 100 kHz that costs nothing while a command has
//     fewer than 50 calls in flight. A call with NoWait waits for a number that rests,
//     and for no other.
//   - Number 0 is held for the command of a broadcast until 6 s after it. A call
//     that has number 0 when a broadcast of its command is sent takes no answer any
//     more.
//
// Each command has its own holds: however many calls of one command time out,
// another command has all numbers.
//
// # Bounds
//
// The protocol does not tell some answers apart. These may be given to another call:
//
//   - a second answer to one transmission, or a copy, that the engine reads more than
//     40 ms after the one before it, be it that a busy machine lets its reader run so late.
//     In the model of TestModelBeyondItsBound, at 100 kHz with second
//     answers 50 to 200 ms after the first, one in 19 of these became another
//     call's answer with 8 and with 64 calls of a command in flight, none with 1;
//   - an answer more than 6 s after the end of its call;
//   - an answer to a frame of which the driver has proved that it was not delivered.
//
// On a transport with i2c.NoCopies, which is a socket, no number rests. There the
// engine tells a copy by its content: if an answer equals one of the last 16 with the
// number, within 100 ms and to a different request, the engine keeps it for 250 ms, at
// most until the call would be sent again, and drops it if another answer comes. When
// 32 answers of a command were alike and none was a copy, such answers are believed at
// once.
//
// # Repeats
//
// A requester whose answer was lost sends the same frame again. A new request can
// be the same frame too, and its sequence number does not tell the two apart: when a
// requester has several calls in flight, a number that comes out of its turn is either
// a repeat, or new, the answer to an older request having been lost. The command tells
// (ipmi.Effect):
//
//   - A command that changes nothing, or is harmless twice, is served anew each time,
//     so that its answer is never old. A repeat of one that is still in a handler, or
//     whose answer still waits for the bus, is dropped: that answer is for it too.
//   - A command with an effect is a repeat when its frame is equal to the last one
//     with its number, LUNs and command, from its arrival until 5 s after its answer,
//     whatever came between. It gets the same answer again.
//   - For other commands (OEM, groups, commands that take something out of a queue) the
//     effect is not known. Such a command is a repeat in the same time, unless the
//     requester has used the number for another request since, or seems to use it in
//     its turn (in the first turn: after 48 others), or comes back sooner than it
//     repeats its requests.
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
//	this engine, 1 to 63 calls               4.0; 4.8 %     0.04; 0.8 %
//
// This engine's own numbers come out of turn when lost answers hold many of them. Two
// requesters are not told apart either: one whose retry time is also the time between
// its requests, and one that picks its numbers at random.
//
// The bound of all this: an effect that its requester wants twice within 5 s, by equal
// frames with one number, happens once. A handler that knows better says so
// (ipmi.EffectTeller, ipmi.ChangesNothing).
//
// Each requester address has room of its own for the answers to 256 requests, so that
// forged addresses push out nobody else's. The answer to the newest request with each
// number and LUN is kept longest. With frames of up to 32 bytes an answer takes 0.4 kB:
// less than 15 MB on a bus where somebody forges all 127 addresses.
//
// Sources: IPMB v1.0, sections 2 to 4; the sequence number expiration of 5 s
// is its table 4-1.
package ipmb
