package inside

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// A burst of requests, and how many of them the driver keeps
// (REQUEST_QUEUE_MAX_LEN in ipmb_dev_int.c).
const (
	burst      = 300
	queueDepth = 256
)

// While the daemon is stopped, the driver keeps the first requests of a burst and drops the
// others. Those that it kept are answered, each once.
func TestBurstThatTheQueueHeldIsAnswered(t *testing.T) {
	l := newLoop(t)
	d := start(t, channel{"name": "bus", "type": "ipmb", "slave-path": ipmbDev.bind(t, l, 0, bmcAddress),
		"remote-addr": otherAddress})
	node, err := ipmbDev.open(ipmbDev.bind(t, l, 1, otherAddress))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()

	signal(t, d, unix.SIGSTOP)
	for i := range burst {
		if err := node.WriteFrame(burstRequest(i)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	signal(t, d, unix.SIGCONT)

	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	context.AfterFunc(ctx, func() { node.Close() })
	answers := map[int]int{}
	collect(t, node, answers, queueDepth)
	// The last request comes after all that the driver kept, and its answer after theirs.
	if err := node.WriteFrame(burstRequest(burst)); err != nil {
		t.Fatal(err)
	}
	collect(t, node, answers, queueDepth+1)
	for i := range burst + 1 {
		want := 1
		if i >= queueDepth && i < burst {
			want = 0
		}
		if answers[i] != want {
			t.Errorf("request %d has %d answers", i, answers[i])
		}
	}
	if got := d.statistics(t); got["frames-received"] != queueDepth+1 || got["answers-written"] != queueDepth+1 {
		t.Errorf("%d frames received, %d answers written", got["frames-received"], got["answers-written"])
	}
}

func signal(t *testing.T, d *daemon, s unix.Signal) {
	t.Helper()
	if err := d.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// burstRequest is the request of a number, which its sequence number and its
// command make up.
func burstRequest(number int) []byte {
	return ipmb.Frame{
		Destination: bmcAddress,
		NetFn:       echo,
		Source:      otherAddress,
		Sequence:    uint8(number % ipmb.SequenceNumbers),
		Command:     ipmi.Command(number / ipmb.SequenceNumbers),
	}.Append(nil)
}

// collect counts answers by the number of their request until there are enough.
func collect(t *testing.T, node i2c.Transport, answers map[int]int, want int) {
	t.Helper()
	got := 0
	for _, n := range answers {
		got += n
	}
	var batch i2c.Batch
	for got < want {
		if err := node.ReadFrames(&batch); err != nil {
			t.Fatalf("%d answers of %d: %v", got, want, err)
		}
		for _, b := range batch.Frames() {
			f, err := ipmb.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			answers[int(f.Command)*ipmb.SequenceNumbers+int(f.Sequence)]++
			got++
		}
	}
}
