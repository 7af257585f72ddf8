package bmc

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

func TestDerivedKeyIsPBKDF2(t *testing.T) {
	for _, password := range []string{"", "secret", strings.Repeat("x", 100)} {
		salt := []byte("some sixteen byt")
		want, err := pbkdf2.Key(sha256.New, password, salt, hashRounds, sha256.Size)
		if got := deriveKey([]byte(password), salt); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: % X, want % X, %v", password, got, want, err)
		}
	}
}

// pendingTest is a test of a password that has no answer yet.
type pendingTest chan ipmi.CompletionCode

// startTest has a password tested on an interface, until a deadline if it is not zero.
func (b *bench) startTest(iface, data string, deadline time.Time) pendingTest {
	answered := make(pendingTest, 1)
	req := &ipmi.Request{
		Interface: iface, Channel: channel, NetFn: ipmi.NetFnApp, Command: setUserPasswordCommand,
		Data: octets(data), Deadline: deadline,
	}
	b.bmc.ServeIPMI(req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
		if err != nil {
			res.Code = ipmi.CodeOf(err)
		}
		answered <- res.Code
		return true
	}))
	return answered
}

func (b *bench) ends(what string, p pendingTest, want ipmi.CompletionCode) {
	b.t.Helper()
	if got := <-p; got != want {
		b.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const wrongPassword16 = "02 03 746563726574000000000000000000 00"

func TestPasswordTests(t *testing.T) {
	const right = "02 03" + password16
	story(t, "a pause follows one that fails", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		tested := func(what, iface, data string, want ipmi.CompletionCode) {
			t.Helper()
			b.ends(what, b.startTest(iface, data, time.Time{}), want)
		}
		for range 3 {
			tested("right ones have no pause", "bus5", right, ipmi.CodeOK)
		}
		for name, wrong := range map[string]struct {
			data string
			code ipmi.CompletionCode
		}{
			"a wrong one":         {wrongPassword16, codeWrongPassword},
			"one of another size": {"82 03" + password20, codeWrongSize},
			"one of another user": {"03 03" + password16, codeWrongPassword},
		} {
			tested(name, "bus5", wrong.data, wrong.code)
			tested("the right one behind "+name, "bus5", right, ipmi.CodeNodeBusy)
			b.is("a cold reset", b.on("bus5", 0, ipmi.NetFnApp, 0x02, ""), "00")
			time.Sleep(testPause - time.Millisecond)
			tested("near the end of the pause", "bus5", right, ipmi.CodeNodeBusy)
			tested("on another interface", "bus6", right, ipmi.CodeOK)
			time.Sleep(time.Millisecond)
			tested("after the pause", "bus5", right, ipmi.CodeOK)
		}
		tested("one that cannot be", "bus5", "02 03", ipmi.CodeLengthInvalid)
		tested("which has no pause", "bus5", right, ipmi.CodeOK)
	})

	story(t, "one at a time, and other requests do not wait", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		b.bmc.hashing.Lock() // as if a test took long
		first, other := b.startTest("bus5", right, time.Time{}), b.startTest("bus6", right, time.Time{})
		b.ends("a second one of the interface", b.startTest("bus5", right, time.Time{}), ipmi.CodeNodeBusy)
		b.is("a request that reads memory", b.on("bus5", 0, ipmi.NetFnApp, 0x46, "02"), "00"+strings.Repeat("00", 16))
		b.is("a request that is stored", b.on("bus5", 0, ipmi.NetFnApp, 0x47, "02 01"), "00")
		if len(first)+len(other) > 0 {
			t.Error("a test is answered before it could be made")
		}
		b.bmc.hashing.Unlock()
		b.ends("the first", first, ipmi.CodeOK)
		b.ends("that of another interface", other, ipmi.CodeOK)
	})

	story(t, "a test is of the password that is stored at its turn", func(t *testing.T, b *bench) {
		set := b.startTest("bus5", "02 02"+password16, time.Time{})
		test := b.startTest("bus5", right, time.Time{})
		b.ends("set", set, ipmi.CodeOK)
		b.ends("test", test, ipmi.CodeOK)
	})

	story(t, "one whose time is over is not made", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		b.ends("late", b.startTest("bus5", wrongPassword16, time.Now()), ipmi.CodeTimeout)
		b.ends("the next one", b.startTest("bus5", right, time.Time{}), ipmi.CodeOK)
	})
}

// Close waits for the tests in progress, and later ones are refused.
func TestPasswordTestsEndWithTheBMC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmc, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, bmc: bmc}
		before := b.startTest("bus5", wrongPassword16, time.Time{})
		if err := bmc.Close(); err != nil {
			t.Fatal(err)
		}
		b.ends("before", before, codeWrongPassword)
		time.Sleep(testPause)
		b.ends("after", b.startTest("bus5", wrongPassword16, time.Time{}), ipmi.CodeNoResponse)
	})
}
