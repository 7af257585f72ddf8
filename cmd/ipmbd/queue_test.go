package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stuckWriter writes when it is released.
type stuckWriter struct {
	release chan struct{}
	text    strings.Builder
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	<-w.release
	return w.text.Write(b)
}

// A log that is not read holds nothing up, neither the code that logs nor the end. When it is read
// again, the entries come in order, and the log says how many were lost.
func TestLogThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{release: make(chan struct{})}
		log := newLogger(zapcore.InfoLevel, w)
		begin := time.Now()
		const lost = 10
		for i := range maxQueuedEntries + lost + 1 { // One is being written.
			log.Info(fmt.Sprint("entry ", i))
			synctest.Wait()
		}
		_ = log.Sync()
		if took := time.Since(begin); took > syncTime {
			t.Errorf("it took %v", took)
		}
		close(w.release)
		_ = log.Sync()
		log.Info("last", zap.Int("n", 1))
		_ = log.Sync()
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(w.text.String()), "\n")
		if len(lines) != maxQueuedEntries+3 {
			t.Fatalf("%d lines", len(lines))
		}
		for i, line := range lines[:maxQueuedEntries+1] {
			if !strings.HasSuffix(line, fmt.Sprint("entry ", i)) {
				t.Fatalf("line %d: %s", i, line)
			}
		}
		if line := lines[maxQueuedEntries+1]; !strings.Contains(line, fmt.Sprintf(`are lost: they were not read	{"count": %d}`, lost)) {
			t.Error(line)
		}
		if line := lines[maxQueuedEntries+2]; !strings.Contains(line, "last") {
			t.Error(line)
		}
	})
}
