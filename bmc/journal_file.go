package bmc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ipmbd/ipmi"
)

// journalFile is the file of a journal. Numbers are LSB first.
//
//	0-7   "ipmbdJ1\n"
//	8-    commits, without gaps
//	then  zeros, up to a multiple of 64 KiB
//
// A commit is changes that were made together. It is written and synchronized before the next
// one begins. So only the last one can be incomplete after a power cut.
//
//	0-3   length of the changes, at least 1
//	4-7   CRC-32C of the changes
//	8-11  CRC-32C of the commit's place in the file (8 bytes) and of bytes 0 to 7
//	12-   changes: kind, length of the name (1 byte), length of the value (4 bytes), name, value
//
// A header holds at its place only. Hence the commits behind a damaged one are found.
type journalFile struct {
	path      string
	unlock    func() error
	file      *os.File
	end       int // of the last commit
	size      int
	compactAt int // an end beyond it makes a new file without what is out of date
}

const (
	journalName  = "bmc.journal"
	journalMagic = "ipmbdJ1\n"
	commitHeader = 12
	changeHeader = 6

	// journalGrowth is the unit of the file's size. A size that is no multiple of it shows that
	// the end of the file is missing.
	journalGrowth = 64 << 10
	// minCompaction is many times what is stored without a full log.
	minCompaction = 256 << 10
	// maxJournalSize bounds what is read. It is several times the size of 256 inventory devices
	// and of the largest log.
	maxJournalSize = 64 << 20
)

// ErrJournalInUse: another process has the journal open.
var ErrJournalInUse = errors.New("journal is in use by another process")

// DamageError says that the file of a journal was damaged.
type DamageError struct {
	Path  string
	Aside string // where the damaged file is now
	Err   error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: %v; the damaged file is now %s, and all that is whole in it is kept", e.Path, e.Err, e.Aside)
}

// Unwrap returns what is wrong with the file.
func (e *DamageError) Unwrap() error { return e.Err }

// openJournal opens the journal of a folder, which it makes if it does not exist. It moves a
// damaged file aside, keeps what is whole, and calls report with a *DamageError. The journal calls
// report again, once, if it cannot store anything any more. The error is ErrJournalInUse if another
// process uses the folder.
func openJournal(folder string, report func(error)) (*journal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	unlock, err := lockFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("journal in %s: %w", folder, err)
	}
	f := &journalFile{path: filepath.Join(folder, journalName), unlock: unlock}
	values, err := f.open(report)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := newJournal(values)
	j.store, j.close, j.report, j.isOnDisk = f.store, f.close, report, true
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

// open returns the values in the file, and makes a new file if there is none or it is damaged.
func (f *journalFile) open(report func(error)) (map[string][]byte, error) {
	file, data, damage, err := readJournal(f.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	isNew := err != nil
	values, end, wrong := parseJournal(data)
	if damage = errors.Join(damage, wrong); damage == nil && !isNew {
		f.file, f.end, f.size = file, end, len(data)
		f.compactAt = compactAt(len(encodeJournal(values)))
		return values, nil
	}
	file.Close()
	if file, end, err = f.create(values); err != nil {
		return nil, err
	}
	if isNew {
		return values, f.install(file, end)
	}
	aside, err := setAside(f.path)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%w, and: %w", damage, err)
	}
	report(&DamageError{Path: f.path, Aside: aside, Err: damage})
	return values, f.install(file, end)
}

// readJournal opens and reads a file. damage says why not all of it could be read.
func readJournal(path string) (file *os.File, data []byte, damage, err error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("no file: %v", info.Mode()), nil
	case info.Size() > maxJournalSize:
		return nil, nil, fmt.Errorf("%d bytes are more than %d", info.Size(), maxJournalSize), nil
	}
	if file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, nil, nil, err
	}
	data, damage = io.ReadAll(file)
	return file, data, damage, nil
}

// parseJournal returns the values in a file and the end of the last commit that is whole. A commit
// behind it that is not whole is one that a power cut ended, before it was acknowledged. damage
// says what else is not whole.
func parseJournal(data []byte) (values map[string][]byte, end int, damage error) {
	values, end = make(map[string][]byte), len(journalMagic)
	if !bytes.HasPrefix(data, []byte(journalMagic)) {
		damage = errors.New("the header is damaged")
	}
	missing, gaps, cut := len(data)%journalGrowth != 0, 0, 0
	for at := end; at < len(data); {
		changes, length := commitAt(data, at)
		switch {
		case changes != nil:
			apply(values, changes)
			if at != end {
				gaps++
			}
			at += length
			end = at
		case length > 0: // The header is whole.
			at += length
			missing = missing || at > len(data)
			if cut <= end {
				cut = at
			}
		default:
			at++
		}
	}
	if cut > end && cut < len(data) && len(bytes.TrimRight(data[cut:], "\x00")) > 0 {
		gaps++ // Another commit has begun behind it, so it was acknowledged.
	}
	if missing {
		damage = errors.Join(damage, errors.New("its end is missing"))
	}
	if gaps > 0 {
		damage = errors.Join(damage, fmt.Errorf("%d parts are damaged and left out", gaps))
	}
	return values, end, damage
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerSum is the checksum of a commit's header.
func headerSum(place int, header []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint64(nil, uint64(place)))
	return crc32.Update(sum, castagnoli, header[:8])
}

// commitAt reads the commit at a place. The length is that of a commit whose header is whole, and 0
// otherwise; the changes are nil if they are not whole.
func commitAt(data []byte, place int) (changes []change, length int) {
	rest := data[place:]
	if len(rest) < commitHeader {
		return nil, 0
	}
	size := binary.LittleEndian.Uint32(rest)
	if size == 0 || size > maxJournalSize || binary.LittleEndian.Uint32(rest[8:]) != headerSum(place, rest) {
		return nil, 0
	}
	length = commitHeader + int(size)
	if length > len(rest) || crc32.Checksum(rest[commitHeader:length], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
		return nil, length
	}
	return parseChanges(rest[commitHeader:length]), length
}

// parseChanges returns nil if the bytes are no changes.
func parseChanges(b []byte) (changes []change) {
	for len(b) > 0 {
		if len(b) < changeHeader {
			return nil
		}
		kind, nameLength, valueLength := changeKind(b[0]), int(b[1]), binary.LittleEndian.Uint32(b[2:])
		b = b[changeHeader:]
		if kind > changeRemoveAll || uint64(len(b)) < uint64(nameLength)+uint64(valueLength) {
			return nil
		}
		value := b[nameLength : nameLength+int(valueLength)]
		changes = append(changes, change{kind: kind, name: string(b[:nameLength]), value: bytes.Clone(value)})
		b = b[nameLength+len(value):]
	}
	return changes
}

// appendCommit appends a commit to a file that ends at a place.
func appendCommit(file []byte, place int, changes ...change) []byte {
	start := len(file)
	file = append(file, make([]byte, commitHeader)...)
	for _, c := range changes {
		file = append(file, byte(c.kind), byte(len(c.name)))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(c.value)))
		file = append(append(file, c.name...), c.value...)
	}
	header, body := file[start:start+commitHeader], file[start+commitHeader:]
	binary.LittleEndian.PutUint32(header, uint32(len(body)))
	binary.LittleEndian.PutUint32(header[4:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(header[8:], headerSum(place, header))
	return file
}

// encodeJournal returns a file of values, each in a commit of its own: damage costs as few as can
// be.
func encodeJournal(values map[string][]byte) []byte {
	file := []byte(journalMagic)
	for name, value := range values {
		file = appendCommit(file, len(file), change{name: name, value: value})
	}
	return file
}

// compactAt is the end at which a file is compacted whose values need so many bytes.
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
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	// The next start must not find what has been written of the commit.
	if undo := errors.Join(f.file.Truncate(int64(f.end)), f.file.Truncate(int64(f.size))); undo != nil {
		return undo
	}
	if done, err := f.compact(values, changes); done {
		return err
	}
	return fmt.Errorf("%w: %v", ipmi.ErrNoSpace, err)
}

// compact replaces the file by one of the values after changes, which is done unless the disk has
// no room for two files.
func (f *journalFile) compact(values map[string][]byte, changes []change) (done bool, err error) {
	values = maps.Clone(values)
	apply(values, changes)
	file, end, err := f.create(values)
	if err != nil {
		return false, nil
	}
	return true, f.install(file, end)
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
	if err := syncData(f.file); err != nil {
		return err
	}
	f.end = end
	return nil
}

// syncData puts the bytes of a file on the disk. Unlike File.Sync it spares the disk the time of
// the change.
func syncData(file *os.File) error {
	for {
		if err := syscall.Fdatasync(int(file.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// newSuffix marks a file that is not complete yet.
const newSuffix = ".new"

// create makes a file of values beside the journal's. It is complete and on the disk.
func (f *journalFile) create(values map[string][]byte) (file *os.File, end int, err error) {
	name := f.path + newSuffix
	if err := os.RemoveAll(name); err != nil {
		return nil, 0, err
	}
	if file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, 0, err
	}
	data := encodeJournal(values)
	if _, err = file.Write(data); err == nil {
		err = file.Truncate(int64(roundUp(len(data))))
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		file.Close()
		os.Remove(name)
	}
	return file, len(data), err
}

// install puts the file of create in the place of the journal's. After an error it is not certain
// which one is there after a power cut.
func (f *journalFile) install(file *os.File, end int) error {
	f.file.Close()
	f.file, f.end, f.size, f.compactAt = file, end, roundUp(end), compactAt(end)
	if err := os.Rename(f.path+newSuffix, f.path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

func (f *journalFile) close() error { return errors.Join(f.file.Close(), f.unlock()) }

// setAside gives a damaged file a second name, never that of another. What cannot have two names
// is renamed.
func setAside(path string) (string, error) {
	first := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside := first
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", first, n)
	}
	if os.Link(path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(path, aside)
}

// syncFolder puts the names in a folder on the disk.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
