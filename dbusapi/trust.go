package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// maxUsers is how many senders' users are remembered. Unique names are never
// given twice, so that what is remembered stays right.
const maxUsers = 256

// users is the uid of senders by their unique names.
type users struct {
	mu    sync.Mutex
	known map[string]uint32
}

func (u *users) get(sender string) (uid uint32, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	uid, known = u.known[sender]
	return uid, known
}

func (u *users) put(sender string, uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil || len(u.known) >= maxUsers {
		u.known = make(map[string]uint32)
	}
	u.known[sender] = uid
}

// trusted reports whether a sender's signals are commands: it is the trusted
// user or owns one of the configured names. Who cannot be looked up is not.
func (s *Server) trusted(ctx context.Context, sender string) bool {
	if uid, err := s.userOf(ctx, sender); err == nil && uid == s.trustedUser {
		return true
	}
	for _, name := range *s.signalNames.Load() {
		if owner, err := s.conn.OwnerOf(ctx, name); err == nil && owner == sender {
			return true
		}
	}
	return false
}

// errNotRoot: the caller may not change what there is.
var errNotRoot = errors.New("only root may change what ipmbd serves")

// mayManage is nil for root, and for the user that the service runs as: root, but on
// a session bus. The message bus's policy says so too; this does not depend on it.
func (s *Server) mayManage(ctx context.Context, sender string) error {
	uid, err := s.userOf(ctx, sender)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRoot, err)
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return errNotRoot
	}
	return nil
}

// userOf is the uid of a sender. It may be called from several goroutines at once.
func (s *Server) userOf(ctx context.Context, sender string) (uint32, error) {
	if uid, known := s.users.get(sender); known {
		return uid, nil
	}
	uid, err := s.conn.CallBusForNumber(ctx, "GetConnectionUnixUser", sender)
	if err != nil {
		return 0, err
	}
	s.users.put(sender, uid)
	return uid, nil
}
