package bmc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"ipmbd/internal/readfile"
)

// ErrNoValue: the sensor has not been read yet.
var ErrNoValue = errors.New("the sensor has not been read yet")

// filesTime is how long PollSensors waits for the files that it has begun to read.
const filesTime = 100 * time.Millisecond

// sensorFile is the file with the value of a sensor. A goroutine of its own reads it, one read at
// a time: the driver of a device that hangs may keep a read in the kernel for ever, where nothing
// can end it.
type sensorFile struct {
	path string
	read func(path string) (float64, error) // for tests: instead of readNumber

	mu    sync.Mutex
	value float64
	err   error     // nil, or why there is no value
	began time.Time // of the read in progress, else zero
}

// readFiles reads the files of sensors, and waits until those that were not being read already have
// been read, at most for filesTime.
func readFiles(sensors []*sensor) {
	begun := make(chan struct{}, len(sensors))
	count := 0
	for _, s := range sensors {
		if s.file != nil && s.file.begin() {
			count++
			go func() {
				s.file.update()
				begun <- struct{}{}
			}()
		}
	}
	timer := time.NewTimer(filesTime)
	defer timer.Stop()
	for range count {
		select {
		case <-begun:
		case <-timer.C:
			return
		}
	}
}

// begin notes that a read begins, if none is in progress.
func (f *sensorFile) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.began.IsZero() {
		return false
	}
	f.began = time.Now()
	return true
}

// update reads the file.
func (f *sensorFile) update() {
	read := f.read
	if read == nil {
		read = readNumber
	}
	value, err := read(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value, f.err, f.began = value, err, time.Time{}
}

// last is the value that was read last, or why there is none.
func (f *sensorFile) last() (float64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.began.IsZero() && time.Since(f.began) > readfile.Time {
		return 0, readfile.ErrTooSlow
	}
	return f.value, f.err
}

// readNumber reads a number. The errors of package readfile name the file.
func readNumber(path string) (float64, error) {
	text, err := readfile.Bounded(path, readfile.Size)
	if err != nil {
		return 0, err
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("%s holds no number", path)
	}
	return value, nil
}
