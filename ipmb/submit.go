package ipmb

import "ipmbd/ipmi"

// Submit serves a request that came without a frame, because a driver has decoded it. The
// request is served once, as one from the bus; a repeat gets the response again. The engine
// fills in Interface, Channel, Host and Deadline. It does not keep req or its Data.
//
// respond writes the response: the completion code and the data, valid until it returns. The
// goroutine that writes calls it, again if it fails and for repeats. Its errors are those of
// i2c.Transport.WriteFrame. The transport must not be an i2c.DirectWriter.
//
// The goroutine that reads calls Submit, in the transport's ReadFrames.
func (e *Engine) Submit(req *ipmi.Request, respond func(response []byte) error) {
	e.receiving.Lock()
	defer e.receiving.Unlock()
	e.counts.add(framesReceived)
	f := Frame{
		Source: req.Requester, SourceLUN: req.RequesterLUN, Sequence: req.Sequence,
		NetFn: req.NetFn, DestinationLUN: req.LUN, Command: req.Command, Data: req.Data,
	}
	e.asked = *req
	e.asked.Interface, e.asked.Channel, e.asked.Host = e.config.Interface, e.config.Channel, e.config.Host
	effect := e.config.Effect(&e.asked)
	e.mu.Lock()
	var admitted *entry
	if req.Requester.IsSlave() {
		admitted = e.admitRequest(f, f.identity(), effect, 0, respond)
	} else {
		e.counts.add(droppedRequester)
	}
	e.unlock()
	if admitted != nil {
		e.serve(admitted)
	}
}

// identity is what two transmissions of a request have in common, laid out as a frame without
// address and checksums.
func (f Frame) identity() []byte {
	b := append(make([]byte, 0, f.Len()), 0, byte(f.NetFn)<<2|byte(f.DestinationLUN), 0,
		byte(f.Source), f.Sequence<<2|byte(f.SourceLUN), byte(f.Command))
	return append(append(b, f.Data...), 0)
}
