package dbusapi

import "context"

// maxUsers is how many senders' users are remembered. Unique names are never
// given twice, so that what is remembered stays right.
const maxUsers = 256

// users is the uid of senders by their unique names. It belongs to one loop.
type users map[string]uint32

// trusted reports whether a sender's signals are commands: it is the trusted
// user or owns one of the configured names. Who cannot be looked up is not.
func (s *Server) trusted(ctx context.Context, sender string) bool {
	if uid, err := s.userOf(ctx, sender); err == nil && uid == s.trustedUser {
		return true
	}
	for _, name := range *s.signalNames.Load() {
		if owner, err := s.conn.ownerOf(ctx, name); err == nil && owner == sender {
			return true
		}
	}
	return false
}

func (s *Server) userOf(ctx context.Context, sender string) (uint32, error) {
	if uid, known := s.users[sender]; known {
		return uid, nil
	}
	got, err := s.conn.callBus(ctx, "GetConnectionUnixUser", sender)
	if err != nil {
		return 0, err
	}
	uid, ok := firstUint32(got)
	if !ok {
		return 0, errReply
	}
	if len(s.users) >= maxUsers {
		clear(s.users)
	}
	s.users[sender] = uid
	return uid, nil
}
