package bmc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt maps its file and follows what is written there. So the file is checked
// here before, by the layout of internal/common of go.etcd.io/bbolt v1.5.0:
// numbers in the byte order of the machine, pages from 0, the first two of them
// meta pages. Each page below the high water mark must be exactly one of: meta
// page, page of the tree, page of the free list, free.

const (
	pageHeader    = 16 // id u64, flags u16, count u16, overflow u32
	elementHeader = 16 // of branches: pos u32, ksize u32, page u64; of leaves: flags, pos, ksize, vsize u32
	bucketHeader  = 16 // root u64, sequence u64
	metaLength    = 64
	metaSummed    = 56 // bytes in front of the checksum

	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchPage = 0x01
	leafPage   = 0x02
	metaPage   = 0x04
	listPage   = 0x10

	bucketElement = 0x01

	minPageSize  = 1 << 10
	maxPageSize  = 1 << 16
	firstPage    = 2         // behind the meta pages
	longList     = 1<<16 - 1 // as a count: the first entry is the count
	maxTreeDepth = 16
)

var order = binary.NativeEndian

// meta is a meta page.
type meta struct {
	place                       int64 // of the page in the file
	id                          uint64
	flags                       uint16
	pageSize                    int64
	root, freeList, pages, txID uint64
}

// readMeta reads the meta page at a place; ok as bbolt sees it.
func readMeta(file io.ReaderAt, place int64) (m meta, ok bool) {
	var page [pageHeader + metaLength]byte
	if _, err := file.ReadAt(page[:], place); err != nil {
		return meta{}, false
	}
	b := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSummed])
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[metaSummed:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		place:    place,
		id:       order.Uint64(page[:]),
		flags:    order.Uint16(page[8:]),
		pageSize: int64(order.Uint32(b[8:])),
		root:     order.Uint64(b[16:]),
		freeList: order.Uint64(b[32:]),
		pages:    order.Uint64(b[40:]),
		txID:     order.Uint64(b[48:]),
	}, true
}

// findMeta is the meta page that bbolt will choose. The fault is what is wrong
// with the other one: it held the transaction before, or one after that was lost.
func findMeta(file io.ReaderAt) (m meta, fault, err error) {
	first, ok := readMeta(file, 0)
	if !ok {
		for place := int64(minPageSize); place <= maxPageSize; place *= 2 {
			if second, ok := readMeta(file, place); ok && second.pageSize == place {
				return second, errors.New("meta page 0 is damaged: a transaction may be lost"), nil
			}
		}
		return meta{}, nil, errors.New("no meta page is whole")
	}
	second, ok := readMeta(file, first.pageSize)
	switch {
	case !ok:
		return first, errors.New("meta page 1 is damaged: a transaction may be lost"), nil
	case second.pageSize != first.pageSize:
		return meta{}, nil, errors.New("the meta pages disagree")
	case second.txID != first.txID+1 && first.txID != second.txID+1, !first.inPlace(), !second.inPlace():
		fault = errors.New("the meta pages do not follow one another: a transaction may be lost")
	}
	if second.txID > first.txID {
		return second, fault, nil
	}
	return first, fault, nil
}

func (m meta) inPlace() bool {
	return m.flags == metaPage && m.id == m.txID%2 && m.place == int64(m.id)*m.pageSize
}

// tree is a file in the course of being checked.
type tree struct {
	file io.ReaderAt
	meta
	used    []bool // by page
	buckets map[string]bool
}

// checkPages checks a file of a size. A fault is one that bbolt gets round; err
// says why bbolt must not see the file, or that one of the buckets is not there.
// No page is read twice, so that the time is bounded by the size.
func checkPages(file io.ReaderAt, size int64, buckets []string) (fault, err error) {
	m, fault, err := findMeta(file)
	if err != nil {
		return nil, err
	}
	if m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 {
		return nil, fmt.Errorf("pages of %d bytes", m.pageSize)
	}
	if m.pages < firstPage || m.pages > uint64(size/m.pageSize) {
		return nil, fmt.Errorf("%d bytes do not hold %d pages of %d bytes", size, m.pages, m.pageSize)
	}
	t := &tree{file: file, meta: m, used: make([]bool, m.pages), buckets: make(map[string]bool)}
	if err := t.check(buckets); err != nil {
		return nil, err
	}
	return fault, nil
}

func (t *tree) check(buckets []string) error {
	if err := t.walk(t.root, span{}, true, 0); err != nil {
		return err
	}
	if err := t.checkFree(); err != nil {
		return err
	}
	for id := uint64(firstPage); id < t.pages; id++ {
		if !t.used[id] {
			return fmt.Errorf("page %d is in no tree and not free", id)
		}
	}
	for _, name := range buckets {
		if !t.buckets[name] {
			return fmt.Errorf("there is no bucket %q", name)
		}
	}
	return nil
}

// take notes that a page is used.
func (t *tree) take(id uint64) error {
	switch {
	case id < firstPage || id >= t.pages:
		return fmt.Errorf("page %d of %d", id, t.pages)
	case t.used[id]:
		return fmt.Errorf("page %d is used twice", id)
	}
	t.used[id] = true
	return nil
}

// read takes a page and those it overflows into.
func (t *tree) read(id uint64) ([]byte, error) {
	if err := t.take(id); err != nil {
		return nil, err
	}
	var header [pageHeader]byte
	if _, err := t.file.ReadAt(header[:], int64(id)*t.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if own := order.Uint64(header[:]); own != id {
		return nil, fmt.Errorf("page %d says that it is %d", id, own)
	}
	overflow := uint64(order.Uint32(header[12:]))
	for i := range overflow {
		if err := t.take(id + 1 + i); err != nil {
			return nil, fmt.Errorf("page %d overflows: %w", id, err)
		}
	}
	page := make([]byte, int64(overflow+1)*t.pageSize)
	if _, err := t.file.ReadAt(page, int64(id)*t.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

// span is where the keys of a page must be: from low, and below high if there is one.
type span struct{ low, high []byte }

func (s span) has(key []byte) bool {
	return bytes.Compare(s.low, key) <= 0 && (s.high == nil || bytes.Compare(key, s.high) < 0)
}

// walk checks a page of a tree and what is below. The tree at the top holds
// buckets, those of the buckets values.
func (t *tree) walk(id uint64, keys span, top bool, depth int) error {
	if depth > maxTreeDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	page, err := t.read(id)
	if err != nil {
		return err
	}
	elements, err := parseElements(page, keys)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if len(elements) == 0 && depth > 0 {
		return fmt.Errorf("page %d is empty", id)
	}
	if order.Uint16(page[8:]) == leafPage {
		if err := t.leaf(elements, top); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	}
	if len(elements) == 0 {
		return fmt.Errorf("page %d is a branch without pages", id)
	}
	for i, e := range elements {
		below := span{low: e.key, high: keys.high}
		if i+1 < len(elements) {
			below.high = elements[i+1].key
		}
		if err := t.walk(e.page, below, top, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) leaf(elements []element, top bool) error {
	for _, e := range elements {
		switch {
		case !top && e.flags != 0, top && e.flags != bucketElement:
			return fmt.Errorf("%q has the flags %X", e.key, e.flags)
		case top:
			if err := t.bucket(e); err != nil {
				return fmt.Errorf("bucket %q: %w", e.key, err)
			}
		}
	}
	return nil
}

// bucket checks a bucket: a small one is a page within the value.
func (t *tree) bucket(e element) error {
	t.buckets[string(e.key)] = true
	if len(e.value) < bucketHeader {
		return fmt.Errorf("%d bytes", len(e.value))
	}
	if root := order.Uint64(e.value); root != 0 {
		return t.walk(root, span{}, false, 0)
	}
	page := e.value[bucketHeader:]
	if len(page) < pageHeader || order.Uint16(page[8:]) != leafPage {
		return errors.New("its page is no leaf")
	}
	elements, err := parseElements(page, span{})
	if err != nil {
		return err
	}
	return t.leaf(elements, false)
}

// element is an element of a page.
type element struct {
	key   []byte
	page  uint64 // of branches
	flags uint32 // of leaves
	value []byte
}

// parseElements reads a branch or a leaf. Keys and values stand behind the
// elements in their order and without gaps, so that a wrong count shows.
func parseElements(page []byte, keys span) ([]element, error) {
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage {
		return nil, fmt.Errorf("flags %X", flags)
	}
	next := uint64(pageHeader + count*elementHeader)
	if next > uint64(len(page)) {
		return nil, fmt.Errorf("%d elements in %d bytes", count, len(page))
	}
	elements := make([]element, count)
	for i := range elements {
		at := pageHeader + i*elementHeader
		header, e := page[at:at+elementHeader], &elements[i]
		var pos, keySize, valueSize uint32
		if flags == branchPage {
			pos, keySize, e.page = order.Uint32(header), order.Uint32(header[4:]), order.Uint64(header[8:])
		} else {
			e.flags, pos = order.Uint32(header), order.Uint32(header[4:])
			keySize, valueSize = order.Uint32(header[8:]), order.Uint32(header[12:])
		}
		start := uint64(at) + uint64(pos)
		value := start + uint64(keySize)
		end := value + uint64(valueSize)
		if start != next || keySize == 0 || end > uint64(len(page)) {
			return nil, fmt.Errorf("element %d is out of place", i)
		}
		e.key, e.value, next = page[start:value], page[value:end], end
		if !keys.has(e.key) || i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return nil, fmt.Errorf("key %d is out of order", i)
		}
	}
	return elements, nil
}

// checkFree takes the pages of the free list and those that it names.
func (t *tree) checkFree() error {
	page, err := t.read(t.freeList)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if flags := order.Uint16(page[8:]); flags != listPage {
		return fmt.Errorf("free list: flags %X", flags)
	}
	count, list := uint64(order.Uint16(page[10:])), page[pageHeader:]
	if count == longList {
		count, list = order.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return fmt.Errorf("free list: %d entries in %d bytes", count, len(list))
	}
	for i := range count {
		if err := t.take(order.Uint64(list[8*i:])); err != nil {
			return fmt.Errorf("free list: %w", err)
		}
	}
	return nil
}
