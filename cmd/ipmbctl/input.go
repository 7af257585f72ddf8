package main

import (
	"bufio"
	"context"
	"fmt"
)

// inputLine is a line of standard input, or the error that ended it.
type inputLine struct {
	text string
	err  error
}

// readLines reads standard input and sends its lines. It closes the channel behind the last line,
// or behind an error. A read of a terminal or a pipe cannot be interrupted: when ctx ends, the
// goroutine stays in its read until the program exits.
func (a *app) readLines(ctx context.Context) <-chan inputLine {
	lines := make(chan inputLine)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(a.stdin)
		scanner.Buffer(nil, maxObject)
		send := func(line inputLine) bool {
			select {
			case lines <- line:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for scanner.Scan() {
			if !send(inputLine{scanner.Text(), nil}) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			send(inputLine{"", fmt.Errorf("standard input: %w", err)})
		}
	}()
	return lines
}

// readInput reads standard input up to its end, or until ctx ends.
func (a *app) readInput(ctx context.Context) (string, error) {
	text, lines := "", a.readLines(ctx)
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case line, ok := <-lines:
			switch {
			case !ok:
				return text, nil
			case line.err != nil:
				return "", line.err
			case len(text)+len(line.text) > maxObject:
				return "", usage("standard input is larger than %d bytes", maxObject)
			}
			text += line.text + "\n"
		}
	}
}
