package testmain

import (
	"os"
	"strings"
	"testing"

	"ipmbd/internal/fdtrace"
)

func TestMain(m *testing.M) { Run(m) }

func openOne(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDescriptors(t *testing.T) {
	defer func(trace func(int)) { fdtrace.OnOpen = trace }(fdtrace.OnOpen)
	check := descriptors(0)
	closed, traced, other := openOne(t), openOne(t), openOne(t)
	for _, f := range []*os.File{closed, traced} {
		fdtrace.OpenedFile(f)
	}
	closed.Close()
	err := check()
	if err == nil {
		t.Fatal("two descriptors are left")
	}
	for text, count := range map[string]int{"2 descriptors are left": 1, "is /dev/null": 2, "testmain.TestDescriptors": 1, "not opened by": 1} {
		if got := strings.Count(err.Error(), text); got != count {
			t.Errorf("%q %d times, not %d: %v", text, got, count, err)
		}
	}
	traced.Close()
	other.Close()
	if err := check(); err != nil {
		t.Error(err)
	}
}

func TestAmount(t *testing.T) {
	for variable, want := range map[string]int{"": 1, "1": 2} {
		t.Setenv(thoroughVariable, variable)
		if got := Amount(1, 2); got != want {
			t.Errorf("%s=%s: %d, want %d", thoroughVariable, variable, got, want)
		}
	}
}
