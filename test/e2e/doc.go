// Package e2e tests ipmbd as a user has it: the program, built with the race
// detector, as a process of its own on a private message bus, with simulated
// nodes behind SOCK_SEQPACKET sockets, busctl and other D-Bus clients before
// it, and a host IPMI daemon on sd-bus beside it.
//
// Frames are put together and taken apart here without package ipmb, so that a
// mistake in the one shows in the other.
//
// A test that fails prints, before its cause, the file with what each daemon has written to
// stderr, and IPMBD_SEED if it leaves something to chance: with the same number in the
// environment it makes the same choices.
package e2e
