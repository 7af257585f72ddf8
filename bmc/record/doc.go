// Package record is the system event log of a management controller as others see
// it: its records and what they say, and how it is read and cleared with IPMI
// commands. It keeps no log; package bmc does.
//
// Records come from others, and so do the answers of a log: every record has a
// text, printable ASCII, whatever is in it, and a responder that lies about its
// log gets an error rather than the program a loop. A Log holds one record per ID
// at most, 1 MiB, starts no goroutine, and waits for nothing longer than it says.
//
// Sources: IPMI v2.0, sections 31, 32, 37, 41 and 42; for the panics of Linux,
// send_panic_events of the kernel's drivers/char/ipmi/ipmi_msghandler.c.
package record
