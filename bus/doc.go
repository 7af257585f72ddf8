// Package bus is a bus as its clients know it: a name, an index, limits, a state with its reason,
// and [Bus.Send]. D-Bus methods, the frame socket and the bridge all send with Bus.Send, so that
// there is one way out and one order. Package service makes a Bus and gives it to each of them.
//
// A [Link] carries the requests: an ipmb.Engine on a transport, or Linux's IPMI driver. This
// package knows no transport. A [Lifecycle] opens the link's device, serves it, and opens it
// again when it fails; host interfaces have one, too.
//
// [Shares] counts the places that programs have on a bus, and on other things that they share.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: a request that Send has taken ends exactly once, and the bus calls the done of its
//     Call. For a request that Send refuses it sends nothing, and does not call done.
//     (TestEndedIsToldOfEveryRequest, TestCancel, TestCancelWhileTheBusBegins)
//  2. Order: requests and broadcasts of one goroutine reach the link in the order in which it
//     sent them, also those that wait until the bus has begun or until their client is
//     identified. The calls end in the order in which the link delivers the responses.
//     (TestOrder, TestBroadcastsKeepTheirPlace, TestRequestsThatWaitForIdentify)
//  3. Send does not block. With an engine it starts no goroutine, timer or context and allocates
//     nothing. (TestSendAllocatesNothing)
//  4. The bus holds no lock while it calls a link, a Call or a function of Config.
//     (TestCallbacksMayUseTheBus)
//  5. Memory and shares: no more than Config.MaxCalls requests and broadcasts of clients are in
//     progress; the bus refuses more with ErrLimit. One program has at most half of these places,
//     however many connections it has, and so have all programs of one user other than root
//     together. While the process of a connection is not known, its request is sent at once only
//     if it would also fit if all unknown connections belonged to the program and the user with
//     the most places. Otherwise it waits until the process is known. Requests of the daemon
//     itself, such as those of its bridge, take no place. (TestShares, TestPlacesAreGivenBack,
//     TestNewConnectionsGainNothing, TestIdentifiedWhileItsRequestIsOnItsWay)
//  6. After Drain or Leave clients cannot send any more: ErrRemoved. Drain returns when all
//     requests that they had sent before have ended. (TestDrain)
//  7. Only Lifecycle.Run and Drain start goroutines. Drain waits for its goroutines. When Run has
//     returned none is left, and the device is closed. (bus/i2cbus:
//     TestBusThatIsNeverRunIsClosed)
package bus
