package main

import (
	"fmt"
	"os"
)

// The parts are processes of this same program: what it is started with says
// which.
const (
	partFloor     = "part:floor"     // ADDRESS SOCKET
	partResponder = "part:responder" // SOCKET...
	partDriver    = "part:driver"    // DEVICE SETTLE MEASURE, in a guest
)

func isPart(args []string) bool {
	return len(args) > 0 && (args[0] == partFloor || args[0] == partResponder || args[0] == partDriver)
}

func runPart(args []string) error {
	switch args[0] {
	case partFloor:
		return runFloor(args[1], args[2])
	case partDriver:
		return runDriver(args[1], args[2], args[3])
	}
	return runResponder(args[1:])
}

// sayReady tells the parent that a part serves.
func sayReady() { fmt.Println("ready") }

// startPart starts a part and returns when it serves.
func (s *stage) startPart(args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return s.startReady(self, args...)
}
