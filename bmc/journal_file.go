package bmc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ipmbd/internal/fdtrace"
	"ipmbd/ipmi"
)

// journalFile is the file of a journal. Numbers are LSB first.
//
//	0-7   "ipmbdJ1\n"
//	8-    commits, without gaps
//	then  zeros, up to a multiple of 64 KiB
//
// A commit is changes that were stored together. It is written and synchronized before the next
// one begins, so that only the last one can be incomplete after a power cut.
//
//	0-3   length of the changes, at least 1
//	4-7   CRC-32C of the changes
//	8-11  CRC-32C of the commit's place in the file (8 bytes) and of bytes 0 to 7
//	12-   changes: kind, length of the name (1 byte), length of the value (4 bytes), name, value
//
// A header is valid at its place only. Hence the commits behind a damaged one are found.
type journalFile struct {
	path      string
	report    func(error)
	unlock    func() error // nil until the folder is locked
	damage    []string     // of a file that has not been set aside yet
	file      *os.File
	end       int // of the last commit
	size      int
	compactAt int // an end beyond it makes a new file of the current values

	sync func(*os.File) error // syncData, but in tests of failing disks
}

const (
	journalName  = "bmc.journal"
	newSuffix    = ".new" // of a file that may not be complete
	journalMagic = "ipmbdJ1\n"
	commitHeader = 12
	changeHeader = 6

	// journalGrowth is the unit of the file's size. Another size shows that the end is missing.
	journalGrowth = 64 << 10
	minCompaction = 256 << 10
	// maxJournalSize bounds the size of a file that is read. It is several times the size of the
	// largest log and 255 inventory devices.
	maxJournalSize = 64 << 20
)

// ErrJournalInUse: another process has the journal open.
var ErrJournalInUse = errors.New("journal is in use by another process")

// openJournal opens the journal of a folder, and makes the folder if it does not exist. It sets a
// damaged file aside, keeps the whole commits in it, and calls report. If the disk cannot be used,
// or another process uses the folder, the journal keeps its values in memory, and those that it
// could read, and openJournal calls diskState. The only error is of a path that can never be a
// folder.
func openJournal(folder string, report, diskState func(error)) (*journal, error) {
	return openJournalFile(folder, report, diskState, syncData)
}

func openJournalFile(folder string, report, diskState func(error), sync func(*os.File) error) (*journal, error) {
	f := &journalFile{path: filepath.Join(folder, journalName), report: report, sync: sync}
	j := newJournal(nil)
	j.store, j.restore, j.close, j.isOnDisk, j.diskState = f.store, f.restore, f.close, true, diskState
	type content struct {
		values map[string][]byte
		read   bool
	}
	found := make(chan content, 1) // The call may hang.
	j.lost = j.onDisk(func() error {
		values, read, err := f.open()
		found <- content{values, read}
		return err
	})
	for _, never := range []error{syscall.ENOTDIR, syscall.ENAMETOOLONG} {
		if errors.Is(j.lost, never) {
			return nil, fmt.Errorf("journal: %w", j.lost)
		}
	}
	j.unread = true
	if !j.hangs() {
		c := <-found
		j.unread = !c.read
		if c.values != nil {
			j.values = c.values
		}
	}
	if j.lost != nil {
		diskState(j.lost)
	}
	return j, nil
}

// lockFolder keeps other processes from the journal.
func lockFolder(folder string) (unlock func() error, err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrJournalInUse
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f.Close, nil
}

// lock makes and locks the folder, once.
func (f *journalFile) lock() (err error) {
	if f.unlock != nil {
		return nil
	}
	folder := filepath.Dir(f.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if f.unlock, err = lockFolder(folder); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	return nil
}

// open returns the values in the file, and makes a new file if there is none or it is damaged. The
// values may have been read even if there is an error.
func (f *journalFile) open() (values map[string][]byte, read bool, err error) {
	locked := f.lock()
	if errors.Is(locked, ErrJournalInUse) { // The other process may change it.
		return nil, false, locked
	}
	data, read, err := f.read()
	if err = cmp.Or(locked, err); !read {
		return nil, false, err
	}
	values, end, damage := parseJournal(data)
	if data != nil {
		f.damage = append(f.damage, damage...)
	}
	switch {
	case err != nil:
	case data == nil || len(f.damage) > 0:
		err = f.replace(values)
	default:
		f.end, f.size, f.compactAt = end, len(data), compactAt(len(encodeJournal(values)))
	}
	return values, true, err
}

// restore implements the journal's restore.
func (f *journalFile) restore(values map[string][]byte, unread bool) (map[string][]byte, error) {
	if err := f.lock(); err != nil {
		return nil, err
	}
	if unread {
		data, read, err := f.read()
		if !read {
			return nil, err
		}
		disk, _, damage := parseJournal(data)
		if data != nil {
			f.damage = append(f.damage, damage...)
		}
		values = mergeValues(disk, values)
	}
	return values, f.replace(values)
}

// replace makes a new file of values in the place of the present one, which is set aside if it is
// damaged.
func (f *journalFile) replace(values map[string][]byte) error {
	file, end, err := f.create(values)
	if err != nil {
		return err
	}
	if len(f.damage) > 0 {
		aside, err := setAside(f.path)
		if err != nil {
			file.Close()
			return err
		}
		f.report(fmt.Errorf("%s is damaged: %s; its undamaged values are kept; the damaged file is now %s",
			f.path, strings.Join(f.damage, ", "), aside))
		f.damage = nil
	}
	return f.install(file, end)
}

// read reads the file, and opens it for store; data is nil if there is none. It notes damage. The
// error says why the file cannot be read or, if it was read, why it cannot be written.
func (f *journalFile) read() (data []byte, read bool, err error) {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		f.damage = []string{"no regular file"}
		return []byte{}, true, nil
	case info.Size() > maxJournalSize:
		f.damage = []string{fmt.Sprintf("%d bytes", info.Size())}
		return []byte{}, true, nil
	}
	file, cannotWrite := os.OpenFile(f.path, os.O_RDWR, 0)
	if cannotWrite != nil {
		if file, err = os.Open(f.path); err != nil {
			return nil, false, cannotWrite
		}
	}
	f.closeFile()
	fdtrace.OpenedFile(file)
	f.file, f.damage = file, nil
	if data, err = io.ReadAll(file); err != nil {
		f.damage = []string{err.Error()}
	}
	if data == nil {
		data = []byte{}
	}
	return data, true, cannotWrite
}

// parseJournal returns the values in a file, the end of the last whole commit, and a description
// of the damage. An incomplete commit at the end of the file is no damage: a power cut interrupted
// it before it was acknowledged.
func parseJournal(data []byte) (values map[string][]byte, end int, damage []string) {
	values, end = make(map[string][]byte), len(journalMagic)
	if !bytes.HasPrefix(data, []byte(journalMagic)) {
		damage = append(damage, "header")
	}
	if len(data)%journalGrowth != 0 {
		damage = append(damage, "the end is missing")
	}
	cut := 0 // the end of a commit that is not whole, behind those that are
	for at := end; at < len(data); {
		changes, length := commitAt(data, at)
		switch {
		case changes != nil:
			apply(values, changes)
			if at != end {
				damage = append(damage, fmt.Sprintf("bytes %d to %d", end, at-1))
			}
			at += length
			end = at
		case length > 0:
			at += length
			if cut <= end {
				cut = at
			}
		default:
			at++
		}
	}
	if cut > len(data) || cut > end && len(bytes.TrimRight(data[cut:], "\x00")) > 0 {
		damage = append(damage, fmt.Sprintf("bytes from %d", end)) // There was another commit behind it.
	}
	return values, end, damage
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerSum is the checksum of a commit's header.
func headerSum(place int, header []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint64(nil, uint64(place)))
	return crc32.Update(sum, castagnoli, header[:8])
}

// commitAt reads the commit at a place. The length is 0 if its header is not whole; the changes
// are nil if they are not whole.
func commitAt(data []byte, place int) (changes []change, length int) {
	commit := data[place:]
	if len(commit) < commitHeader {
		return nil, 0
	}
	size := binary.LittleEndian.Uint32(commit)
	if size == 0 || size > maxJournalSize || binary.LittleEndian.Uint32(commit[8:]) != headerSum(place, commit) {
		return nil, 0
	}
	length = commitHeader + int(size)
	if length > len(commit) || crc32.Checksum(commit[commitHeader:length], castagnoli) != binary.LittleEndian.Uint32(commit[4:]) {
		return nil, length
	}
	return parseChanges(commit[commitHeader:length]), length
}

// parseChanges returns nil if the bytes are no changes.
func parseChanges(b []byte) (changes []change) {
	for len(b) > 0 {
		if len(b) < changeHeader {
			return nil
		}
		kind, nameEnd := changeKind(b[0]), changeHeader+int(b[1])
		end := uint64(nameEnd) + uint64(binary.LittleEndian.Uint32(b[2:]))
		if kind > changeRemoveAll || end > uint64(len(b)) {
			return nil
		}
		changes = append(changes, change{kind: kind, name: string(b[changeHeader:nameEnd]), value: bytes.Clone(b[nameEnd:end])})
		b = b[end:]
	}
	return changes
}

// appendCommit appends a commit to b. Its place in the file is the place of b and its length.
func appendCommit(b []byte, place int, changes ...change) []byte {
	start := len(b)
	b = append(b, make([]byte, commitHeader)...)
	for _, c := range changes {
		b = append(b, byte(c.kind), byte(len(c.name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(c.value)))
		b = append(append(b, c.name...), c.value...)
	}
	header, body := b[start:start+commitHeader], b[start+commitHeader:]
	binary.LittleEndian.PutUint32(header, uint32(len(body)))
	binary.LittleEndian.PutUint32(header[4:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(header[8:], headerSum(place+start, header))
	return b
}

// encodeJournal returns a file of values, each in a commit of its own: damage loses few of them.
func encodeJournal(values map[string][]byte) []byte {
	b := []byte(journalMagic)
	for name, value := range values {
		b = appendCommit(b, 0, change{name: name, value: value})
	}
	return b
}

// compactAt returns the size at which a file with so many bytes of values is compacted.
func compactAt(live int) int { return max(2*live, minCompaction) }

// roundUp is the size of a file that ends at a place.
func roundUp(end int) int { return (end + journalGrowth - 1) / journalGrowth * journalGrowth }

// store implements the journal's store.
func (f *journalFile) store(values map[string][]byte, changes []change) error {
	commit := appendCommit(nil, f.end, changes...)
	end := f.end + len(commit)
	if end > f.compactAt {
		if done, err := f.compact(values, changes); done {
			return err
		}
		f.compactAt = end + journalGrowth // The next attempt comes later.
	}
	if end > maxJournalSize {
		return ipmi.ErrNoSpace
	}
	err := f.append(commit)
	if err == nil {
		return nil
	}
	// The next start must not find the commit, which may be whole but for its synchronization.
	undo := errors.Join(f.file.Truncate(int64(f.end)), f.file.Truncate(int64(f.size)))
	if isFull := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT); !isFull || undo != nil {
		return errors.Join(err, undo)
	}
	if done, err := f.compact(values, changes); done {
		return err
	}
	return fmt.Errorf("%w: %v", ipmi.ErrNoSpace, err)
}

// append writes a commit at the end of the file.
func (f *journalFile) append(commit []byte) error {
	end := f.end + len(commit)
	if end > f.size {
		if err := f.file.Truncate(int64(roundUp(end))); err != nil {
			return err
		}
		f.size = roundUp(end)
	}
	if _, err := f.file.WriteAt(commit, int64(f.end)); err != nil {
		return err
	}
	if err := f.sync(f.file); err != nil {
		return err
	}
	f.end = end
	return nil
}

// syncData puts the bytes of a file on the disk. File.Sync would also put the time of the change
// there, and take twice as long.
func syncData(file *os.File) error {
	for {
		if err := syscall.Fdatasync(int(file.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// compact replaces the file by a new one, which has only the values after the changes. It does
// nothing if the disk has no room for two files.
func (f *journalFile) compact(values map[string][]byte, changes []change) (done bool, err error) {
	values = maps.Clone(values)
	apply(values, changes)
	file, end, err := f.create(values)
	if err != nil {
		return false, nil
	}
	return true, f.install(file, end)
}

// create makes a file of values beside the journal's. It is complete and on the disk.
func (f *journalFile) create(values map[string][]byte) (file *os.File, end int, err error) {
	name := f.path + newSuffix
	if err := os.RemoveAll(name); err != nil {
		return nil, 0, err
	}
	if file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, 0, err
	}
	fdtrace.OpenedFile(file)
	data := encodeJournal(values)
	if _, err = file.Write(data); err == nil {
		err = file.Truncate(int64(roundUp(len(data))))
	}
	if err == nil {
		err = f.sync(file)
	}
	if err != nil {
		file.Close()
		os.Remove(name)
	}
	return file, len(data), err
}

// install puts a file of create in the place of the journal's file. After an error and a power cut
// either of them may be there.
func (f *journalFile) install(file *os.File, end int) error {
	_ = f.closeFile() // It has been replaced.
	f.file, f.end, f.size, f.compactAt = file, end, roundUp(end), compactAt(end)
	if err := os.Rename(f.path+newSuffix, f.path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func (f *journalFile) closeFile() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// close closes the file and unlocks the folder.
func (f *journalFile) close() (err error) {
	err = f.closeFile()
	if f.unlock != nil {
		err = errors.Join(err, f.unlock())
	}
	return err
}

// setAside gives a damaged file a second name, and never the name of another file. Where a file
// cannot have two names, setAside renames it.
func setAside(path string) (aside string, err error) {
	first := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside = first
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break // There is no such file.
		}
		aside = fmt.Sprintf("%s-%d", first, n)
	}
	if os.Link(path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(path, aside)
}
