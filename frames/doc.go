// Package frames serves the frame socket of ipmbd, for programs that use IPMB frames without
// D-Bus: the Server, and a Client for programs in Go.
//
// The socket is a SOCK_SEQPACKET one. A packet to the daemon is a request. The daemon answers
// each with one packet (the numbers are byte offsets):
//
//	request    0 index of the bus (devIndex<<2 | type)   1 request frame
//	answer     0 index   1 status   2 response frame, if the status is 0
//	                                2 otherwise the first six bytes of the request frame
//
// A frame is a whole one, from the responder's address to the last checksum. The requester's
// address, LUN and sequence number belong to the client: they come back in the response, in which
// only the number tells requests apart. If two requests have the same number, both are answered.
// On the bus the daemon uses its own address and a number of its own, and retries what is lost.
//
// The status is the one of sendRequest of org.openbmc.Ipmb, ipmb.Status: 0 answered, 1 frame too
// long, 2 no valid request or no bus with the index, 3 no sequence number free or over a limit, 4
// all other failures. The six bytes of a failure, the fifth of which has the number, are as the
// client sent them; they are fewer if its packet had fewer.
//
// # Promises
//
// The names in parentheses are the tests that try to break a promise.
//
//  1. Once: each packet of a client is answered by one packet, unless the client has gone or the
//     server disconnects it. A client that shuts down its sending side (shutdown(2)) has gone.
//     (TestStorm, TestNumbersMayBeUsedTwice)
//  2. Order: the requests of a connection enter their bus in the order in which the client sent
//     them. Their answers and failures are written in the order in which the bus delivered them.
//     (TestBurstsKeepTheirOrder, TestFailuresKeepTheirPlace)
//  3. Nothing that a client sends or does not read stops or blocks other clients or a bus. The
//     server disconnects a client that leaves 1024 answers unread, in addition to those that its
//     socket holds, and sends another request. (TestClientThatDoesNotReadIsCutOff,
//     TestClientThatReadsLateGetsAll)
//  4. Memory: a connection has at most Config.MaxCalls requests in progress and 1024 answers
//     unread. Later requests use the memory of earlier ones: a request allocates nothing while no
//     more are in progress than at the peak so far. (TestRequestsInProgressAreLimited,
//     TestRequestAllocatesNothing, TestPacketsGiveBackMemory)
//  5. Idle clients keep no other client out: see Config.MaxClients. (TestPlaces,
//     TestBusyClientsKeepTheirPlaces, TestLongestIdleClientIsReplaced)
//  6. When a client goes, its requests end. (TestRequestsEndWithTheirClient)
//  7. Run has two goroutines for each client; when it has returned, none is left. A Client has
//     one for each of its connections, 4 at most, until Close. (TestMain looks for goroutines
//     that are left.)
//  8. A Client never takes the answer to one request, or its failure, for the answer to another.
//     (TestClient, TestClientTellsFailuresApart)
package frames
