// Package dbuswire sends and receives D-Bus messages as bytes, below the D-Bus library godbus: a
// connection, an ordered outbox, and a reader and a writer of messages.
//
// The package exists for speed and order. With godbus alone, org.openbmc.Ipmb.sendRequest has
// 1.29 times the median latency and 0.80 times the throughput of a bare godbus service that
// answers at once; with this package it has 0.86 times and 1.55 times (make bench). And godbus
// serves each call in a goroutine of its own, in no order.
//
// A Conn contains a connection of godbus, which reads and writes through a stream. The stream
// looks at each message that comes. It gives each method call to Config.Call, and each reply to
// the call of StartCall that waits for it. godbus gets what is left: signals, and the replies to
// its own calls. All messages, those of godbus too, leave through the outbox.
//
// Dial starts two goroutines: godbus's, which reads, and the outbox's writer. Both have ended
// when Close has returned.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Method calls, replies and signals are handed over in the order in which they come, by one
//     goroutine. (TestStreamGivesTheLibraryWhatIsNotTaken, TestConnSignalsComeInOrder)
//  2. Messages leave whole, and those of one goroutine in the order in which it sent them.
//     (TestMessagesLeaveWholeAndInOrder, TestHeldMessagesLeaveTogether,
//     TestQueuedMessagesLeaveWhenFlushed)
//  3. No sender waits for the message bus to take a message, and no lock is held over a write.
//     Only the outbox's writer waits, and the reader while 1 MiB waits.
//     (TestNobodyWaitsForAMessageBusThatDoesNotRead)
//  4. Each call of StartCall ends once: by its reply, or when the connection is lost, in the
//     order of the calls. (TestCallsEndOnceAndInOrder, TestStreamTakesTheReplyToACallOfOursOnce)
//  5. While 1 MiB waits for the message bus, no method call is read. A call of more than 256 KiB
//     is refused unread, and such a signal is dropped. (TestStreamSkipsWhatIsTooLong)
//  6. A connection has at most 100 calls that count against a share (Place.Share) without a
//     reply, and one share has at most four times as many as places are free.
//     (TestSharesOfAConnection)
//  7. A message that is wrong ends in an error, and is never read beyond its end. What this
//     package reads is what godbus reads. (FuzzParse, TestStreamEndsAtAnImpossibleLength)
//
// Source: D-Bus specification 0.42.
package dbuswire
