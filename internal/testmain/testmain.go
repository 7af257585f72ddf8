// Package testmain runs the tests of a package and fails if they leave a goroutine or an open
// descriptor. It does not see a file that the garbage collector has closed.
package testmain

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ipmbd/internal/fdtrace"
)

// timeLimit is how long goroutines and descriptors that tests have stopped may take to end.
const timeLimit = 30 * time.Second

// Run is TestMain of a package. It runs the tests and ends the process. The options say which
// goroutines may stay.
func Run(m *testing.M, options ...goleak.Option) {
	check := descriptors(timeLimit)
	end := goleak.Cleanup(func(status int) { os.Exit(judge(status, check)) })
	goleak.VerifyTestMain(m, append(options, end)...)
}

// Main runs the tests of a package whose TestMain does more, and returns the status to exit
// with. It checks descriptors only.
func Main(m *testing.M) int {
	check := descriptors(timeLimit)
	return judge(m.Run(), check)
}

func judge(status int, check func() error) int {
	if status != 0 {
		return status
	}
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// descriptors begins to trace descriptors. The function that it returns waits until no more are
// open than before. Otherwise it returns an error that names the open ones and, for a descriptor
// of ours, the stack that opened it.
func descriptors(timeLimit time.Duration) (check func() error) {
	// The first pipe of a process makes the runtime open descriptors that it never closes.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	before, openers := open(), new(openers)
	fdtrace.OnOpen = openers.add
	return func() error {
		var left map[int]string
		for end := time.Now().Add(timeLimit); ; <-time.After(10 * time.Millisecond) {
			left = open()
			maps.DeleteFunc(left, func(fd int, what string) bool { return before[fd] == what })
			if len(left) == 0 {
				return nil
			}
			if time.Now().After(end) {
				break
			}
		}
		text := fmt.Sprintf("%d descriptors are left open:", len(left))
		for _, fd := range slices.Sorted(maps.Keys(left)) {
			text += fmt.Sprintf("\n%d is %s, %s", fd, left[fd], openers.of(fd, left[fd]))
		}
		return errors.New(text)
	}
}

// open returns the open descriptors of the process, with their names.
func open() map[int]string {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		panic(err)
	}
	found := make(map[int]string)
	for _, entry := range entries {
		// The folder itself is no longer open.
		if what, err := os.Readlink(folder + "/" + entry.Name()); err == nil {
			fd, _ := strconv.Atoi(entry.Name())
			found[fd] = what
		}
	}
	return found
}

// openers are the stacks that have opened descriptors, by number: the last one of each.
type openers struct {
	mu   sync.Mutex
	last map[int]opener
}

type opener struct {
	what  string // the number may have been given to another file since
	stack []byte
}

func (o *openers) add(fd int) {
	what, _ := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = make(map[int]opener)
	}
	o.last[fd] = opener{what, debug.Stack()}
}

func (o *openers) of(fd int, what string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last, ok := o.last[fd]; ok && last.what == what {
		return "opened by\n" + string(last.stack)
	}
	return "and not opened by a package of ours"
}
