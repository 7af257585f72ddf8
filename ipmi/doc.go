// Package ipmi is the message model: requests, responses, completion codes,
// names, and the Handler that everything that answers a request implements.
//
// A Request is what a transport has taken off its medium: network function,
// LUN, command and data, with the interface and channel it came in on. A
// Handler answers it; a Mux composes handlers as an http.ServeMux does.
//
// The package knows no medium and no encoding. Addresses are in their 8-bit
// form (20h, not 10h), LUNs are 0 to 3, netFns of requests are even.
//
// # Promises
//
//  1. Requests of one interface reach their handler in the order they came, one
//     call of ServeIPMI after the other. No handler waits for another one's answer.
//  2. A Request and its Data are the handler's to keep, and nobody changes them. A
//     Response's Data are valid until Reply.Answer returns.
//  3. The first Answer to a request counts; the others report that they were not taken.
//  4. When a handler panics or is missing, the request has an error for an answer, so
//     that its owner can ask [NotServed]; [CodeOf] turns the error into the completion
//     code to answer with. A deadline is its owner's to keep.
//  5. A Blocking serves the requests of one interface one at a time, in order, and
//     keeps at most 64 of them waiting. A call that hangs holds up those behind it until
//     its own deadline.
//
// Source of numbers: IPMI v2.0, sections 5 (completion codes, netFns), 6
// (channels) and 20.1 (Get Device ID), and appendix G (commands).
package ipmi
