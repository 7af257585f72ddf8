// Package frames is ipmbd's face on a socket, for programs that want IPMB frames
// and no D-Bus: the Server, and a Client for programs in Go.
//
// The socket is a SOCK_SEQPACKET one. A packet to the daemon is a request, and
// each is answered by one packet, in any order:
//
//	request    0 index of the bus (devIndex<<2 | type)   1 request frame
//	answer     0 index   1 status   2 response frame, if the status is 0
//	                                2 else the first six bytes of the request frame
//
// A frame is a whole one, from the responder's address to the last checksum. The
// requester's address, LUN and sequence number are the client's own business:
// they come back in the response, in which only the number tells requests apart.
// Two requests with the same one are both answered. On the bus the daemon puts
// in its own address and a number of its own, and sends again what is lost.
//
// The status is that of sendRequest of org.openbmc.Ipmb, ipmb.Status: 0 answered,
// 1 frame too long, 2 no valid request or no bus with the index, 3 no sequence
// number free or over a limit, 4 all else. The six bytes of a failure, of which the
// fifth has the number, are as the client sent them; fewer if its packet had fewer.
//
// # Promises
//
//  1. Each packet of a client is answered by one packet, once, unless the client
//     has gone, or is hung up on. One that ends its sending (shutdown(2)) has gone.
//  2. Nothing a client sends or does not read stops or blocks other clients or a
//     bus. One that has left 1024 answers unread, beside what its socket holds, and
//     sends another request is hung up on.
//  3. When a client goes, its requests end.
//  4. Nothing is allocated for a request, once as many have been in flight.
//  5. Run starts two goroutines for each client; when it has returned none is
//     left. A Client has one for each of its connections, 4 at most, until Close.
//  6. A Client never takes one request's answer or failure for another's.
//  7. The requests of a connection enter their bus in the order in which the client sent
//     them, and their answers are written in the order in which the bus delivered them
//     (TestBurstsKeepTheirOrder).
//  8. Idle clients keep nobody out: see Config.MaxClients (TestPlaces).
package frames
