package i2c

import "slices"

const (
	// MaxBatch is the most frames one ReadFrames delivers: what the deepest
	// kernel queue holds (256 in drivers/char/ipmi/ipmb_dev_int.c).
	MaxBatch = 256
	// batchRoom is what is kept free for one read: no driver delivers more.
	batchRoom = 1024
	// batchSlab holds a full queue of the longest frames, 258 bytes, so that a
	// LIFO driver's queue is read in one go.
	batchSlab = MaxBatch*258 + batchRoom
)

// Batch holds the frames of one ReadFrames, in one piece of memory that is
// used again and again. The zero value is ready.
type Batch struct {
	slab   []byte
	used   int
	frames [][]byte
}

// Frames are the frames in order of arrival, valid until the next Reset.
func (b *Batch) Frames() [][]byte { return b.frames }

// Reset empties the batch.
func (b *Batch) Reset() {
	b.used = 0
	b.frames = b.frames[:0]
}

// Room is where the next frame is to be read to, nil when the batch is full.
func (b *Batch) Room() []byte {
	if b.slab == nil {
		b.slab = make([]byte, batchSlab)
		b.frames = make([][]byte, 0, MaxBatch)
	}
	if len(b.frames) == MaxBatch || len(b.slab)-b.used < batchRoom {
		return nil
	}
	return b.slab[b.used : b.used+batchRoom]
}

// Add makes the bytes from the offset skip to n of the last Room a frame.
func (b *Batch) Add(skip, n int) {
	b.frames = append(b.frames, b.slab[b.used+skip:b.used+n:b.used+n])
	b.used += n
}

// Reverse turns the order round, for drivers that hand out the newest first.
func (b *Batch) Reverse() { slices.Reverse(b.frames) }
