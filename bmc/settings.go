package bmc

import (
	"bytes"
	"context"
	"sync"

	"ipmbd/ipmi"
)

// Settings keeps what requests set, values of a few bytes by name, so that it is
// there when the process starts again. Its methods may be called from several
// goroutines at once.
//
// Names are paths such as "host/0/boot/5" and "user/2/name". A value is what IPMI
// has on the wire, but for passwords, of which there is a hash only.
type Settings interface {
	// Setting is the value of a name, nil where none has been kept. It is the
	// caller's.
	Setting(name string) []byte
	// Keep returns when the value is kept; it does not hold on to it. Its errors
	// are those of an ipmi.Handler.
	Keep(ctx context.Context, name string, value []byte) error
}

// memory is Settings that end with the process.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Setting(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.values[name])
}

func (m *memory) Keep(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	m.values[name] = bytes.Clone(value)
	return nil
}

// kept is Settings in a store.
type kept struct {
	memory
	store   *Store
	writing sync.Mutex // what is in memory is what was written last
}

// newKept is what a store has, and will have.
func newKept(store *Store) *kept {
	k := &kept{store: store}
	k.values = make(map[string][]byte)
	for _, v := range store.values(settingsBucket) {
		k.values[string(v.key)] = v.data
	}
	return k
}

func (k *kept) Keep(ctx context.Context, name string, value []byte) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	if err := k.store.write(put(settingsBucket, []byte(name), value)); err != nil {
		return err
	}
	return k.memory.Keep(ctx, name, value)
}

// guid is the one that was made at the first start, and nobody's since.
func guid(settings Settings) (id [16]byte) {
	if kept := settings.Setting(guidSetting); len(kept) == len(id) {
		return [16]byte(kept)
	}
	id = randomGUID()
	// Where it cannot be kept, neither can anything else, which has been reported.
	_ = settings.Keep(context.Background(), guidSetting, id[:])
	return id
}

const guidSetting = "guid"

// setting is the value of a name, or a default where none of its length has been
// kept.
func (b *BMC) setting(name string, otherwise ...byte) []byte {
	if value := b.config.Settings.Setting(name); len(value) == len(otherwise) {
		return value
	}
	return otherwise
}

// keep keeps a value and answers.
func (b *BMC) keep(ctx context.Context, name string, value ...byte) ipmi.Response {
	return outcome(b.config.Settings.Keep(ctx, name, value))
}
