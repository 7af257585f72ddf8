package host

// showLater has the host shown the attention.
func (r *run) showLater() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.show = true
}

func (r *run) addTask(j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks = append(r.tasks, j)
}

// write does the work at the Port, and waits for it. While another goroutine uses the Port
// it returns at once: that goroutine wakes serve when work is left.
func (r *run) write() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.writing {
		switch {
		case r.unfinished:
			r.finish()
		case len(r.tasks) > 0:
			r.doTask()
		case r.answer != nil:
			r.writeAnswer()
		case r.show:
			r.show = false
			r.use(r.tell)
		default:
			return
		}
	}
}

// use calls do, which uses the Port, without the mutex. Its error ends the run.
func (r *run) use(do func() error) {
	r.writing = true
	r.mu.Unlock()
	err := do()
	if err != nil {
		r.cancel(err)
	}
	r.mu.Lock()
	r.writing = false
}

func (r *run) finish() {
	r.unfinished = false
	r.use(r.direct.Finish)
	r.hasWritten(r.current)
}

func (r *run) doTask() {
	j := r.tasks[0]
	r.tasks = r.tasks[1:]
	r.use(func() error { j.done <- j.do(r.port); return nil })
}

// writeAnswer shows the host what waits for it now, and then writes the answer.
func (r *run) writeAnswer() {
	p, response := r.takeAnswer()
	r.use(func() error {
		if err := r.tell(); err != nil {
			return err
		}
		return r.port.Write(response)
	})
	r.hasWritten(p)
}

// takeAnswer is the answer that is to be written now.
func (r *run) takeAnswer() (*pending, Response) {
	p := r.answer
	r.answer = nil
	r.counts.add(answersWritten)
	q := &p.request
	return p, Response{
		Tag: p.tag, NetFn: q.NetFn.Response(), LUN: q.LUN, Command: q.Command, Code: r.response.Code, Data: r.response.Data,
	}
}

func (r *run) hasWritten(p *pending) {
	p.written = true
	r.release(p)
}

// tell shows the host whether messages wait, if that has changed.
func (r *run) tell() error {
	now := r.config.Attention()
	if now == r.told {
		return nil
	}
	r.told = now
	return r.port.SetAttention(now)
}

// writeDirect writes the answer if that needs no wait; else it leaves the answer to serve.
func (r *run) writeDirect() {
	var attention Attention
	if r.direct != nil {
		attention = r.config.Attention()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writing {
		return // The goroutine that uses the Port wakes serve.
	}
	if r.direct != nil && r.answer != nil && !r.unfinished && len(r.tasks) == 0 && attention == r.told {
		r.tryAnswer()
	}
	if r.answer != nil || r.unfinished || len(r.tasks) > 0 || r.show {
		r.wake()
	}
}

// tryAnswer writes the answer as far as that needs no wait.
func (r *run) tryAnswer() {
	p, response := r.takeAnswer()
	r.writing = true
	r.mu.Unlock()
	done, err := r.direct.WriteDirect(response)
	if err != nil {
		r.cancel(err)
	}
	r.mu.Lock()
	r.writing = false
	if r.unfinished = !done && err == nil; !r.unfinished {
		r.hasWritten(p)
	}
}
