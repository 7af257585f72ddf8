package ipmb_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
)

// slowReader delays the reading of the n-th frame until the test releases it.
type slowReader struct {
	n    int
	goOn chan struct{}
}

func (r *slowReader) received(ipmb.Frame) {
	if r.n--; r.n == 0 {
		<-r.goOn
	}
}

// Two answers that were read together are no answers to a request that was
// sent after they were read.
func TestAnswersReadTogether(t *testing.T) {
	reader := &slowReader{n: 2}
	story(t, "the second of two answers reaches nobody, though its number is in use again", ipmb.Config{Received: reader.received}, func(t *testing.T, w *world) {
		reader.goOn = make(chan struct{})
		k := new(keeper)
		flights := w.occupy(k)
		next := w.start(ask(me, cmdA)) // waits for a number
		answer := echo(k.kept[0]).Append(nil)
		w.deliver(answer, answer)
		flights[0].answered()
		time.Sleep(ms)
		synctest.Wait()
		if sent := w.numbers(me); len(sent) != 65 || sent[64] != sent[0] {
			t.Fatalf("the number of the first call is not in use again: %d", sent)
		}
		close(reader.goOn)
		if next.hasEnded() {
			t.Errorf("the next call got % X, its own is % X", next.response.Data, next.request.Data)
		}
		k.answerTo(w.bus, next)
		next.answered()
	})

	story(t, "an answer that came twice is not the answer to another transmission", ipmb.Config{}, func(t *testing.T, w *world) {
		doubled := responder(func(b *bus, request []byte) {
			answer := echo(request).Append(nil)
			b.deliver(answer, answer)
		})
		w.place(me, inTurn(late(900*ms), doubled))
		w.do(ask(me, cmdA)).answered().at(250 * ms)
		number := w.numbers(me)[0]
		w.until(890 * ms)
		w.expectNotUsed(number, me, cmdA)
	})
}
