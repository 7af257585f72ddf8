// Package bus is a bus as its clients know it: a name, an index, limits and a state, and
// [Bus.Send]. D-Bus methods, the frame socket and the bridge all send by it, so that there
// is one way out and one order. Package service makes a Bus and gives it to each of them.
//
// [Shares] counts what programs have of a bus, and of other things that they share.
//
// A [Link] carries the requests: an ipmb.Engine, or Linux's IPMI driver behind
// [Workers]. This package knows no transport and opens no device.
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
//     identified. The link delivers answers in its order, and the calls are told in that
//     order. (TestOrder, TestBroadcastsKeepTheirPlace, TestRequestsThatWaitForIdentify,
//     TestWorkersKeepTheOrder)
//  3. Send does not block. With an engine it starts no goroutine, timer or context and
//     allocates nothing. Workers have one goroutine and one context for each request that
//     the driver has, at most 64 unless NewWorkers is told otherwise.
//     (TestSendAllocatesNothing, TestWorkersAreBounded)
//  4. The bus holds no lock while a link, a function of a Call or Config.Ended runs.
//     (TestCallbacksMayUseTheBus)
//  5. Memory and shares: no more than Config.MaxCalls requests and broadcasts of clients
//     are in progress; the bus refuses more with ErrLimit. One program has at most half of
//     these places, however many connections it has, and so have all programs of one user
//     other than root together. Requests of a connection whose process is not known yet are
//     sent at once, unless they could take more than the half that the program with most
//     places may have; these wait until the process is known. Requests of the
//     daemon itself, such as those of its bridge, take no place.
//     (TestShares, TestPlacesAreGivenBack, TestNewConnectionsGainNothing,
//     TestIdentifiedWhileItsRequestIsOnItsWay)
//  6. After Drain or Leave clients send nothing any more: ErrRemoved. Drain returns when
//     all that they had sent before has ended. (TestDrain)
package bus
