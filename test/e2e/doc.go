// Package e2e tests ipmbd as users run it: the program, built with the race detector, as a process
// of its own on a private message bus, with simulated nodes behind SOCK_SEQPACKET sockets, busctl
// and other D-Bus clients before it, and a host IPMI daemon on sd-bus beside it.
//
// Frames are encoded and decoded here without package ipmb, so that a mistake in one of the two
// codecs shows in the other.
//
// A test that fails prints, before its cause, the file with the stderr of each daemon and, if it
// uses chance, IPMBD_SEED: with the same number in the environment it makes the same choices.
package e2e
