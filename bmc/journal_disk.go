package bmc

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	// diskTime is how long the disk may take for a call of the journal.
	diskTime = 2 * time.Second
	// retryTime is how often the journal tries a disk that it has lost.
	retryTime = time.Minute
)

var errDiskHangs = errors.New("the disk does not answer")

// onDisk calls a function that uses the disk, and returns after diskTime in any case. A call that
// hangs in the kernel cannot be ended. Until it returns, no other one is made: then the error is
// errDiskHangs, too. Calls of onDisk do not overlap.
func (j *journal) onDisk(do func() error) error {
	if j.hangs() {
		return errDiskHangs
	}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = do()
	}()
	timer := time.NewTimer(diskTime)
	defer timer.Stop()
	select {
	case <-done:
		return err
	case <-timer.C:
		j.mu.Lock()
		defer j.mu.Unlock()
		j.hanging = done
		return errDiskHangs
	}
}

// hangs reports whether an earlier call has not returned yet.
func (j *journal) hangs() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-j.hanging: // nil without such a call
		j.hanging = nil
	default:
	}
	return j.hanging != nil
}

// loseDisk keeps values in memory from now on.
func (j *journal) loseDisk(cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost = cause
	j.values = maps.Clone(j.values) // A call that hangs may still read the values that it was given.
}

// restoreDisk stores all values on a disk that was lost. It does nothing while the disk is used or
// after Close. It returns why the disk is still lost.
func (j *journal) restoreDisk() error {
	j.mu.Lock()
	for j.storing {
		j.stored.Wait()
	}
	if j.lost == nil || j.closed {
		j.mu.Unlock()
		return nil
	}
	j.storing = true
	values, unread := maps.Clone(j.values), j.unread
	j.mu.Unlock()

	var stored map[string][]byte
	err := j.onDisk(func() (err error) {
		stored, err = j.restore(values, unread)
		return err
	})
	if err == nil && unread {
		j.merged(stored)
	}
	j.mu.Lock()
	if j.lost = err; err == nil {
		j.values, j.unread = stored, false
	}
	j.storing = false
	j.stored.Broadcast()
	j.mu.Unlock()
	if err == nil {
		j.diskState(nil)
	}
	return err
}

// mergeValues makes one set of values of those that were on the disk and those that came while it
// could not be read. The latter stay, except for the GUID and a clock that was not set. Records of
// the log that came meanwhile have numbers and IDs above those on the disk, see newLog. A record on
// the disk that has such an ID gets the highest free one.
func mergeValues(disk, memory map[string][]byte) map[string][]byte {
	all := maps.Clone(disk)
	maps.Copy(all, memory)
	if guid := disk[guidSetting]; guid != nil {
		all[guidSetting] = guid
	}
	hours := func(values map[string][]byte) uint32 {
		return binary.LittleEndian.Uint32(append(slices.Clone(values[hoursSetting]), 0, 0, 0, 0))
	}
	if sum := hours(disk) + hours(memory); sum > 0 {
		all[hoursSetting] = binary.LittleEndian.AppendUint32(nil, sum)
	}
	before, now := decodeLogState(disk[logSetting]), decodeLogState(memory[logSetting])
	if now.Ahead == 0 && memory[logSetting] != nil {
		now.Ahead, now.Offset = before.Ahead, before.Offset
		all[logSetting] = now.encode()
	}
	used := make(map[uint16]bool)
	entries := entriesOf(disk)
	for _, e := range entries {
		used[e.record.ID()] = true
	}
	free := uint16(unreadID)
	for _, e := range entries {
		if e.record.ID() <= unreadID {
			continue
		}
		for used[free] {
			free--
		}
		used[free] = true
		binary.LittleEndian.PutUint16(e.record[:], free)
		all[e.name()] = e.record[:]
	}
	return all
}
