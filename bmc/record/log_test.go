package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

// controller has a log, as good or bad as its fields make it.
type controller struct {
	records     []Record
	largest     int                 // bytes of a record that it can send; 0 is all
	refusal     ipmi.CompletionCode // of larger ones
	short       int                 // it sends this many bytes for any request; 0 is the right number
	needs       bool                // a reservation for whole records, too
	unreserved  bool                // it knows no reservations
	busy        int                 // answers of C0h that are to come
	erasing     int                 // answers of an erasure in progress that are to come
	forgets     bool                // the reservation, when it erases
	before      func(cmd ipmi.Command, data []byte)
	instead     func(cmd ipmi.Command, data []byte) *ipmi.Response
	reservation uint16
	asked       int
}

var errNoBus = errors.New("no bus")

func (c *controller) ask(_ context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
	if c.asked++; c.asked > 100_000 {
		return ipmi.Response{}, errNoBus // or the test has no end
	}
	if c.before != nil {
		c.before(cmd, data)
	}
	if c.busy > 0 {
		c.busy--
		return ipmi.Response{Code: ipmi.CodeNodeBusy}, nil
	}
	if c.instead != nil {
		if response := c.instead(cmd, data); response != nil {
			return *response, nil
		}
	}
	switch cmd {
	case getInfo:
		return ipmi.Response{Data: Info{Records: uint16(len(c.records))}.Append(nil)}, nil
	case reserve:
		if c.unreserved {
			return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
		}
		c.reservation++
		return ipmi.Response{Data: binary.LittleEndian.AppendUint16(nil, c.reservation)}, nil
	case getEntry:
		return c.entry(binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:]), int(data[4]), int(data[5])), nil
	case clearLog:
		return c.clear(binary.LittleEndian.Uint16(data), string(data[2:5]), data[5]), nil
	}
	return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
}

func (c *controller) entry(reservation, id uint16, offset, count int) ipmi.Response {
	at := slices.IndexFunc(c.records, func(r Record) bool { return id == First || r.ID() == id })
	switch {
	case (offset > 0 || c.needs) && reservation != c.reservation:
		return ipmi.Response{Code: ipmi.CodeReservationCancelled}
	case at < 0:
		return ipmi.Response{Code: ipmi.CodeNotPresent}
	case c.largest > 0 && count > c.largest:
		return ipmi.Response{Code: c.refusal}
	case c.short > 0:
		count = c.short
	}
	next := Last
	if at+1 < len(c.records) {
		next = c.records[at+1].ID()
	}
	return ipmi.Response{Data: append(binary.LittleEndian.AppendUint16(nil, next), c.records[at][offset:min(offset+count, RecordLength)]...)}
}

func (c *controller) clear(reservation uint16, word string, action byte) ipmi.Response {
	switch {
	case word != "CLR":
		return ipmi.Response{Code: ipmi.CodeInvalidField}
	case reservation != c.reservation:
		return ipmi.Response{Code: ipmi.CodeReservationCancelled}
	case action == eraseInitiate:
		c.records = nil
		if c.forgets {
			c.reservation++
		}
	}
	if c.erasing > 0 {
		c.erasing--
		return ipmi.Response{Data: []byte{0xF0}}
	}
	return ipmi.Response{Data: []byte{0xF1}}
}

// numbered are records that differ everywhere.
func numbered(ids ...uint16) []Record {
	var all []Record
	for _, id := range ids {
		var r Record
		for i := range r {
			r[i] = byte(int(id) + i)
		}
		binary.LittleEndian.PutUint16(r[:], id)
		all = append(all, r)
	}
	return all
}

func noProgress(int) {}

func TestRecordsAreReadFrom(t *testing.T) {
	tests := map[string]struct {
		c     controller
		ids   []uint16
		asked int // 0: does not matter
	}{
		"an empty log":                        {controller{}, nil, 1},
		"a log":                               {controller{}, []uint16{7, 3, 0x1234, 0xFFFE}, 5},
		"one that cannot say FFh":             {controller{largest: 16, refusal: ipmi.CodeInvalidField}, []uint16{1, 2}, 4},
		"one that sends 8 bytes":              {controller{largest: 8, refusal: ipmi.CodeCannotReturnBytes}, []uint16{1, 2}, 8},
		"one that sends 4 bytes":              {controller{largest: 4, refusal: ipmi.CodeLengthInvalid}, []uint16{1, 2}, 0},
		"one that sends less than asked":      {controller{short: 5}, []uint16{1, 2}, 0},
		"one that wants reservations":         {controller{needs: true, reservation: 1}, []uint16{1, 2}, 0},
		"one without reservations":            {controller{unreserved: true, largest: 8, refusal: ipmi.CodeCannotReturnBytes}, []uint16{1, 2}, 0},
		"one that is busy now and then":       {controller{busy: 3}, []uint16{1, 2}, 6},
		"one that sends a byte, and is busy":  {controller{short: 1, busy: 2}, []uint16{1}, 0},
		"one with an ID as large as possible": {controller{}, []uint16{0xFFFE}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.c.records = numbered(tt.ids...)
				last := 0
				got, err := New(tt.c.ask).Records(t.Context(), func(n int) { last = n })
				if diff := cmp.Diff(numbered(tt.ids...), got); diff != "" || err != nil || last != len(tt.ids) {
					t.Errorf("%v, %d told\n%s", err, last, diff)
				}
				if tt.asked != 0 && tt.c.asked != tt.asked {
					t.Errorf("%d requests", tt.c.asked)
				}
			})
		})
	}
}

func TestLogChangesWhileItIsRead(t *testing.T) {
	t.Run("records are added", func(t *testing.T) {
		c := &controller{records: numbered(1, 2), largest: 8, refusal: ipmi.CodeCannotReturnBytes}
		c.before = func(cmd ipmi.Command, data []byte) {
			if cmd == getEntry && data[4] == 8 && len(c.records) < 4 { // in the middle of a record
				c.records = append(c.records, numbered(uint16(len(c.records)+1))...)
				c.reservation++
			}
		}
		got, err := New(c.ask).Records(t.Context(), noProgress)
		if diff := cmp.Diff(numbered(1, 2, 3, 4), got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})
	t.Run("a record goes", func(t *testing.T) {
		c := &controller{records: numbered(1, 2, 3)}
		c.before = func(cmd ipmi.Command, data []byte) {
			if cmd == getEntry && data[2] == 2 {
				c.records = numbered(1, 3)
			}
		}
		got, err := New(c.ask).Records(t.Context(), noProgress)
		if diff := cmp.Diff(numbered(1, 3), got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})
	t.Run("it is cleared", func(t *testing.T) {
		c := &controller{records: numbered(1, 2, 3)}
		c.before = func(cmd ipmi.Command, data []byte) {
			if cmd == getEntry && data[2] == 2 {
				c.records = nil
			}
		}
		if got, err := New(c.ask).Records(t.Context(), noProgress); got != nil || err != nil {
			t.Error(got, err)
		}
	})
}

// What a responder may say, there is an end and an error that tells why.
func TestResponderLies(t *testing.T) {
	entry := func(next uint16, record []byte) *ipmi.Response {
		return &ipmi.Response{Data: append(binary.LittleEndian.AppendUint16(nil, next), record...)}
	}
	bytesOf := func(id uint16) []byte { r := numbered(id)[0]; return r[:] }
	idOf := func(data []byte) uint16 { return max(binary.LittleEndian.Uint16(data[2:]), 1) }
	for _, tt := range []struct {
		name  string
		entry func(data []byte) *ipmi.Response
		kind  error
		want  string
	}{
		{"a record behind itself", func(data []byte) *ipmi.Response { return entry(idOf(data), bytesOf(idOf(data))) },
			ErrMalformed, "the log is malformed: record 0001h comes again, at place 2"},
		{"a ring", func(data []byte) *ipmi.Response { return entry(idOf(data)%5+1, bytesOf(idOf(data))) },
			ErrMalformed, "the log is malformed: record 0001h comes again, at place 6"},
		{"every ID there is", func(data []byte) *ipmi.Response {
			id := idOf(data)
			return entry(id%0xFFFE+1, bytesOf(id))
		}, ErrMalformed, "the log is malformed: record 0001h comes again, at place 65535"},
		{"the first one behind the first one", func([]byte) *ipmi.Response { return entry(First, bytesOf(1)) },
			ErrMalformed, "the log is malformed: the record behind 0001h is 0000h, which is no ID"},
		{"another record", func([]byte) *ipmi.Response { return entry(9, bytesOf(1)) },
			ErrMalformed, "the log is malformed: it sent record 0001h instead of 0009h"},
		{"no data", func([]byte) *ipmi.Response { return &ipmi.Response{} },
			ErrMalformed, "the log is malformed: the length of the response to get-sel-entry is 0, less than 2"},
		{"an ID and no record", func([]byte) *ipmi.Response { return entry(2, nil) },
			ErrMalformed, "the log is malformed: the length of record 0000h is 0, not 16"},
		{"a record that ends early", func(data []byte) *ipmi.Response { return entry(2, bytesOf(1)[data[4]:9]) },
			ErrMalformed, "the log is malformed: the length of record 0000h is 9, not 16"},
		{"a record too long", func([]byte) *ipmi.Response { return entry(2, make([]byte, 17)) },
			ErrMalformed, "the log is malformed: the length of record 0000h is 17, not 16"},
		{"parts too long", func([]byte) *ipmi.Response { return entry(2, make([]byte, 12)) },
			ErrMalformed, "the log is malformed: the length of record 0000h is 24, not 16"},
		{"no number of bytes is right", func([]byte) *ipmi.Response { return &ipmi.Response{Code: ipmi.CodeCannotReturnBytes} },
			&CodeError{getEntry, ipmi.CodeCannotReturnBytes}, "get-sel-entry: CAh cannot return the number of bytes requested"},
		{"reservations that end at once", func([]byte) *ipmi.Response { return &ipmi.Response{Code: ipmi.CodeReservationCancelled} },
			ErrChanged, "the log keeps changing: the reservation for record 0000h was cancelled 8 times"},
		{"records that go", func(data []byte) *ipmi.Response {
			if data[2] == 0 {
				return entry(2, bytesOf(1))
			}
			return &ipmi.Response{Code: ipmi.CodeNotPresent}
		}, ErrChanged, "the log keeps changing: records were removed while it was read, 8 times"},
		{"busy for ever", func([]byte) *ipmi.Response { return &ipmi.Response{Code: ipmi.CodeNodeBusy} },
			&CodeError{getEntry, ipmi.CodeNodeBusy}, "get-sel-entry: C0h node busy"},
		{"an erasure", func([]byte) *ipmi.Response { return &ipmi.Response{Code: 0x81} },
			&CodeError{getEntry, 0x81}, "get-sel-entry: 81h SEL erase in progress"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controller{records: numbered(1), instead: func(cmd ipmi.Command, data []byte) *ipmi.Response {
					if cmd == getEntry {
						return tt.entry(data)
					}
					return nil
				}}
				_, err := New(c.ask).Records(t.Context(), noProgress)
				if err == nil || err.Error() != tt.want || !isKind(err, tt.kind) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func isKind(err, kind error) bool {
	var refused, wanted *CodeError
	if errors.As(kind, &wanted) {
		return errors.As(err, &refused) && *refused == *wanted
	}
	return errors.Is(err, kind)
}

func TestErrorsOfAsking(t *testing.T) {
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprintf("request %d", n), func(t *testing.T) {
			c := controller{records: numbered(1, 2), largest: 8, refusal: ipmi.CodeCannotReturnBytes}
			ask := func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
				if c.asked+1 == n {
					return ipmi.Response{}, errNoBus
				}
				return c.ask(ctx, cmd, data)
			}
			if _, err := New(ask).Records(t.Context(), noProgress); err != errNoBus {
				t.Errorf("records: %v", err)
			}
			c = controller{records: numbered(1), erasing: 3, forgets: true}
			if _, err := New(ask).Clear(t.Context()); err != errNoBus {
				t.Errorf("clear: %v", err)
			}
		})
	}
}

func TestClear(t *testing.T) {
	for _, tt := range []struct {
		name   string
		c      controller
		erased int
		want   string // the error
	}{
		{"at once", controller{}, 2, ""},
		{"it takes a while", controller{erasing: 20}, 2, ""},
		{"and ends its reservation", controller{erasing: 3, forgets: true}, 2, ""},
		{"without reservations", controller{unreserved: true}, 2, ""},
		{"it is busy", controller{busy: 3}, 2, ""},
		{"it never ends", controller{erasing: 1 << 30}, 0, "the erasure goes on after 1m0s"},
		{"no reservation is good", controller{instead: func(cmd ipmi.Command, _ []byte) *ipmi.Response {
			if cmd == clearLog {
				return &ipmi.Response{Code: ipmi.CodeReservationCancelled}
			}
			return nil
		}}, 0, "the log keeps changing: records were added before it could be erased, 8 times"},
		{"it must not be", controller{instead: func(cmd ipmi.Command, _ []byte) *ipmi.Response {
			if cmd == clearLog {
				return &ipmi.Response{Code: ipmi.CodeInsufficientPrivilege}
			}
			return nil
		}}, 0, "clear-sel: D4h insufficient privilege level"},
		{"no answer to it", controller{instead: func(cmd ipmi.Command, _ []byte) *ipmi.Response {
			if cmd == clearLog {
				return &ipmi.Response{}
			}
			return nil
		}}, 0, "the log is malformed: the length of the response to clear-sel is 0, less than 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.c.records = numbered(1, 2)
				erased, err := New(tt.c.ask).Clear(t.Context())
				text := ""
				if err != nil {
					text = err.Error()
				}
				if erased != tt.erased || text != tt.want {
					t.Errorf("%d, %v", erased, err)
				}
				if err == nil && (len(tt.c.records) > 0 || tt.c.erasing > 0) {
					t.Errorf("%+v", tt.c)
				}
			})
		})
	}
}

// A record that comes between the count and the erasure is not lost in silence.
func TestClearCountsWhatIsAdded(t *testing.T) {
	c := &controller{records: numbered(1)}
	c.before = func(cmd ipmi.Command, _ []byte) {
		if cmd == clearLog && len(c.records) == 1 {
			c.records = numbered(1, 2)
			c.reservation++
		}
	}
	if erased, err := New(c.ask).Clear(t.Context()); erased != 2 || err != nil {
		t.Error(erased, err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	c := &controller{records: numbered(1), erasing: 1 << 30, busy: 1}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 { // busy, and erasing
		if _, err := New(c.ask).Clear(ctx); err != context.Canceled {
			t.Error(err)
		}
	}
}

func TestInfoThatIsNone(t *testing.T) {
	c := &controller{instead: func(ipmi.Command, []byte) *ipmi.Response { return &ipmi.Response{Data: make([]byte, 13)} }}
	if _, err := New(c.ask).Info(t.Context()); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "is 13, less than 14") {
		t.Error(err)
	}
}

// Reading a log ends for all bytes that the responder sends.
func FuzzLog(f *testing.F) {
	f.Add(append(Info{Records: 1}.Append([]byte{14, 0}), append([]byte{18, 0, 0xFF, 0xFF}, make([]byte, RecordLength)...)...))
	f.Add([]byte{14, 0, 0x51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xC5, 2, 0, 1, 0, 5, 0, 2, 0, 1, 2, 3, 0, 0xCA})
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			ask := func(context.Context, ipmi.Command, []byte) (ipmi.Response, error) {
				if len(script) < 2 {
					return ipmi.Response{}, errNoBus
				}
				n := min(int(script[0]), len(script)-2)
				response := ipmi.Response{Code: ipmi.CompletionCode(script[1]), Data: script[2 : 2+n]}
				script = script[2+n:]
				return response, nil
			}
			l := New(ask)
			records, _ := l.Records(t.Context(), noProgress)
			ids := make(map[uint16]bool)
			for _, r := range records {
				if ids[r.ID()] {
					t.Errorf("%04X twice", r.ID())
				}
				ids[r.ID()] = true
			}
			_, _ = l.Clear(t.Context())
		})
	})
}

// What can be read is returned, with the error that ended the reading, if any.
func TestRecordsBeforeAnError(t *testing.T) {
	refuse := func(which ipmi.Command, id uint16, code ipmi.CompletionCode) func(ipmi.Command, []byte) *ipmi.Response {
		return func(cmd ipmi.Command, data []byte) *ipmi.Response {
			if cmd == which && (cmd != getEntry || binary.LittleEndian.Uint16(data[2:]) == id) {
				return &ipmi.Response{Code: code}
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		c    *controller
		want []Record
		err  string // "" for none
	}{
		"the last record is C3h": {&controller{instead: refuse(getEntry, 3, ipmi.CodeTimeout)}, numbered(1, 2), "get-sel-entry: C3h"},
		"the second one is FFh":  {&controller{instead: refuse(getEntry, 2, ipmi.CodeUnspecified)}, numbered(1), "get-sel-entry: FFh"},
		"the first one is C3h":   {&controller{instead: refuse(getEntry, 0, ipmi.CodeTimeout)}, nil, "get-sel-entry: C3h"},
		"no information":         {&controller{instead: refuse(getInfo, 0, ipmi.CodeInvalidCommand)}, numbered(1, 2, 3), ""},
		"no information, no log": {&controller{instead: func(ipmi.Command, []byte) *ipmi.Response { return &ipmi.Response{Code: ipmi.CodeInvalidCommand} }}, nil, "get-sel-info: C1h"},
		"information too short": {&controller{instead: func(cmd ipmi.Command, _ []byte) *ipmi.Response {
			return map[ipmi.Command]*ipmi.Response{getInfo: {Data: []byte{0x51, 1, 0}}}[cmd]
		}}, numbered(1, 2, 3), ""},
		"one byte at a time":            {&controller{largest: 1, refusal: ipmi.CodeCannotReturnBytes}, numbered(1, 2, 3), ""},
		"one byte, and the last is C3h": {&controller{largest: 1, refusal: ipmi.CodeCannotReturnBytes, instead: refuse(getEntry, 3, ipmi.CodeTimeout)}, numbered(1, 2), "get-sel-entry: C3h"},
	} {
		tt.c.records = numbered(1, 2, 3)
		got, err := New(tt.c.ask).Records(t.Context(), noProgress)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err == nil != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
	}
}
