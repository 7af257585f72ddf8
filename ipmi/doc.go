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
//  1. A Request and its Data belong to the caller of ServeIPMI and are valid
//     until it returns. A handler that keeps them copies them.
//  2. A Response's Data belongs to the caller of ServeIPMI after the return.
//  3. Mux.ServeIPMI never panics. When a handler panics, fails, is late or is
//     missing it returns the error, so that its caller can ask [NotServed];
//     [CodeOf] turns the error into the completion code to answer with.
//
// Source of numbers: IPMI v2.0, sections 5 (completion codes, netFns), 6
// (channels) and 20.1 (Get Device ID), and appendix G (commands).
package ipmi
