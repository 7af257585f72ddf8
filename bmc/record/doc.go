// Package record is the records of a management controller as bytes and as text: event log
// records (SEL), sensor data records (SDR) and FRU inventory areas. It also reads and clears the
// event log of any controller with IPMI commands. It keeps no log; package bmc does.
//
// Log records and responses come from other machines. Every record has a text, printable ASCII,
// whatever its bytes are. A responder whose log contradicts itself causes an error, not an
// endless loop: a Log holds at most one record per ID, 1 MiB, starts no goroutine, and bounds
// each wait.
//
// Sources: IPMI v2.0, sections 5.5, 29.7, 31, 32, 37, 42 and 43; Platform Management FRU
// Information Storage Definition v1.0; for panics of Linux, send_panic_events of
// drivers/char/ipmi/ipmi_msghandler.c.
package record
