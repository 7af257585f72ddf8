// Package bus is a bus as its clients know it: a name, an index, limits, a state with its reason,
// and [Bus.Send]. D-Bus methods, the frame socket and the bridge all send by it, so that there is
// one way out and one order. Package service makes a Bus and gives it to each of them.
//
// A [Link] carries the requests: an ipmb.Engine on a transport, or Linux's IPMI driver. This
// package knows no transport. A [Lifecycle] opens the link's device, serves it, and opens it again
// when it fails; host interfaces have one, too.
//
// [Shares] counts the places that programs have of a bus, and of other things that they share.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: a request that Send has taken ends exactly once, and its Call is told how. A
//     request that Send refuses was never sent, and its Call is told nothing.
//     (TestEndedIsToldOfEveryRequest, TestCancel, TestCancelWhileTheBusBegins)
//  2. Order: requests and broadcasts of one goroutine reach the link in the order in which
//     it sent them, also those that wait until the bus has begun or until their client is
//     identified. The link delivers responses in its order, and the calls are told in that
//     order. (TestOrder, TestBroadcastsKeepTheirPlace, TestRequestsThatWaitForIdentify)
//  3. Send does not block. With an engine it starts no goroutine, timer or context and
//     allocates nothing. (TestSendAllocatesNothing)
//  4. The bus holds no lock while a link, a function of a Call or of Config runs.
//     (TestCallbacksMayUseTheBus)
//  5. Memory and shares: no more than Config.MaxCalls requests and broadcasts of clients are in
//     progress; the bus refuses more with ErrLimit. One program has at most half of these places,
//     however many connections it has, and so have all programs of one user other than root
//     together. Requests of a connection whose process is not known yet are sent at once, unless
//     they could take more than the half that the program with most places may have; these wait
//     until the process is known. Requests of the daemon itself, such as those of its bridge, take
//     no place. (TestShares, TestPlacesAreGivenBack, TestNewConnectionsGainNothing,
//     TestIdentifiedWhileItsRequestIsOnItsWay)
//  6. After Drain or Leave clients cannot send any more: ErrRemoved. Drain returns when
//     all that they had sent before has ended. (TestDrain)
//  7. Only Lifecycle.Run starts goroutines, and Drain, which waits for its own. When Run has
//     returned none is left, and the device is closed. (bus/i2cbus: TestBusThatIsNeverRunIsClosed)
package bus
