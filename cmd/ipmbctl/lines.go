package main

import (
	"sync/atomic"
	"time"

	"ipmbd/dbusapi"
)

// maxLines is how many lines wait to be shown. When there are more the newest
// are lost and counted.
const maxLines = 256

// lines are shown in their order, and hold up nobody meanwhile.
type lines struct {
	queue chan func() error
	lost  atomic.Int64
}

func newLines() *lines { return &lines{queue: make(chan func() error, maxLines)} }

// add has a line shown later.
func (l *lines) add(show func() error) {
	select {
	case l.queue <- show:
	default:
		l.lost.Add(1)
	}
}

// close is called when no more lines come.
func (l *lines) close() { close(l.queue) }

// show shows lines until there are no more, or until one cannot be shown.
func (l *lines) show(showLost func(dbusapi.Event) error) error {
	for show := range l.queue {
		if n := l.lost.Swap(0); n > 0 {
			if err := showLost(dbusapi.Event{Time: time.Now(), Kind: dbusapi.MessagesLost, Lost: int(n)}); err != nil {
				return err
			}
		}
		if err := show(); err != nil {
			return err
		}
	}
	return nil
}
