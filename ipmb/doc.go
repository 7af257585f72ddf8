// Package ipmb speaks IPMB: the frame codec, and the Engine, which finds for every request on one
// bus its one response.
//
// An Engine does not open devices. Run gives it a transport and lasts as long as the transport.
// Sequence numbers, holds and the table of requests outlive Run, so that a response which arrives
// after the device was opened again still reaches no other call.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. A call ends exactly once, with its own response or with an error of errors.go. It never
//     ends with another call's response, within the bounds below. The engine refuses a call with
//     ErrBusy rather than give it a number under which a response to another call may arrive,
//     with and without Request.NoWait. (TestModel, TestCopies, TestCopiesAcrossReopening,
//     TestCopiesWithoutQuarantine, TestFailedWriteThatWasDelivered, TestShortTimeouts,
//     TestBroadcastAnswer)
//  2. A request with an effect runs once, however often its frame comes; see Repeats.
//     (TestRepeatsRunOnce, TestStormOfRequesters)
//  3. Each request that the engine gives to the handler has one response: the handler's, that of
//     StartRespond if the handler has deferred the request, or C3h at the deadline. A later one
//     is counted and dropped. While the engine has no transport, it keeps responses for the
//     requester's repeat. (TestServeSlowHandler, TestDeferred, TestDeferredOverALongOutage,
//     TestOneAnswerWithoutAWindow)
//  4. The handler gets requests in the order in which the bus delivered them. The goroutine that
//     reads the bus calls it, for one request after the other, so the handler must not block. It
//     may answer later, from any goroutine. (TestRequestsAreServedInOrder)
//  5. Calls to one responder are written in the order in which they were sent, as far as none
//     waits for a number. Calls that end reach their callers in the order in which the bus
//     delivered the responses. The engine holds no lock while it calls a handler or a callback,
//     so that each of them may use the engine. (TestDirectWrites, TestAnswersReachCallsInOrder,
//     TestCallbacks, TestWaiting)
//  6. Frames leave one at a time. Responses go before requests, but never more than four
//     responses in a row while a request waits. Responders take turns. A response that is written
//     again goes before all others. (TestWriter, TestRepeatOfAnAnswer)
//  7. No frame stops, blocks or crashes the engine. Frames that are not valid are dropped and
//     counted. (FuzzEngineInput, TestNoiseDoesNoHarm, TestFramesThatAreNotValid)
//  8. A bus that carries nothing delays no call for long; see A bus that is held low.
//     (TestHeldLow, TestStall, TestStallHoldsNobody)
//  9. Run has four goroutines, its caller's among them, and none is left when it has returned. A
//     message costs no goroutine, timer or context. Engine.Send allocates nothing. (TestRun,
//     TestSendAllocatesNothing)
//  10. Memory is bounded: by the calls in progress, by 64 requests in handlers, 64 bridged ones,
//     and 256 responses that wait for the bus (the defaults of Config), and by 256 responses kept
//     for each requester address. (TestDuplicateTableIsBounded, TestDeferredAreBounded,
//     TestServeLimits)
//  11. Send and Do keep no reference to Request.Data after they return. The data of a response
//     that Do returns belong to the caller, and the data of a decoded Frame are part of the
//     buffer. Data handed to a callback are valid until it returns. (TestDataOfACallIsNotKept)
//
// # Goroutines and writes
//
// Of the goroutines of Run one reads and calls the handler, one writes, one watches the
// deadlines, and one waits for the end of the context. The goroutine that reads a response calls
// the callback of its call.
//
// On a transport that is an i2c.DirectWriter, a socket for example, the goroutine that brings a
// request or a response also writes it, unless another goroutine is writing. It leaves a write
// that would have to wait to the goroutine that writes, and also further writes when it has
// written 64 frames in a row. The goroutine that writes makes all writes to a kernel's device.
//
// If one of the goroutines hangs, in a handler or in a callback for example, Ping does not return
// (TestPing). A write that takes long in the kernel is no hang; see Config.Stalled.
//
// # A bus that is held low
//
// Each write to such a bus takes the adapter's time, usually 1 s, and fails. When all writes have
// failed for 2 s (StallTime):
//
//   - Calls that were never transmitted end with ErrStuck. Calls that were transmitted go on: the
//     responder may have the request.
//   - New calls, broadcasts and responses of StartRespond are refused with ErrStuck, except for
//     one a second, which is written to probe the bus.
//   - The first write that succeeds ends this state. A write that is not acknowledged, and one
//     that loses the arbitration, show that the bus works and count as a success.
//
// The same holds while a single write is in the kernel for longer than 2 s, but no other write
// can probe the bus then.
//
// # Sequence numbers
//
// A response is known by its responder, network function, LUNs, command and sequence number. Each
// responder has 64 numbers. When a call has ended, the same command does not get its number again
// while a response may come:
//
//   - The number is held until each transmission that the responder may have received has been
//     answered, at most for 6 s. A write that failed counts as such a transmission, unless
//     i2c.NotDelivered says otherwise. A NACK of which the driver does not tell the byte counts
//     if the responder has acknowledged or answered anything in the last 6 s, so a scan of absent
//     addresses holds nothing.
//   - Responses that come within 50 ms of each other count as one: the second may be a copy.
//   - After the last response the number is in quarantine for i2c.Limits.CopyTime, 40 ms on I2C,
//     which begins again after each copy. At 100 kHz that costs nothing while a command has fewer
//     than 50 calls in progress. A call with NoWait waits only if a number in quarantine will be
//     free for it; otherwise it ends with ErrBusy.
//   - Number 0 is held for the command of a broadcast until 6 s after it. A call that has number
//     0 when a broadcast of its command is sent accepts no response any more.
//
// Each command has its own holds: even if many calls of one command time out, another command has
// all numbers.
//
// # Bounds
//
// The protocol does not tell some responses apart. These may be given to another call:
//
//   - a second response to one transmission, or a copy, that the engine reads more than 40 ms
//     after the one before it, also because a busy machine lets its reader run so late. In the
//     model of TestModelBeyondItsBound, at 100 kHz with second responses 50 to 200 ms after the
//     first, one in 19 of these became another call's response with 8 and with 64 calls of a
//     command in progress, none with 1;
//   - a response more than 6 s after the end of its call;
//   - a response to a frame, if the driver has proved that the frame was not delivered.
//
// On a transport with i2c.NoCopies, which is a socket, there is no quarantine. There the engine
// knows a copy by its content. If a response equals one of the last 16 with the number, within
// 100 ms and to a different request, the engine keeps it for 250 ms, at most until the call would
// be sent again, and drops it if another response comes. When 32 responses of a command were
// alike and none was a copy, the engine believes such responses at once.
//
// # Repeats
//
// A requester whose response was lost sends the same frame again. A new request can be the same
// frame too, and its sequence number does not tell the two apart: when a requester has several
// calls in progress, a number that comes out of its turn is either a repeat, or new because the
// response to an older request was lost. The effect of the command decides (ipmi.Effect):
//
//   - A command that changes nothing, or is harmless twice, is served again each time, so that its
//     response is never old. A repeat of one that is still in a handler, or whose response still
//     waits for the bus, is dropped: that response is for it too.
//   - A frame of a command with an effect is a repeat when it equals the last frame with its
//     number, LUNs and command, from its arrival until 5 s after its response, whatever came
//     between. It gets the same response again.
//   - The effect of other commands (OEM, groups, commands that take something out of a queue) is
//     not known. Their equal frames are repeats in the same time, with three exceptions: the
//     requester has used the number for another request since; the requester's numbering has come
//     round to the number (in the first turn: after 48 others); or the frame comes sooner than
//     the requester usually retries.
//
// A response that could not be written is given again, for every command. A repeat that comes
// while its response is being written gets the response once more after it. A requester that
// repeats every 2 s may go on for five repeats: each that comes at the usual interval counts as a
// repeat, although the 5 s are over.
//
// For the first two kinds there is no error: 200,000 requests of each requester of
// TestRepeatsRunOnce, with 1 % and with 5 % of the responses lost, ran no effect twice, missed
// none and gave no stale response. For the third kind some remain, here of 100,000 equal reads
// and 100,000 distinct effects (TestRepeatsOfUnknownEffect):
//
//	requester, responses lost                stale reads    effects twice
//	one number, retries after 60 ms to 2 s
//	    1 %; 5 %                             0; 0           0; 0.02 %
//	cyclic or least recently used, 1 call    0; 0           0; 0
//	Linux's ipmi_ipmb                        0.01; 0.1 %    0; 0
//	cyclic, 2 to 63 calls                    0.9; 1.1 %     0.06; 0.5 %
//	least recently used, 4 to 63 calls       0.1; 0.1 %     0.03; 0.5 %
//	this engine, 1 to 63 calls               4.0; 4.8 %     0.04; 0.8 %
//
// This engine's own numbers come out of turn when lost responses hold many of them. Two other
// requesters are misjudged: one whose retry time is also the time between its requests, and one
// that picks its numbers at random.
//
// The bound of all this: an effect that its requester wants twice within 5 s, by equal frames
// with one number, happens once. A handler that knows better says so (ipmi.EffectTeller,
// ipmi.ChangesNothing).
//
// Each requester address has room of its own for the responses to 256 requests, so that forged
// addresses push out no response that is kept for another address. The response to the newest
// request with each number and LUN is kept longest. With frames of up to 32 bytes a response
// takes 0.4 kB: less than 15 MB on a bus with forged requests from all 127 addresses.
//
// Source of numbers: IPMB v1.0, sections 2 to 4.
package ipmb
